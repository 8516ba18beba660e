// Step 7 of 9: everything so far -> CommitReady. Re-reads what may have changed since; changes nothing but, where the
// configuration was edited meanwhile, the snapshot.
#pragma once

#include "engine/transaction/device.hpp"
#include "engine/transaction/steps/preflight.hpp"
#include "engine/transaction/steps/snapshot.hpp"
#include "engine/transaction/steps/stage.hpp"

namespace slotkeeper {

inline constexpr int kSnapshotRetakesMax = 3;

class CommitReady {
 public:
  [[nodiscard]] SlotId target() const { return target_; }

 private:
  friend Result<CommitReady> check_all(Device& device, const UpdatePlan& plan, const CheckedSnapshot& snapshot,
                                       const StagedSlot& staged);
  explicit CommitReady(SlotId target) : target_(target) {}
  SlotId target_;
};

/// The fallback slot reads as recorded, the snapshot reads as sealed, the reserve is whole, configuration and state
/// equal the snapshot (taken again, a bounded number of times, when they were edited), the filesystem counted no new
/// error and is writable, the boot environment says what staging made it say. Errors: fallback_damaged becomes
/// readback_mismatch here; readback_mismatch, config_drift (with the paths), io_error, read_only, storage_full,
/// cancelled.
[[nodiscard]] Result<CommitReady> check_all(Device& device, const UpdatePlan& plan, const CheckedSnapshot& snapshot,
                                            const StagedSlot& staged);

}  // namespace slotkeeper
