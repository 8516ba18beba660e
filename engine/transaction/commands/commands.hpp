// What the commands of the engine do, one function per command and file, and how they answer.
#pragma once

#include <optional>
#include <string>

#include "engine/transaction/command_result.hpp"
#include "engine/transaction/device.hpp"

namespace slotkeeper {

// ---- how a command answers ------------------------------------------------------------------------------------------

[[nodiscard]] CommandResult answer(const Device& device, Outcome outcome, std::string line);
[[nodiscard]] CommandResult failure(const Device& device, Error error, bool rolled_back);
[[nodiscard]] std::string slot_text(SlotId slot);  ///< "slot A"
[[nodiscard]] Error wrong_state(const Device& device, std::string message);

template <class Run>
CommandResult with_device(EngineSettings& settings, OpenFor purpose, Run run) {
  auto device = open_device(settings, purpose);
  if (!device.has_value()) return failed_command(std::move(device).assume_error());
  CommandResult result = run(*device.assume_value());
  auto closed = device.assume_value()->store->close();
  if (!closed.has_value() && !result.failure) {
    result.failure = Failure{std::move(closed).assume_error(), std::nullopt};
    result.outcome = outcome_for(result.failure->error.code, false);
  }
  return result;
}

// ---- commands that change the device --------------------------------------------------------------------------------

[[nodiscard]] CommandResult run_install(Device& device, const InstallRequest& request);
[[nodiscard]] CommandResult run_recover(Device& device);
[[nodiscard]] CommandResult run_confirm(Device& device, bool force);
/// Waits until the time of the trial (`confirm-within`) is over and ends one that is not confirmed by then. Holds no
/// lock while it waits. Ends at once where no trial runs, within 10 s after a confirmation, within 1 s when asked to.
/// Durable: as `run_confirm` of a trial that is not healthy. Errors: health_timeout (it was ended), cancelled, busy
/// (another command does not let go for 60 s), and those of opening the device.
[[nodiscard]] CommandResult end_overdue_trial(EngineSettings& settings);
[[nodiscard]] CommandResult run_rollback(Device& device, bool to_previous);
[[nodiscard]] CommandResult run_mark(Device& device, SlotId slot, SlotMark mark);
[[nodiscard]] CommandResult run_compact(Device& device, bool dry_run);
/// Of one package by the beginning of its manifest's hash, or of all. Durable. Errors: usage (not such a beginning).
[[nodiscard]] CommandResult clear_quarantine(Device& device, const std::optional<std::string>& id);
/// Asks the command that holds the state store to end, and waits until it has.
[[nodiscard]] CommandResult cancel_running(EngineSettings& settings);

/// Creates the state store, puts the boot environment in order and records the baseline of the booted slot.
/// Durable: all of it. On crash: the device is not provisioned (or still as it was); run it again.
/// Errors: wrong_state (a valid store and no `force`), unknown_slot, incompatible (the factory bundle is not what
/// runs), and those of reading, writing and verifying.
[[nodiscard]] CommandResult provision_device(EngineSettings& settings, const std::optional<std::string>& factory_bundle,
                                             bool force);

// ---- commands that look: none of them changes a byte ----------------------------------------------------------------

[[nodiscard]] CommandResult report_preflight(Device& device, const std::string& location);
[[nodiscard]] CommandResult report_status(Device& device);
[[nodiscard]] CommandResult report_history(Device& device);
[[nodiscard]] CommandResult report_quarantine(Device& device);
[[nodiscard]] CommandResult verify_device(Device& device);

}  // namespace slotkeeper
