#include "engine/transaction/commands/commands.hpp"

namespace slotkeeper {
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

}  // namespace slotkeeper
