#include <algorithm>

#include "engine/transaction/commands/commands.hpp"

namespace slotkeeper {
namespace {

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

}  // namespace

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

}  // namespace slotkeeper
