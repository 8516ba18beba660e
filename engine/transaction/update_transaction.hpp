// The whole of an update, steps 1 to 8, on one screen.
#pragma once

#include <optional>
#include <string>

#include "engine/transaction/device.hpp"
#include "engine/transaction/steps/switch_over.hpp"

namespace slotkeeper {

struct UpdateRequest {
  std::string location;
  bool force = false;
};

/// Runs the path from a bundle to a trial boot. Nothing when the booted slot holds this very bundle already.
/// A failed step leaves the transaction open where it failed; `roll_back_after` ends it.
/// Errors: those of the steps.
[[nodiscard]] Result<std::optional<TrialBoot>> update_transaction(Device& device, const UpdateRequest& request);

/// Steps 1 and 2. Errors: those of opening and verifying a bundle; config when the files of `[trust]` cannot be read.
[[nodiscard]] Result<bundle::VerifiedManifest> open_and_verify(Device& device, const std::string& location);

}  // namespace slotkeeper
