#include "bootloader-hooks/boot_state.hpp"

#include <algorithm>
#include <array>

#include "partitions/io/result.hpp"

namespace slotkeeper::boot {
namespace {

constexpr std::size_t kMarkDigits = 16;

struct StageName {
  TransactionMark::Stage stage;
  std::string_view name;
};
constexpr std::array<StageName, 2> kStageNames{
    {{TransactionMark::Stage::trial, "trial"}, {TransactionMark::Stage::good, "good"}}};

bool is_transaction(std::string_view text) {
  return text.size() == kMarkDigits &&
         std::ranges::all_of(text, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

/// A count is kept for both slots or for neither.
bool counts_tries(const BootState& state) { return state.a.tries_left.has_value() || state.b.tries_left.has_value(); }

SlotBootState ready(const BootState& before, std::uint32_t attempts) {
  return {.health = SlotHealth::good, .tries_left = counts_tries(before) ? std::optional(attempts) : std::nullopt};
}

SlotBootState withdrawn(const BootState& before) {
  return {.health = SlotHealth::bad, .tries_left = counts_tries(before) ? std::optional(0U) : std::nullopt};
}

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
  SK_INVARIANT(false);
  return {};
}

std::string TransactionMark::text() const {
  for (const auto& row : kStageNames) {
    if (row.stage == stage) return transaction + ":" + std::string(row.name);
  }
  SK_INVARIANT(false);
  return {};
}

std::optional<TransactionMark> TransactionMark::parse(std::string_view text) {
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos || !is_transaction(text.substr(0, colon))) return std::nullopt;
  for (const auto& row : kStageNames) {
    if (text.substr(colon + 1) == row.name) {
      return TransactionMark{.transaction = std::string(text.substr(0, colon)), .stage = row.stage};
    }
  }
  return std::nullopt;
}

std::optional<SlotId> BootState::primary() const {
  if (order.empty()) return std::nullopt;
  return order.front();
}

BootState only_slot(const BootState& before, SlotId keep, std::uint32_t attempts) {
  BootState wanted = before;
  wanted.order = {keep};
  wanted[keep] = ready(before, attempts);
  wanted[other(keep)] = withdrawn(before);
  return wanted;
}

BootState armed(const BootState& before, SlotId target, std::uint32_t attempts, std::string_view transaction) {
  SK_INVARIANT(is_transaction(transaction));
  BootState wanted;
  wanted.order = {target, other(target)};
  wanted.a = ready(before, attempts);
  wanted.b = ready(before, attempts);
  wanted.mark = TransactionMark{.transaction = std::string(transaction), .stage = TransactionMark::Stage::trial};
  return wanted;
}

BootState confirmed(const BootState& before, SlotId slot, std::uint32_t attempts, std::string_view transaction) {
  SK_INVARIANT(is_transaction(transaction));
  BootState wanted = at_rest(before, slot, attempts);
  wanted.mark = TransactionMark{.transaction = std::string(transaction), .stage = TransactionMark::Stage::good};
  return wanted;
}

BootState rolled_back(const BootState& before, SlotId original, std::uint32_t attempts) {
  BootState wanted = only_slot(before, original, attempts);
  wanted.mark.reset();
  return wanted;
}

BootState at_rest(const BootState& before, SlotId slot, std::uint32_t attempts) {
  BootState wanted = before;
  put_first(wanted.order, slot);
  wanted[slot] = ready(before, attempts);
  return wanted;
}

}  // namespace slotkeeper::boot
