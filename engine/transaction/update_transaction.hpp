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

}  // namespace slotkeeper
