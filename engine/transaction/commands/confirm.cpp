#include <chrono>

#include "engine/transaction/actions.hpp"
#include "engine/transaction/commands/commands.hpp"
#include "engine/transaction/configuration_fate.hpp"
#include "engine/transaction/health.hpp"

namespace slotkeeper {
namespace {

Json checks_to_json(const std::vector<ProgramRun>& checks) {
  JsonArray list;
  for (const auto& check : checks) list.emplace_back(to_json(check));
  return list;
}

CommandResult end_trial(Device& device, Error why, Event event) {
  set_cause(device, why, std::nullopt);
  auto withdrawn = carry_on(device, event);
  if (!withdrawn.has_value()) return failure(device, std::move(withdrawn).assume_error(), false);
  device.phase.reset();
  return failure(device, std::move(why), true);
}

}  // namespace

CommandResult run_confirm(Device& device, bool force) {
  if (!device.has_open_transaction() || device.booted != device.record->target) {
    auto facts = device.boot_facts();
    if (!facts.has_value()) return failure(device, std::move(facts).assume_error(), false);
    return answer(device, Outcome::nothing_to_do, "Nothing to do: no trial is running.");
  }
  const bool was_over = device.record->state == State::withdrawing || device.record->state == State::restoring;
  // A trial that nobody saw yet is begun first; one whose confirmation was cut off is finished.
  auto recovered = recover_device(device);
  if (!recovered.has_value()) return failure(device, std::move(recovered).assume_error(), false);
  TransactionRecord& record = *device.record;
  if (record.state == State::confirmed) {
    return answer(device, Outcome::confirmed, "Version " + record.image.version + " is confirmed.");
  }
  if (record.state != State::trial) {
    auto held = was_over ? std::nullopt : reason_to_hold_back(device);
    if (held) return failure(device, std::move(*held), false);  // the migration failed just now
    return failure(device, wrong_state(device, "the trial is over; restart the device"), false);
  }
  const auto elapsed = device.settings.host.since_boot() - std::chrono::seconds(record.trial_since_boot_s);
  const auto rest = device.configuration().confirm_within - elapsed;
  if (!force && rest < std::chrono::nanoseconds(0)) {
    return end_trial(device, make_error(Errc::health_timeout, "the trial was not confirmed within its time"),
                     Event::unhealthy);
  }
  auto checks = run_health_checks(
      device, force ? std::nullopt : std::optional(std::chrono::duration_cast<std::chrono::milliseconds>(rest)));
  if (!checks.has_value()) {
    if (!force) return failure(device, std::move(checks).assume_error(), false);
    device.sink().notice("health checks could not be run: " + checks.assume_error().message);
  } else {
    device.report.emplace_back("checks", checks_to_json(checks.assume_value()));
    // A shutdown ends the checks as well: that says nothing about the firmware.
    if (device.sink().cancel_requested()) {
      return failure(device, make_error(Errc::cancelled, "the health checks were cut off; the trial goes on"), false);
    }
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

}  // namespace slotkeeper
