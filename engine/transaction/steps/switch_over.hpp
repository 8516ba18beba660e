// Step 8 of 9: CommitReady -> TrialBoot. One store to the boot environment: the commit point.
#pragma once

#include "engine/transaction/device.hpp"
#include "engine/transaction/steps/check.hpp"

namespace slotkeeper {

class TrialBoot {
 public:
  [[nodiscard]] SlotId target() const { return target_; }

 private:
  friend Result<TrialBoot> switch_over(Device& device, const CommitReady& ready);
  explicit TrialBoot(SlotId target) : target_(target) {}
  SlotId target_;
};

/// Durable: record `arming`, then the boot environment (target first, all tries, mark `:trial`), then record `armed`.
/// On crash: before the environment's store is complete the original boots and recovery rolls back; after it the target
/// is tried. Both firmwares are complete and verified at this point.
/// Errors: io_error, sync_failed, readback_mismatch with the environment disarmed again; switch_indeterminate when that
/// could not be read back either.
[[nodiscard]] Result<TrialBoot> switch_over(Device& device, const CommitReady& ready);

}  // namespace slotkeeper
