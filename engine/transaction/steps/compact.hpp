// Step 4 of 9: UpdatePlan -> CompactedPermanent. Frees what the plan says; contents that count are preserved.
#pragma once

#include "engine/transaction/device.hpp"
#include "engine/transaction/steps/preflight.hpp"
#include "partitions/permanent/compaction.hpp"

namespace slotkeeper {

class CompactedPermanent {
 public:
  [[nodiscard]] const permanent::CompactionReport& report() const { return report_; }

 private:
  friend Result<CompactedPermanent> compact_permanent(Device& device, UpdatePlan& plan);
  explicit CompactedPermanent(permanent::CompactionReport report) : report_(std::move(report)) {}
  permanent::CompactionReport report_;
};

/// Carries the compaction plan out and measures again: files that came into use since may leave too little room.
/// The plan forgets its files then.
/// Durable: the removals. On crash: a part of them, all of them allowed.
/// Errors: no_space, fill_level (with `compacted` in the details), io_error, sync_failed, read_only, cancelled.
[[nodiscard]] Result<CompactedPermanent> compact_permanent(Device& device, UpdatePlan& plan);

}  // namespace slotkeeper
