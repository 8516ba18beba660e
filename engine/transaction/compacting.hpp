// What a compaction needs of the device, and how it is told: shared by the step, the command, and recovery.
#pragma once

#include "engine/transaction/device.hpp"
#include "partitions/permanent/compaction.hpp"

namespace slotkeeper {

[[nodiscard]] permanent::ScratchAreas scratch_areas(Device& device);

/// Now, and what an earlier run has not finished. Only looks.
[[nodiscard]] Result<permanent::CompactionLimits> compaction_limits(Device& device);

/// The same for a dry run, a real run and a preflight.
[[nodiscard]] PlannedWrite planned_write_of(const permanent::CompactionPlan& plan,
                                            const permanent::CompactionAction& action);

/// Brings a compaction that was cut off to its end, before anything else looks at the permanent partition.
/// Durable: when it returns. On crash: it goes on the next time. Errors: as permanent::recover_compaction.
[[nodiscard]] Result<void> finish_compaction(Device& device);

/// The members of a result that tell what a compaction did: see "compact" in engine/DESIGN.md.
void report_compaction(Device& device, const permanent::CompactionPlan& plan,
                       const permanent::CompactionReport& report);

}  // namespace slotkeeper
