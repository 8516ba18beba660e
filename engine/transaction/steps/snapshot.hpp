// Step 5 of 9: CompactedPermanent -> CheckedSnapshot. From here on a rollback needs no allocation.
#pragma once

#include "engine/transaction/device.hpp"
#include "engine/transaction/steps/compact.hpp"

namespace slotkeeper {

class CheckedSnapshot {
 public:
  [[nodiscard]] const permanent::SnapshotFacts& facts() const { return facts_; }

 private:
  friend Result<CheckedSnapshot> secure_permanent(Device& device, const CompactedPermanent& compacted);
  explicit CheckedSnapshot(permanent::SnapshotFacts facts) : facts_(facts) {}
  permanent::SnapshotFacts facts_;
};

/// Durable: the sealed first generation, read back; the reserve; record `secured`.
/// On crash: record `begun`; the snapshot does not count, the reserve is released by recovery.
/// Errors: config_busy, no_space, storage_full, io_error, sync_failed, readback_mismatch, cancelled.
[[nodiscard]] Result<CheckedSnapshot> secure_permanent(Device& device, const CompactedPermanent& compacted);

/// Takes one generation and completes the reserve for it. Also what a trial does first.
[[nodiscard]] Result<permanent::SnapshotFacts> take_generation(Device& device, AreaKind area);

}  // namespace slotkeeper
