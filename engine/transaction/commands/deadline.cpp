#include <chrono>

#include "engine/transaction/commands/commands.hpp"

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
    if (looked.failure || !left) return looked;
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

}  // namespace

CommandResult end_overdue_trial(EngineSettings& settings) {
  if (auto result = wait_for_deadline(settings)) return std::move(*result);
  const auto limit = settings.host.since_boot() + kBusyWaitMax;
  for (;;) {
    CommandResult result =
        with_device(settings, OpenFor::writing, [](Device& device) { return run_confirm(device, false); });
    const bool is_busy = result.failure && result.failure->error.code == Errc::busy;
    if (!is_busy) return result;
    if (settings.host.since_boot() >= limit) {
      result.extra.emplace_back("reboot_needed", true);  // whatever hangs there, the trial does not stay
      return result;
    }
    settings.host.sleep(kBreath);
  }
}

}  // namespace slotkeeper
