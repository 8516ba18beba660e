#include "engine/source/location.hpp"
#include "engine/transaction/actions.hpp"
#include "engine/transaction/commands/commands.hpp"
#include "engine/transaction/compacting.hpp"
#include "engine/transaction/hooks.hpp"
#include "engine/transaction/restart.hpp"
#include "engine/transaction/update_transaction.hpp"

namespace slotkeeper {
namespace {

/// Brings what an earlier command or a power cut left unfinished to its end. `wrong_state` while armed or in a trial.
Result<void> finish_leftovers(Device& device) {
  end_quiet_time_of_others(device);
  SK_TRY_ASSIGN(const auto facts, device.boot_facts());
  if (device.has_open_transaction()) {
    const NextStep next = decide(*device.record, facts);
    if (next.action == Action::stay_armed) {
      return wrong_state(device, "version " + device.record->image.version + " is installed in " +
                                     slot_text(device.record->target) + " and waits for a restart");
    }
    if (next.action == Action::begin_trial) {
      return wrong_state(device, "a trial of version " + device.record->image.version +
                                     " is running; confirm it or roll it back first");
    }
  } else if (device.booted == device.facts.confirmed || device.facts.activated_boot_id == device.boot_id) {
    return success();
  }
  SK_TRY(recover_device(device));
  device.cause.reset();
  device.report.clear();
  if (device.has_open_transaction()) {
    return wrong_state(device, "the device has to be restarted before a new update can begin");
  }
  return success();
}

}  // namespace

CommandResult run_install(Device& device, const InstallRequest& request) {
  // A trial that nothing could judge must not begin.
  auto checks = find_health_checks(device.storage(), device.configuration());
  if (!checks.has_value()) return failure(device, std::move(checks).assume_error(), false);
  auto ready = finish_leftovers(device);
  if (ready.has_value()) ready = finish_compaction(device);
  if (!ready.has_value()) return failure(device, std::move(ready).assume_error(), false);
  const auto previous = device.record ? std::optional(device.record->id) : std::nullopt;
  auto trial = update_transaction(device, {.location = request.location, .force = request.force});
  const bool began = device.record && device.record->id != previous;
  if (!trial.has_value()) {
    Error error = std::move(trial).assume_error();
    if (info(error.code).exit_status == 3) error = std::move(error).with_detail({"compacted", device.compacted});
    if (began) {
      error = roll_back_after(device, std::move(error));
      return failure(device, std::move(error), !device.has_open_transaction());
    }
    device.record.reset();
    const int status = info(error.code).exit_status;
    if (status == 3 || status == 4) {
      const Failure why{error, device.phase};
      auto noted = device.add_history_without_transaction(outcome_for(error.code, false), why,
                                                          printable_location(request.location));
      if (!noted.has_value()) device.sink().notice("the history could not be written: " + noted.assume_error().message);
    }
    return failure(device, std::move(error), false);
  }
  if (!trial.assume_value()) {
    device.record.reset();
    return answer(device, Outcome::nothing_to_do,
                  "Nothing to do: " + slot_text(device.booted) + " already holds this bundle.");
  }
  device.reboot_needed = true;
  auto result = answer(device, Outcome::armed,
                       "Version " + device.record->image.version + " is installed in " +
                           slot_text(device.record->target) + " and is tried at the next restart.");
  if (request.reboot) {
    device.sink().restarting("install", result);
    auto rebooted = restart_device(device);
    if (!rebooted.has_value()) {
      device.sink().notice("the device could not be restarted: " + rebooted.assume_error().message);
    }
  }
  return result;
}

}  // namespace slotkeeper
