// The commands that move a transaction. Each opens the device, does its part and reports; the decisions stand in the
// transition table.
#include "engine/transaction/engine.hpp"

#include <algorithm>
#include <chrono>

#include "engine/transaction/actions.hpp"
#include "engine/transaction/device.hpp"
#include "engine/transaction/health.hpp"
#include "engine/transaction/reports.hpp"
#include "engine/transaction/rest.hpp"
#include "engine/transaction/steps/compact.hpp"
#include "engine/transaction/update_transaction.hpp"

namespace slotkeeper {

struct Engine::State {
  EngineSettings settings;
};

Engine::Engine(EngineSettings settings) : state_(new State{std::move(settings)}) {}
Engine::~Engine() = default;

namespace {

constexpr auto kCancelWaitMax = std::chrono::seconds(60);
constexpr auto kCancelPoll = std::chrono::milliseconds(50);
constexpr auto kRebootHookLimit = std::chrono::seconds(60);

CommandResult answer(const Device& device, Outcome outcome, std::string line) {
  CommandResult result;
  result.outcome = outcome;
  if (device.record) result.transaction = device.record->id;
  result.extra = device.report;
  if (device.reboot_needed) result.extra.emplace_back("reboot_needed", true);
  result.lines.push_back(std::move(line));
  return result;
}

CommandResult failure(const Device& device, Error error, bool rolled_back) {
  CommandResult result;
  result.outcome = outcome_for(error.code, rolled_back);
  if (device.record) result.transaction = device.record->id;
  result.extra = device.report;
  if (device.reboot_needed) result.extra.emplace_back("reboot_needed", true);
  result.failure = Failure{std::move(error), device.phase};
  return result;
}

std::string slot_text(SlotId slot) { return "slot " + std::string(name_of(slot)); }

Error wrong_state(const Device& device, std::string message) {
  Error error = make_error(Errc::wrong_state, std::move(message));
  if (device.record) error = std::move(error).with_detail({"state", std::string(name_of(device.record->state))});
  return error;
}

/// Brings what an earlier command or a power cut left unfinished to its end. `wrong_state` while armed or in a trial.
Result<void> finish_leftovers(Device& device) {
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

Result<void> reboot(Device& device) {
  const std::string hook = device.configuration().hooks_directory + "/reboot";
  const bool has_hook = device.storage().status_of(hook).has_value();
  SK_TRY_ASSIGN(const auto outcome,
                device.settings.host.run({.executable = has_hook ? hook : "/sbin/reboot",
                                          .arguments = {},
                                          .environment = {},
                                          .time_limit = std::chrono::milliseconds(kRebootHookLimit)}));
  if (outcome.exit_status == 0) return success();
  return make_error(Errc::internal, "the reboot command ended with status " + std::to_string(outcome.exit_status));
}

CommandResult run_install(Device& device, const InstallRequest& request) {
  // A trial that nothing could judge must not begin.
  auto checks = find_health_checks(device.storage(), device.configuration());
  if (!checks.has_value()) return failure(device, std::move(checks).assume_error(), false);
  auto ready = finish_leftovers(device);
  if (!ready.has_value()) return failure(device, std::move(ready).assume_error(), false);
  const auto previous = device.record ? std::optional(device.record->id) : std::nullopt;
  auto trial = update_transaction(device, {.location = request.location, .force = request.force});
  const bool began = device.record && device.record->id != previous;
  if (!trial.has_value()) {
    Error error = std::move(trial).assume_error();
    if (began) {
      error = roll_back_after(device, std::move(error));
      return failure(device, std::move(error), !device.has_open_transaction());
    }
    device.record.reset();
    const int status = info(error.code).exit_status;
    if (status == 3 || status == 4) {
      const Failure why{error, device.phase};
      auto noted = device.add_history_without_transaction(outcome_for(error.code, false), why, request.location);
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
    auto rebooted = reboot(device);
    if (!rebooted.has_value()) {
      device.sink().notice("the device could not be restarted: " + rebooted.assume_error().message);
    }
  }
  return result;
}

CommandResult run_recover(Device& device) {
  const bool was_open = device.has_open_transaction();
  auto recovered = recover_device(device);
  if (!recovered.has_value()) {
    auto result = failure(device, std::move(recovered).assume_error(), false);
    result.cause = device.cause;
    return result;
  }
  if (device.fell_back) {
    auto result = answer(device, Outcome::rolled_back, "The device fell back to " + slot_text(device.booted) + ".");
    result.cause = device.cause;
    return result;
  }
  if (!was_open) {
    return device.wrote ? answer(device, Outcome::ok, "The boot environment was put in order.")
                        : answer(device, Outcome::nothing_to_do, "Nothing to do.");
  }
  const std::string version = device.record->image.version;
  CommandResult result;
  switch (device.record->state) {
    case State::confirmed:
      return answer(device, Outcome::confirmed, "Version " + version + " is confirmed.");
    case State::rolled_back:
      result = answer(device, Outcome::rolled_back,
                      "The update to version " + version + " was rolled back; " + slot_text(device.booted) +
                          " runs with its own configuration.");
      break;
    case State::withdrawing:
    case State::restoring:
      result = answer(device, Outcome::rolled_back,
                      "The update to version " + version + " is being rolled back: restart the device.");
      break;
    case State::trial:
      return answer(device, Outcome::ok, "Version " + version + " is on trial in " + slot_text(device.booted) + ".");
    default:
      return answer(device, device.wrote ? Outcome::ok : Outcome::nothing_to_do,
                    "Version " + version + " waits for a restart.");
  }
  result.cause = device.cause;
  return result;
}

Json checks_to_json(const std::vector<HealthCheck>& checks) {
  JsonArray list;
  for (const auto& check : checks) {
    list.emplace_back(JsonObject{{"name", escape_bytes(check.name)},
                                 {"exit", check.exit_status},
                                 {"timed_out", check.timed_out},
                                 {"output", escape_bytes(check.output)}});
  }
  return list;
}

CommandResult end_trial(Device& device, Error why, Event event) {
  set_cause(device, why, Phase::confirm);
  auto withdrawn = carry_on(device, event);
  if (!withdrawn.has_value()) return failure(device, std::move(withdrawn).assume_error(), false);
  device.phase = Phase::confirm;
  return failure(device, std::move(why), true);
}

CommandResult run_confirm(Device& device, bool force) {
  auto facts = device.boot_facts();
  if (!facts.has_value()) return failure(device, std::move(facts).assume_error(), false);
  if (!device.has_open_transaction() || device.booted != device.record->target) {
    return answer(device, Outcome::nothing_to_do, "Nothing to do: no trial is running.");
  }
  // A trial that nobody saw yet is begun first; one whose confirmation was cut off is finished.
  auto recovered = recover_device(device);
  if (!recovered.has_value()) return failure(device, std::move(recovered).assume_error(), false);
  TransactionRecord& record = *device.record;
  if (record.state == State::confirmed) {
    return answer(device, Outcome::confirmed, "Version " + record.image.version + " is confirmed.");
  }
  if (record.state != State::trial) {
    return failure(device, wrong_state(device, "the trial is over; restart the device"), false);
  }
  const auto elapsed = device.settings.host.since_boot() - std::chrono::seconds(record.trial_since_boot_s);
  if (!force && elapsed > device.configuration().confirm_within) {
    return end_trial(device, make_error(Errc::health_timeout, "the trial was not confirmed within its time"),
                     Event::unhealthy);
  }
  auto checks = run_health_checks(device);
  if (!checks.has_value()) {
    if (!force) return failure(device, std::move(checks).assume_error(), false);
    device.sink().notice("health checks could not be run: " + checks.assume_error().message);
  } else {
    device.report.emplace_back("checks", checks_to_json(checks.assume_value()));
    if (auto wrong = verdict_on(checks.assume_value())) {
      if (!force) return end_trial(device, std::move(*wrong), Event::unhealthy);
      device.sink().notice("confirmed by force although " + wrong->message);
    }
  }
  auto confirmed = carry_on(device, Event::healthy);
  if (!confirmed.has_value()) return failure(device, std::move(confirmed).assume_error(), false);
  return answer(device, Outcome::confirmed,
                "Version " + record.image.version + " is confirmed in " + slot_text(device.booted) + ".");
}

Result<void> check_revert(Device& device) {
  const SlotId original = device.record->original;
  const auto& baseline = device.facts[original];
  if (!baseline) return wrong_state(device, slot_text(original) + " no longer holds a known firmware");
  SK_TRY_ASSIGN(const auto damaged,
                damaged_volumes(device.settings, device.configuration().slots[original], *baseline, Phase::check));
  if (!damaged.empty()) {
    return wrong_state(device, slot_text(original) + " does not verify (volume " + damaged.front() + ")");
  }
  if (!can_read_configuration(device.facts, original) && device.facts.snapshot_of != device.record->id) {
    return wrong_state(device, "the firmware in " + slot_text(original) +
                                   " cannot read the present configuration, and no older one is kept");
  }
  return success();
}

CommandResult run_rollback(Device& device, bool to_previous) {
  auto facts = device.boot_facts();
  if (!facts.has_value()) return failure(device, std::move(facts).assume_error(), false);
  if (device.has_open_transaction()) {
    const NextStep next = decide(*device.record, facts.assume_value());
    const bool waits = next.action == Action::stay_armed || next.action == Action::begin_trial;
    if (waits && !to_previous) {
      const Error why = make_error(Errc::cancelled, "the operator asked for it");
      set_cause(device, why, std::nullopt);
      if (device.record->state != State::trial) {
        device.record->state = State::armed;  // where a cut hid that the switch was made, the boot facts show it
        if (device.booted == device.record->target) device.record->restore_wanted = true;
      }
      auto withdrawn = carry_on(device, Event::rollback_requested);
      if (!withdrawn.has_value()) return failure(device, std::move(withdrawn).assume_error(), false);
    } else {
      auto recovered = recover_device(device);
      if (!recovered.has_value()) return failure(device, std::move(recovered).assume_error(), false);
      if (device.record->state == State::confirmed) {
        return failure(device, wrong_state(device, "the update is confirmed already; see rollback --to-previous"),
                       false);
      }
    }
    return answer(device, Outcome::rolled_back,
                  device.reboot_needed ? "The original firmware runs after the next restart."
                                       : "The update was rolled back; " + slot_text(device.booted) + " stays.");
  }
  const bool confirmed_here = device.record && device.record->state == State::confirmed &&
                              device.booted == device.record->target && device.facts.confirmed == device.booted;
  if (!confirmed_here || !to_previous) {
    return failure(device,
                   wrong_state(device, confirmed_here ? "the update is confirmed; use rollback --to-previous"
                                                      : "there is no update to roll back"),
                   false);
  }
  auto possible = check_revert(device);
  if (!possible.has_value()) return failure(device, std::move(possible).assume_error(), false);
  device.record->revert = true;
  device.record->restore_wanted = !can_read_configuration(device.facts, device.record->original);
  set_cause(device, make_error(Errc::cancelled, "the operator asked for the previous firmware"), std::nullopt);
  auto withdrawn = carry_on(device, Event::revert_requested);
  if (!withdrawn.has_value()) return failure(device, std::move(withdrawn).assume_error(), false);
  return answer(device, Outcome::rolled_back,
                "The previous firmware in " + slot_text(device.record->original) + " runs after the next restart.");
}

Result<void> check_mark(Device& device, SlotId slot, SlotMark mark, const BootFacts& facts) {
  if (device.has_open_transaction()) {
    return wrong_state(device, "a transaction is open (" + std::string(name_of(device.record->state)) + ")");
  }
  if (mark == SlotMark::bad) {
    const bool other_boots = std::ranges::find(facts.environment.order, other(slot)) != facts.environment.order.end() &&
                             device.facts[other(slot)].has_value();
    if (!other_boots) return wrong_state(device, slot_text(slot) + " is the only slot that can start");
    return success();
  }
  const auto& baseline = device.facts[slot];
  if (!baseline) return wrong_state(device, slot_text(slot) + " holds no known firmware");
  SK_TRY_ASSIGN(const auto damaged,
                damaged_volumes(device.settings, device.configuration().slots[slot], *baseline, Phase::check));
  if (damaged.empty()) return success();
  return wrong_state(device, slot_text(slot) + " does not verify (volume " + damaged.front() + ")");
}

Result<void> apply_mark(Device& device, SlotId slot, SlotMark mark, const BootFacts& facts) {
  const auto& before = facts.environment;
  if (mark == SlotMark::active || (mark == SlotMark::bad && device.facts.confirmed == slot)) {
    const SlotId first = mark == SlotMark::active ? slot : other(slot);
    device.facts.confirmed = first;
    device.facts.activated_boot_id = first == device.booted ? "" : device.boot_id;
    SK_TRY(device.save_facts());
    SK_TRY(device.store->write_last_confirmed(first));
  }
  if (mark == SlotMark::bad) {
    return device.store_environment(before, boot::only_slot(before, other(slot), device.attempts()));
  }
  auto wanted = before;
  wanted[slot] = {.health = boot::SlotHealth::good, .tries_left = device.attempts()};
  if (std::ranges::find(wanted.order, slot) == wanted.order.end()) wanted.order.push_back(slot);
  if (mark == SlotMark::active) wanted = boot::at_rest(wanted, slot, device.attempts());
  return device.store_environment(before, wanted);
}

CommandResult run_mark(Device& device, SlotId slot, SlotMark mark) {
  const auto run = [&]() -> Result<void> {
    SK_TRY_ASSIGN(const auto facts, device.boot_facts());
    SK_TRY(check_mark(device, slot, mark, facts));
    return apply_mark(device, slot, mark, facts);
  };
  auto marked = run();
  if (!marked.has_value()) return failure(device, std::move(marked).assume_error(), false);
  return answer(device, Outcome::ok,
                slot_text(slot) + (mark == SlotMark::active ? " is started next."
                                   : mark == SlotMark::good ? " is marked good."
                                                            : " is marked bad and is not started."));
}

CommandResult run_compact(Device& device, bool dry_run) {
  if (!dry_run && device.has_open_transaction()) {
    return failure(device, wrong_state(device, "a transaction is open"), false);
  }
  device.phase = Phase::compact;
  const auto run = [&]() -> Result<CommandResult> {
    const Configuration& configuration = device.configuration();
    SK_TRY_ASSIGN(auto root, device.open_permanent());
    SK_TRY_ASSIGN(const auto inventory, permanent::take_inventory(*root, configuration.classes,
                                                                  permanent::HashScope::nothing, device.sink()));
    SK_TRY_ASSIGN(const auto plan, permanent::plan_compaction(*root, inventory, {}));
    for (const auto& action : plan.actions) {
      device.sink().planned_write({.where = "permanent partition", .what = "remove " + action.path, .bytes = 0});
    }
    permanent::CompactionReport report;
    if (!dry_run) {
      SK_TRY_ASSIGN(report, permanent::carry_out(*root, plan, device.sink()));
    }
    SK_TRY(root->close());
    device.report.emplace_back("frees_bytes", plan.frees.bytes);
    device.report.emplace_back("frees_inodes", plan.frees.inodes);
    device.report.emplace_back("freed_bytes", report.freed.bytes);
    device.report.emplace_back("removed_files", report.removed_files);
    const std::string count = std::to_string(dry_run ? plan.actions.size() : report.removed_files) + " files, " +
                              std::to_string((dry_run ? plan.frees.bytes : report.freed.bytes) / 1024) + " KiB";
    auto result = plan.actions.empty()
                      ? answer(device, Outcome::nothing_to_do, "Nothing to compact.")
                      : answer(device, Outcome::ok, (dry_run ? "Would remove " : "Removed ") + count + ".");
    result.transaction.reset();
    return result;
  };
  auto result = run();
  if (!result.has_value()) return failure(device, std::move(result).assume_error(), false);
  return std::move(result).assume_value();
}

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

}  // namespace

CommandResult Engine::install(const InstallRequest& request) {
  return with_device(state_->settings, OpenFor::writing, [&](Device& device) { return run_install(device, request); });
}

CommandResult Engine::recover() {
  return with_device(state_->settings, OpenFor::recovering, [](Device& device) { return run_recover(device); });
}

CommandResult Engine::confirm(bool force) {
  return with_device(state_->settings, OpenFor::writing, [&](Device& device) { return run_confirm(device, force); });
}

CommandResult Engine::rollback(bool to_previous) {
  return with_device(state_->settings, OpenFor::writing,
                     [&](Device& device) { return run_rollback(device, to_previous); });
}

CommandResult Engine::mark(SlotId slot, SlotMark mark) {
  return with_device(state_->settings, OpenFor::writing, [&](Device& device) { return run_mark(device, slot, mark); });
}

CommandResult Engine::compact(bool dry_run) {
  return with_device(state_->settings, dry_run ? OpenFor::reading : OpenFor::writing,
                     [&](Device& device) { return run_compact(device, dry_run); });
}

CommandResult Engine::preflight(const std::string& location) {
  return with_device(state_->settings, OpenFor::reading,
                     [&](Device& device) { return report_preflight(device, location); });
}

CommandResult Engine::status() {
  return with_device(state_->settings, OpenFor::reading, [](Device& device) { return report_status(device); });
}

CommandResult Engine::history() {
  return with_device(state_->settings, OpenFor::reading, [](Device& device) { return report_history(device); });
}

CommandResult Engine::verify() {
  return with_device(state_->settings, OpenFor::reading, [](Device& device) { return verify_device(device); });
}

CommandResult Engine::provision(const std::optional<std::string>& factory_bundle, bool force) {
  return provision_device(state_->settings, factory_bundle, force);
}

CommandResult Engine::cancel() {
  EngineSettings& settings = state_->settings;
  const std::string& path = settings.configuration.store_path;
  auto holder = settings.storage.lock_holder(path);
  if (!holder.has_value()) return failed_command(std::move(holder).assume_error());
  CommandResult result;
  if (!holder.assume_value()) {
    return with_device(settings, OpenFor::reading, [](Device& device) {
      if (device.has_open_transaction() && device.record->state >= slotkeeper::State::armed) {
        return failure(device, wrong_state(device, "the switch is made already; use 'slotkeeper rollback'"), false);
      }
      return answer(device, Outcome::nothing_to_do, "Nothing to do: no install is running.");
    });
  }
  auto asked = settings.host.ask_to_end(*holder.assume_value());
  if (!asked.has_value() && asked.assume_error().os_errno != ESRCH) {
    return failed_command(std::move(asked).assume_error());
  }
  const auto deadline = settings.host.monotonic() + kCancelWaitMax;
  while (settings.host.monotonic() < deadline) {
    auto still = settings.storage.lock_holder(path);
    if (!still.has_value()) return failed_command(std::move(still).assume_error());
    if (still.assume_value() != holder.assume_value()) {
      result.outcome = Outcome::ok;
      result.lines.emplace_back("The running command was ended.");
      return result;
    }
    settings.host.sleep(kCancelPoll);
  }
  return failed_command(make_error(Errc::busy, "the running command was asked to end, but it still runs"));
}

}  // namespace slotkeeper
