#include <chrono>

#include "engine/transaction/commands/commands.hpp"

namespace slotkeeper {
namespace {

constexpr auto kCancelWaitMax = std::chrono::seconds(60);
constexpr auto kCancelPoll = std::chrono::milliseconds(50);

}  // namespace

CommandResult cancel_running(EngineSettings& settings) {
  const std::string& path = settings.configuration.store_path;
  auto holder = settings.storage.lock_holder(path);
  if (!holder.has_value()) return failed_command(std::move(holder).assume_error());
  CommandResult result;
  if (!holder.assume_value()) {
    return with_device(settings, OpenFor::reading, [](Device& device) {
      if (device.has_open_transaction() && device.record->state >= State::armed) {
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
