#include "engine/transaction/actions.hpp"
#include "engine/transaction/commands/commands.hpp"

namespace slotkeeper {
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
    return device.wrote ? answer(device, Outcome::ok, "What was unfinished was put in order.")
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

}  // namespace slotkeeper
