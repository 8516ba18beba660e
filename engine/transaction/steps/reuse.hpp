// What of an image the device has already: part of step 6 of 9. An install that was cut off goes on by this, too: what
// it had written is found at its place.
#pragma once

#include <memory>
#include <optional>

#include "engine/bundle/bundle.hpp"
#include "engine/transaction/device.hpp"
#include "engine/transaction/steps/preflight.hpp"

namespace slotkeeper {

/// One image's volumes on both slots, and what to take from them.
struct Reuse {
  bundle::ReusePlan plan;
  std::unique_ptr<bundle::OnSlots> on_slots;
  bool target_is_alike = false;  ///< it holds some of the image: comparing pays before writing
};

/// Reads some chunks of the target, and all of it where one of them is the image's. What cannot be read counts as not
/// there. The target's heads are zero already. Errors: cancelled, and whatever else ends the work.
[[nodiscard]] Result<Reuse> find_reusable(Device& device, const bundle::VerifiedManifest& manifest, std::size_t image,
                                          const PreflightReport& report);

}  // namespace slotkeeper
