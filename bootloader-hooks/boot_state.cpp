#include "bootloader-hooks/boot_state.hpp"

#include <algorithm>

namespace slotkeeper::boot {
namespace {

constexpr std::size_t kMarkDigits = 16;

/// The slot first, the others behind it in their order.
void put_first(std::vector<SlotId>& order, SlotId slot) {
  std::erase(order, slot);
  order.insert(order.begin(), slot);
}

}  // namespace

std::string_view name_of(SlotHealth health) {
  switch (health) {
    case SlotHealth::unknown:
      return "unknown";
    case SlotHealth::good:
      return "good";
    case SlotHealth::bad:
      return "bad";
  }
  return "unknown";
}

std::string TransactionMark::text() const { return transaction + (stage == Stage::trial ? ":trial" : ":good"); }

std::optional<TransactionMark> TransactionMark::parse(std::string_view text) {
  if (text.size() <= kMarkDigits || text[kMarkDigits] != ':') return std::nullopt;
  const auto digits = text.substr(0, kMarkDigits);
  if (digits.find_first_not_of("0123456789abcdef") != std::string_view::npos) return std::nullopt;
  const auto stage = text.substr(kMarkDigits + 1);
  if (stage != "trial" && stage != "good") return std::nullopt;
  return TransactionMark{.transaction = std::string(digits), .stage = stage == "good" ? Stage::good : Stage::trial};
}

std::optional<SlotId> BootState::primary() const {
  if (order.empty()) return std::nullopt;
  return order.front();
}

BootState only_slot(const BootState& before, SlotId keep, std::uint32_t attempts) {
  BootState after = before;
  after.order = {keep};
  after[keep] = {.health = SlotHealth::good, .tries_left = attempts};
  after[other(keep)] = {.health = SlotHealth::bad, .tries_left = 0};
  return after;
}

BootState armed(const BootState& before, SlotId target, std::uint32_t attempts, std::string_view transaction) {
  BootState after = before;
  after.order = {target, other(target)};
  after.a = {.health = SlotHealth::good, .tries_left = attempts};
  after.b = after.a;
  after.mark = TransactionMark{.transaction = std::string(transaction), .stage = TransactionMark::Stage::trial};
  return after;
}

BootState confirmed(const BootState& before, SlotId slot, std::uint32_t attempts, std::string_view transaction) {
  BootState after = at_rest(before, slot, attempts);
  after.mark = TransactionMark{.transaction = std::string(transaction), .stage = TransactionMark::Stage::good};
  return after;
}

BootState rolled_back(const BootState& before, SlotId original, std::uint32_t attempts) {
  BootState after = only_slot(before, original, attempts);
  after.mark.reset();
  return after;
}

BootState at_rest(const BootState& before, SlotId slot, std::uint32_t attempts) {
  BootState after = before;
  put_first(after.order, slot);
  after[slot] = {.health = SlotHealth::good, .tries_left = attempts};
  return after;
}

BootState longest_state(const BootState& before, std::uint32_t attempts) {
  return armed(before, SlotId::a, attempts, "0123456789abcdef");
}

BootState as_kept(BootState state, bool keeps_mark, bool counts_tries) {
  if (!keeps_mark) state.mark.reset();
  if (!counts_tries) {
    state.a.tries_left.reset();
    state.b.tries_left.reset();
  }
  return state;
}

}  // namespace slotkeeper::boot
