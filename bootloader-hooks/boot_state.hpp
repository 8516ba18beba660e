// What a bootloader's store says about the slots, and the few whole states that the engine ever wants it to say.
// Pure functions: a backend reads a state and stores a state, and decides nothing.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "partitions/slot_table.hpp"

namespace slotkeeper::boot {

enum class SlotHealth : std::uint8_t { unknown, good, bad };
[[nodiscard]] std::string_view name_of(SlotHealth health);

struct SlotBootState {
  SlotHealth health = SlotHealth::unknown;
  std::optional<std::uint32_t> tries_left;  ///< nothing where the bootloader keeps no count
  bool operator==(const SlotBootState&) const = default;
};

/// The private variable SLOTKEEPER_TX: the first 16 hex digits of a transaction, and how far it is.
struct TransactionMark {
  enum class Stage : std::uint8_t { trial, good };
  std::string transaction;  ///< 16 hex digits
  Stage stage = Stage::trial;
  bool operator==(const TransactionMark&) const = default;
  [[nodiscard]] std::string text() const;  ///< "0123456789abcdef:trial"
  [[nodiscard]] static std::optional<TransactionMark> parse(std::string_view text);
};

struct BootState {
  std::vector<SlotId> order;  ///< the first one is the primary; a slot that is absent is not tried
  SlotBootState a;
  SlotBootState b;
  std::optional<TransactionMark> mark;

  bool operator==(const BootState&) const = default;
  [[nodiscard]] std::optional<SlotId> primary() const;
  [[nodiscard]] const SlotBootState& operator[](SlotId slot) const { return slot == SlotId::a ? a : b; }
  [[nodiscard]] SlotBootState& operator[](SlotId slot) { return slot == SlotId::a ? a : b; }
};

/// Staging: only `keep` is in the order, with all its tries; the other one is bad. The mark stays.
[[nodiscard]] BootState only_slot(const BootState& before, SlotId keep, std::uint32_t attempts);
/// Armed: `target` first, then the other one, both with all their tries, mark `transaction:trial`.
[[nodiscard]] BootState armed(const BootState& before, SlotId target, std::uint32_t attempts,
                              std::string_view transaction);
/// Confirmed: `slot` first with all its tries and good, mark `transaction:good`; the other one as it was.
[[nodiscard]] BootState confirmed(const BootState& before, SlotId slot, std::uint32_t attempts,
                                  std::string_view transaction);
/// Rolled back: `original` is the only slot, with all its tries; no mark.
[[nodiscard]] BootState rolled_back(const BootState& before, SlotId original, std::uint32_t attempts);
/// At rest: `slot` first with all its tries, everything else as it is.
[[nodiscard]] BootState at_rest(const BootState& before, SlotId slot, std::uint32_t attempts);

/// A state that takes as much room in a store as any: where it fits, every state of an update does.
[[nodiscard]] BootState longest_state(const BootState& before, std::uint32_t attempts);

/// The state without what a bootloader cannot keep, so that it compares equal with what is read back.
[[nodiscard]] BootState as_kept(BootState state, bool keeps_mark, bool counts_tries);

}  // namespace slotkeeper::boot
