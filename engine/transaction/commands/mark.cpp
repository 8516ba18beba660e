#include <algorithm>
#include <vector>

#include "engine/transaction/commands/commands.hpp"
#include "partitions/slot_writer.hpp"

namespace slotkeeper {
namespace {

/// A slot of which nothing is recorded may be marked good by an operator who knows better, but not one whose head was
/// zeroed because its image was never completed.
Result<void> check_heads(Device& device, SlotId slot) {
  for (const auto& volume : device.configuration().slots[slot].volumes) {
    SK_TRY_ASSIGN(auto file, device.storage().open_file(volume.device_path, {.follow_symlink = true}));
    std::vector<std::byte> head(kHeadRanges[0].length);
    SK_TRY(file->read_exactly_at(kHeadRanges[0].offset, head));
    SK_TRY(file->close());
    if (std::ranges::all_of(head, [](std::byte b) { return b == std::byte{0}; })) {
      return wrong_state(device, slot_text(slot) + " holds no complete firmware (volume " + volume.name + ")");
    }
  }
  device.sink().notice("nothing is recorded of " + slot_text(slot) + "; it is marked good unseen");
  return success();
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
  if (!baseline && mark == SlotMark::good) return check_heads(device, slot);
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
