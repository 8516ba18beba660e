#include "bootloader-hooks/uboot_variables.hpp"

#include <algorithm>
#include <array>

namespace slotkeeper::boot {
namespace {

constexpr const char* kOrder = "BOOT_ORDER";
constexpr const char* kMark = "SLOTKEEPER_TX";

constexpr const char* left_of(SlotId slot) { return slot == SlotId::a ? "BOOT_A_LEFT" : "BOOT_B_LEFT"; }

std::optional<std::uint32_t> count_of(const std::optional<std::string>& text) {
  if (!text) return std::nullopt;
  std::string_view digits = *text;
  if (digits.starts_with("0x") || digits.starts_with("0X")) digits.remove_prefix(2);
  while (digits.size() > 1 && digits.front() == '0') digits.remove_prefix(1);
  if (digits.size() != 1 || digits.front() < '0' || digits.front() > '9') return std::nullopt;
  return static_cast<std::uint32_t>(digits.front() - '0');
}

SlotBootState slot_state(const Variables& variables, const std::vector<SlotId>& order, SlotId slot) {
  SlotBootState state;
  state.tries_left = count_of(value_of(variables, left_of(slot)));
  if (!state.tries_left) return state;
  const bool in_order = std::ranges::find(order, slot) != order.end();
  if (in_order && *state.tries_left > 0) state.health = SlotHealth::good;
  if (!in_order && *state.tries_left == 0) state.health = SlotHealth::bad;
  return state;
}

std::optional<std::uint32_t> count_to_write(const SlotBootState& wanted, std::uint32_t attempts) {
  if (wanted.tries_left) return wanted.tries_left;
  if (wanted.health == SlotHealth::good) return attempts;
  if (wanted.health == SlotHealth::bad) return 0;
  return std::nullopt;
}

}  // namespace

BootState boot_state_of(const Variables& variables) {
  BootState state;
  state.order = order_in(value_of(variables, kOrder));
  state.a = slot_state(variables, state.order, SlotId::a);
  state.b = slot_state(variables, state.order, SlotId::b);
  state.mark = TransactionMark::parse(value_of(variables, kMark).value_or(""));
  return state;
}

VariableChanges changes_to(const Variables& variables, const BootState& wanted, std::uint32_t attempts) {
  VariableChanges changes;
  const std::string order = order_text(wanted.order, value_of(variables, kOrder));
  if (value_of(variables, kOrder) != order) changes[kOrder] = order;
  for (const SlotId slot : {SlotId::a, SlotId::b}) {
    const auto count = count_to_write(wanted[slot], attempts);
    if (count && count_of(value_of(variables, left_of(slot))) != count) changes[left_of(slot)] = std::to_string(*count);
  }
  const auto mark = wanted.mark ? std::optional(wanted.mark->text()) : std::nullopt;
  if (value_of(variables, kMark) != mark) changes[kMark] = mark;
  return changes;
}

bool agree_on_slots(const Variables& one, const Variables& another) {
  constexpr std::array kOurs{kOrder, left_of(SlotId::a), left_of(SlotId::b), kMark};
  return std::ranges::all_of(kOurs, [&](const char* name) { return value_of(one, name) == value_of(another, name); });
}

}  // namespace slotkeeper::boot
