// Step 7 of 9: everything so far -> CommitReady. Re-reads what may have changed since; changes nothing but, where the
// configuration was edited meanwhile, the snapshot. What takes long comes first; then the vendor's services are held
// still, and the configuration is compared under a freeze.
#pragma once

#include <memory>
#include <utility>

#include "engine/transaction/device.hpp"
#include "engine/transaction/hooks.hpp"
#include "engine/transaction/steps/preflight.hpp"
#include "engine/transaction/steps/snapshot.hpp"
#include "engine/transaction/steps/stage.hpp"

namespace slotkeeper {

inline constexpr int kLastLooksMax = 4;

class CommitReady {
 public:
  [[nodiscard]] SlotId target() const { return target_; }
  /// Held still since the check; ends with this object at the latest.
  [[nodiscard]] QuietTime& quiet() const { return *quiet_; }

 private:
  friend Result<CommitReady> check_all(Device& device, const UpdatePlan& plan, const CheckedSnapshot& snapshot,
                                       const StagedSlot& staged);
  CommitReady(SlotId target, std::unique_ptr<QuietTime> quiet) : target_(target), quiet_(std::move(quiet)) {}
  SlotId target_;
  std::unique_ptr<QuietTime> quiet_;
};

/// The fallback slot reads as recorded, the snapshot reads as sealed, the reserve is whole, the configuration equals
/// the snapshot (taken again, a bounded number of times, when it was edited) in an instant in which nobody could write
/// it, the filesystem counted no new error and is writable, the boot environment says what staging made it say.
/// Durable: the record, with the boot in which the check began.
/// On crash: record `staged`; the freeze ends with the freezer, `resume` is run by the next command.
/// Errors: fallback_damaged becomes readback_mismatch here; readback_mismatch, config_drift (with the paths), io_error,
/// sync_failed, read_only, storage_full, cancelled.
[[nodiscard]] Result<CommitReady> check_all(Device& device, const UpdatePlan& plan, const CheckedSnapshot& snapshot,
                                            const StagedSlot& staged);

}  // namespace slotkeeper
