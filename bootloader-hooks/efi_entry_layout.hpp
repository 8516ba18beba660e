// What the four entries of ours say together, and the steps from one boot state to another. Pure functions.
//
// How systemd-boot (252) picks: it leaves out what is hidden, puts entries with no tries left last, sorts the others by
// sort-key, and takes the first one that `default slotkeeper-*` in loader.conf matches. So
//   a slot is in the order      when one of its entries is visible
//   it is the primary           when that entry has the lowest key and is not used up
//   it is tried and counted     when that is its trial entry; its rest entry stays hidden then
//
// Whole states as entries (R rest, T trial; the number is the key):
//   only_slot(A), rolled_back   R(a) visible                      everything of B hidden
//   armed(B)                    R(a) visible 50, T(b)+3 visible 49    R(b) hidden
//   trial of B, tries used      the same with T(b)+2-1
//   confirmed(B)                R(a) visible 50, R(b) visible 49      T(b) hidden, its tries given back
//   at_rest(A) in a trial of B  R(a) visible 50, T(b)+2-1 visible 51
//
// Every step is one of: overwrite one entry in place (one sector, same length: atomic), rename a hidden trial entry,
// create a missing entry, hidden. What each whole state takes, and what a cut leaves:
//   armed       (1) T(b) hidden -> visible in front of R(a). Cut before: the old order; after: the new one, in full.
//   confirmed   (1) R(b) visible with T(b)'s key or the one before: from here on the target is uncounted. (2) T(b)
//               hidden. (3) T(b) renamed to its full tries. Cut between (1) and (2): the target starts, by either
//               entry; between (2) and (3): `behind`.
//   rolled_back (1) T(b) hidden: the original is first. (2), (3) R(b) hidden if it was not, T(b) renamed.
//   only_slot   the same. Nothing of the target is written before this has returned.
//   at_rest     (1) what is in front of the slot goes behind it, the other slot's entry by one write.
// A key is lowered by one with each update. At 01 both slots move back first, the one behind before the one in front;
// an entry that is its slot's only visible one is never rewritten without the slot's other entry standing in for it. At
// each of these instants the first entry is that of the old primary or that of the new one, no slot is visible that
// neither the old nor the new state has in its order, and this is so even where a cut spoils the sector in flight.
#pragma once

#include <array>
#include <vector>

#include "bootloader-hooks/boot_control.hpp"
#include "bootloader-hooks/efi_entry.hpp"

namespace slotkeeper::boot {

/// One file of ours as found. Without a name it is missing; without a text it is damaged.
struct FoundEntry {
  std::string file_name;
  EntryCounter counter;
  std::optional<EntryText> text;

  bool operator==(const FoundEntry&) const = default;
  [[nodiscard]] bool exists() const { return !file_name.empty(); }
  [[nodiscard]] bool is_visible() const { return text && text->is_visible; }
  [[nodiscard]] bool is_used_up() const { return counter.left == 0U; }
};

struct SlotEntries {
  FoundEntry rest;
  FoundEntry trial;
  /// More trial entries of this slot: what a cut inside a rename may leave. They may share their sector with `trial`.
  std::vector<FoundEntry> spares;
  bool operator==(const SlotEntries&) const = default;
};

struct EntryLayout {
  SlotEntries a;
  SlotEntries b;
  bool operator==(const EntryLayout&) const = default;
  [[nodiscard]] const SlotEntries& operator[](SlotId slot) const { return slot == SlotId::a ? a : b; }
  [[nodiscard]] SlotEntries& operator[](SlotId slot) { return slot == SlotId::a ? a : b; }
  void add(const EntryName& name, std::string file_name, std::optional<EntryText> text);
};

/// The visible entries' slots in the order in which systemd-boot takes them, with the file names.
struct ListedEntry {
  SlotId slot = SlotId::a;
  EntryKind kind = EntryKind::rest;
  std::string file_name;
};
[[nodiscard]] std::vector<ListedEntry> listed_entries(const EntryLayout& layout);

/// `damaged_copy`: an entry is missing or damaged, or there are spares. `behind_copy`: tries of a hidden trial entry
/// are to be given back, or both entries of a slot are visible.
[[nodiscard]] BootReading boot_reading_of(const EntryLayout& layout, std::uint32_t attempts);

struct EntryStep {
  enum class Kind : std::uint8_t {
    create,    ///< a new file, hidden; its content is durable before the next step
    write,     ///< in place
    rename,    ///< to `new_name`, where nothing is
    set_aside  ///< a spare, to a name that systemd-boot does not read; never removed, because it may share its sector
  };
  Kind kind = Kind::write;
  std::string file_name;
  std::string new_name = {};
  EntryText text = {};
};

struct EntryPlan {
  std::vector<EntryStep> steps;
  EntryLayout after;
};

/// Bodies to make a lost entry from where the slot's other entry cannot give one: the integrator's templates.
struct EntryBodies {
  std::optional<std::string> a;
  std::optional<std::string> b;
  [[nodiscard]] const std::optional<std::string>& operator[](SlotId slot) const { return slot == SlotId::a ? a : b; }
};

/// Nothing to do: no steps. Errors: boot_environment (an entry is lost and there is nothing to make it from), internal
/// (no slot in the order).
[[nodiscard]] Result<EntryPlan> plan_store(const EntryLayout& now, const BootState& wanted, std::uint32_t attempts,
                                           const EntryBodies& bodies);
/// Mends what `boot_reading_of` calls damaged or behind; the order stays as it is. A lost entry comes back hidden.
[[nodiscard]] Result<EntryPlan> plan_repair(const EntryLayout& now, std::uint32_t attempts, const EntryBodies& bodies);
/// Gives every entry its template's body, then as `plan_store`. Errors: as `plan_store`; both bodies are needed.
[[nodiscard]] Result<EntryPlan> plan_initialise(const EntryLayout& now, const BootState& wanted, std::uint32_t attempts,
                                                const EntryBodies& bodies);

}  // namespace slotkeeper::boot
