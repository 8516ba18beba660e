// Commands that look: preflight, status, history, verify. None of them changes a byte. And `provision`.
#pragma once

#include <optional>
#include <string>

#include "engine/transaction/command_result.hpp"
#include "engine/transaction/device.hpp"

namespace slotkeeper {

[[nodiscard]] CommandResult report_preflight(Device& device, const std::string& location);
[[nodiscard]] CommandResult report_status(Device& device);
[[nodiscard]] CommandResult report_history(Device& device);
[[nodiscard]] CommandResult verify_device(Device& device);

/// Creates the state store, puts the boot environment in order and records the baseline of the booted slot.
/// Durable: all of it. On crash: the device is not provisioned (or still as it was); run it again.
/// Errors: wrong_state (a valid store and no `force`), unknown_slot, incompatible (the factory bundle is not what
/// runs), and those of reading, writing and verifying.
[[nodiscard]] CommandResult provision_device(EngineSettings& settings, const std::optional<std::string>& factory_bundle,
                                             bool force);

}  // namespace slotkeeper
