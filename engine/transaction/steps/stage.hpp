// Step 6 of 9: VerifiedManifest -> StagedSlot. Takes the target out of the boot order, then writes only the target
// slot.
#pragma once

#include <memory>
#include <utility>

#include "engine/bundle/bundle.hpp"
#include "engine/transaction/device.hpp"
#include "engine/transaction/steps/fallback_check.hpp"
#include "engine/transaction/steps/preflight.hpp"
#include "engine/transaction/steps/snapshot.hpp"

namespace slotkeeper {

class StagedSlot {
 public:
  [[nodiscard]] SlotId slot() const { return slot_; }
  /// Begun beside the staging; step 7 ends it.
  [[nodiscard]] FallbackCheck& fallback() const { return *fallback_; }

 private:
  friend Result<StagedSlot> stage_images(Device& device, const bundle::VerifiedManifest& manifest,
                                         const UpdatePlan& plan, const CheckedSnapshot& snapshot);
  StagedSlot(SlotId slot, std::unique_ptr<FallbackCheck> fallback) : slot_(slot), fallback_(std::move(fallback)) {}
  SlotId slot_;
  std::unique_ptr<FallbackCheck> fallback_;
};

/// Writes every image into its volume and reads it back.
///
/// Requires: the target is free and not booted (checked again here).
/// Ensures:  every chunk's hash matched the signed index before it was written; bodies were read back before any head.
/// Durable:  boot environment without the target; record `staging`; the volumes; record `staged`.
/// On crash: the target is out of the order and its heads are zero: nothing can boot it; recovery marks it bad.
/// Errors:   corrupt, io_error, sync_failed, readback_mismatch (names volume and offset; also of the slot that
///           runs, when a delta cannot be made from it), boot_environment, cancelled.
[[nodiscard]] Result<StagedSlot> stage_images(Device& device, const bundle::VerifiedManifest& manifest,
                                              const UpdatePlan& plan, const CheckedSnapshot& snapshot);

}  // namespace slotkeeper
