#include "bootloader-hooks/grub_variables.hpp"

#include <algorithm>

namespace slotkeeper::boot {
namespace {

constexpr const char* kOrder = "ORDER";
constexpr const char* kMark = "SLOTKEEPER_TX";
constexpr const char* kScript = "SLOTKEEPER_SCRIPT";
constexpr std::array kSlots{SlotId::a, SlotId::b};

constexpr const char* ok_of(SlotId slot) { return slot == SlotId::a ? "A_OK" : "B_OK"; }
constexpr const char* try_of(SlotId slot) { return slot == SlotId::a ? "A_TRY" : "B_TRY"; }

std::optional<std::uint32_t> digit_of(const std::optional<std::string>& text) {
  if (!text || text->size() != 1 || text->front() < '0' || text->front() > '9') return std::nullopt;
  return static_cast<std::uint32_t>(text->front() - '0');
}

std::optional<std::uint32_t> tries_left(const Variables& variables, SlotId slot, std::uint32_t attempts) {
  const auto used = digit_of(value_of(variables, try_of(slot)));
  if (!used) return std::nullopt;
  return attempts - std::min(*used, attempts);
}

SlotBootState slot_state(const Variables& variables, const std::vector<SlotId>& order, SlotId slot,
                         std::uint32_t attempts) {
  SlotBootState state;
  state.tries_left = tries_left(variables, slot, attempts);
  if (!state.tries_left) return state;
  const auto ok = digit_of(value_of(variables, ok_of(slot)));
  const bool in_order = std::ranges::find(order, slot) != order.end();
  if (in_order && ok == 1U && *state.tries_left > 0) state.health = SlotHealth::good;
  if (!in_order && ok == 0U) state.health = SlotHealth::bad;
  return state;
}

std::optional<std::uint32_t> count_wanted(const SlotBootState& wanted, std::uint32_t attempts) {
  if (wanted.tries_left) return std::min(*wanted.tries_left, attempts);
  if (wanted.health == SlotHealth::good) return attempts;
  if (wanted.health == SlotHealth::bad) return 0;
  return std::nullopt;
}

}  // namespace

bool is_grub_ours(std::string_view name) { return std::ranges::find(kGrubOurs, name) != kGrubOurs.end(); }

BootState grub_state_of(const Variables& variables, std::uint32_t attempts) {
  BootState state;
  state.order = order_in(value_of(variables, kOrder));
  for (const SlotId slot : kSlots) state[slot] = slot_state(variables, state.order, slot, attempts);
  state.mark = TransactionMark::parse(value_of(variables, kMark).value_or(""));
  return state;
}

VariableChanges grub_changes_to(const Variables& variables, const BootState& wanted, std::uint32_t attempts) {
  VariableChanges changes;
  const auto set = [&](const char* name, const std::optional<std::string>& value) {
    if (value_of(variables, name) != value) changes[name] = value;
  };
  set(kOrder, order_text(wanted.order, value_of(variables, kOrder)));
  for (const SlotId slot : kSlots) {
    const SlotBootState& state = wanted[slot];
    if (state.health != SlotHealth::unknown) set(ok_of(slot), state.health == SlotHealth::good ? "1" : "0");
    // All tries left and none are written as such; what a script used beyond the attempts reads as none left, too.
    const auto count = count_wanted(state, attempts);
    if (count && tries_left(variables, slot, attempts) != count) set(try_of(slot), std::to_string(attempts - *count));
  }
  set(kMark, wanted.mark ? std::optional(wanted.mark->text()) : std::nullopt);
  return changes;
}

std::optional<std::uint32_t> grub_script_attempts(const Variables& variables) {
  const auto attempts = digit_of(value_of(variables, kScript));
  return attempts && *attempts > 0 ? attempts : std::nullopt;
}

}  // namespace slotkeeper::boot
