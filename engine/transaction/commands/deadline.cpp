#include <chrono>

#include "engine/transaction/actions.hpp"
#include "engine/transaction/commands/commands.hpp"
#include "engine/transaction/recovery.hpp"

namespace slotkeeper {
namespace {

using std::chrono::seconds;

constexpr auto kLookEvery = seconds(10);
constexpr auto kBreath = seconds(1);        ///< how soon a request to end is noticed
constexpr auto kBusyWaitMax = seconds(60);  ///< for a confirmation that is being decided just now

/// What is left of the trial that runs; nothing when none does. Negative: it is overdue, or given up already.
std::optional<std::chrono::nanoseconds> time_left(const Device& device) {
  if (!device.has_open_transaction() || device.booted != device.record->target) return std::nullopt;
  const TransactionRecord& record = *device.record;
  if (record.state == State::withdrawing || record.state == State::restoring) return seconds(-1);
  // One that `recover` never saw began with this boot.
  const seconds begun(record.trial_boot_id == device.boot_id ? record.trial_since_boot_s : 0);
  return begun + device.configuration().confirm_within - device.settings.host.since_boot();
}

/// Waits for the end of the trial's time. An answer where there is nothing (left) to wait for.
std::optional<CommandResult> wait_for_deadline(EngineSettings& settings) {
  for (;;) {
    std::optional<std::chrono::nanoseconds> left;
    CommandResult looked = with_device(settings, OpenFor::reading, [&](Device& device) {
      left = time_left(device);
      return answer(device, Outcome::nothing_to_do, "Nothing to do: no trial is running.");
    });
    if (looked.failure) {
      // What cannot be read now may be later, e.g. when its partition is mounted. When the time is over it is final.
      if (looked.failure->error.code == Errc::not_provisioned) return looked;
      left = settings.configuration.confirm_within - settings.host.since_boot();
      if (left->count() < 0) return looked;
    }
    if (!left) return looked;
    if (left->count() < 0) return std::nullopt;
    const auto next_look = settings.host.since_boot() + std::min<std::chrono::nanoseconds>(*left, kLookEvery);
    do {
      settings.host.sleep(kBreath);
      if (settings.sink.cancel_requested()) {
        return failed_command(make_error(Errc::cancelled, "nobody watches the time of the trial any more"));
      }
    } while (settings.host.since_boot() < next_look);
  }
}

/// A trial that `recover` has not seen in this boot is not begun now, when its services have long been writing: it
/// ends.
CommandResult end_unseen_trial(Device& device) {
  TransactionRecord& record = *device.record;
  record.restore_wanted =
      true;  // the newest generation there is: what the original wrote last, as far as it was secured
  Error why = make_error(Errc::health_timeout,
                         "the trial was not confirmed within its time, and 'slotkeeper recover' had not run before its "
                         "services started");
  set_cause(device, why, std::nullopt);
  const Event event = record.state == State::armed    ? Event::rollback_requested
                      : record.state == State::arming ? Event::failed
                                                      : Event::unhealthy;
  auto withdrawn = carry_on(device, event);
  if (!withdrawn.has_value()) return failure(device, std::move(withdrawn).assume_error(), false);
  device.phase.reset();
  return failure(device, std::move(why), true);
}

CommandResult end_trial_now(Device& device) {
  const auto left = time_left(device);
  if (!left || left->count() >= 0) return answer(device, Outcome::nothing_to_do, "Nothing to do: no trial is overdue.");
  const State state = device.record->state;
  const bool can_be_unseen = state == State::arming || state == State::armed || state == State::trial;
  if (can_be_unseen && device.record->trial_boot_id != device.boot_id) {
    auto facts = device.boot_facts();
    if (facts.has_value() && decide(*device.record, facts.assume_value()).action == Action::begin_trial)
      return end_unseen_trial(device);
  }
  return run_confirm(device, false);
}

}  // namespace

CommandResult end_overdue_trial(EngineSettings& settings) {
  if (auto result = wait_for_deadline(settings)) return std::move(*result);
  const auto limit = settings.host.since_boot() + kBusyWaitMax;
  for (;;) {
    CommandResult result =
        with_device(settings, OpenFor::writing, [](Device& device) { return end_trial_now(device); });
    const bool is_busy = result.failure && result.failure->error.code == Errc::busy;
    if (!is_busy) return result;
    if (settings.host.since_boot() >= limit) {
      const CommandResult again = with_device(settings, OpenFor::reading, [](Device& device) {
        return answer(device, time_left(device) ? Outcome::ok : Outcome::nothing_to_do, "Nothing to do.");
      });
      if (again.outcome == Outcome::nothing_to_do) return again;
      result.extra.emplace_back("reboot_needed", true);  // whatever hangs there, the trial does not stay
      return result;
    }
    settings.host.sleep(kBreath);
  }
}

}  // namespace slotkeeper
