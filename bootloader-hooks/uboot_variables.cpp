#include "bootloader-hooks/uboot_variables.hpp"

#include <algorithm>
#include <array>
#include <sstream>

namespace slotkeeper::boot {
namespace {

constexpr const char* kOrder = "BOOT_ORDER";
constexpr const char* kMark = "SLOTKEEPER_TX";

constexpr const char* left_of(SlotId slot) { return slot == SlotId::a ? "BOOT_A_LEFT" : "BOOT_B_LEFT"; }

std::optional<std::string> value_of(const Variables& variables, const std::string& name) {
  const auto found = variables.find(name);
  if (found == variables.end()) return std::nullopt;
  return found->second;
}

std::vector<std::string> words_of(const std::string& text) {
  std::vector<std::string> words;
  std::istringstream stream(text);
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

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
  for (const std::string& word : words_of(value_of(variables, kOrder).value_or(""))) {
    const auto slot = slot_from_name(word);
    if (slot && std::ranges::find(state.order, *slot) == state.order.end()) state.order.push_back(*slot);
  }
  state.a = slot_state(variables, state.order, SlotId::a);
  state.b = slot_state(variables, state.order, SlotId::b);
  state.mark = TransactionMark::parse(value_of(variables, kMark).value_or(""));
  return state;
}

VariableChanges changes_to(const Variables& variables, const BootState& wanted, std::uint32_t attempts) {
  VariableChanges changes;
  std::string order;
  for (const SlotId slot : wanted.order) order += (order.empty() ? "" : " ") + std::string(name_of(slot));
  for (const std::string& word : words_of(value_of(variables, kOrder).value_or(""))) {
    if (!slot_from_name(word)) order += (order.empty() ? "" : " ") + word;
  }
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
