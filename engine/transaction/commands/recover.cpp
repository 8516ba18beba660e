#include "engine/transaction/actions.hpp"
#include "engine/transaction/commands/commands.hpp"
#include "engine/transaction/configuration_fate.hpp"
#include "engine/transaction/floor.hpp"

namespace slotkeeper {
namespace {

std::string fate_sentence(const Device& device) {
  const std::string fate = reported_fate(device);
  if (fate == name_of(ConfigurationFate::migrated)) return "The configuration was migrated.";
  if (fate == name_of(ConfigurationFate::restored)) return "The configuration was restored.";
  if (fate == name_of(ConfigurationFate::saved_aside)) {
    return "The configuration cannot be read by this firmware; a copy was saved aside and somebody has to set the "
           "device up again.";
  }
  return "The configuration was kept.";
}

}  // namespace

CommandResult run_recover(Device& device) {
  const bool was_open = device.has_open_transaction();
  auto recovered = recover_device(device);
  if (!recovered.has_value()) {
    auto result = failure(device, std::move(recovered).assume_error(), false);
    result.cause = device.cause;
    return result;
  }
  if (!device.has_open_transaction()) raise_counter(device);
  if (device.fell_back) {
    auto result = answer(device, Outcome::rolled_back, "The device fell back to " + slot_text(device.booted) + ".");
    result.cause = device.cause;
    result.lines.push_back(fate_sentence(device));
    return result;
  }
  if (!was_open) {
    return device.wrote ? answer(device, Outcome::ok, "What was unfinished was put in order.")
                        : answer(device, Outcome::nothing_to_do, "Nothing to do.");
  }
  const std::string version = device.record->image.version;
  if (auto error = reason_to_hold_back(device)) {
    auto held = failure(device, std::move(*error), false);
    held.cause = device.cause;
    return held;
  }
  CommandResult result;
  switch (device.record->state) {
    case State::confirmed:
      return answer(device, Outcome::confirmed, "Version " + version + " is confirmed.");
    case State::rolled_back:
      if (reported_fate(device).empty()) report_fate(device, ConfigurationFate::kept);
      result = answer(device, Outcome::rolled_back,
                      "The update to version " + version + " was rolled back; " + slot_text(device.booted) +
                          " runs with its own configuration.");
      result.lines.push_back(fate_sentence(device));
      break;
    case State::withdrawing:
    case State::restoring:
      report_fate(device, device.record->restore_wanted ? ConfigurationFate::to_be_restored : ConfigurationFate::kept);
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
