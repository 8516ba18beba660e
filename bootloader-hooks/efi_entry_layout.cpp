#include "bootloader-hooks/efi_entry_layout.hpp"

#include <algorithm>
#include <tuple>

namespace slotkeeper::boot {
namespace {

constexpr std::array kSlots{SlotId::a, SlotId::b};
constexpr std::array kKinds{EntryKind::rest, EntryKind::trial};
constexpr std::uint32_t kKeyMiddle = 50;
constexpr std::uint32_t kKeyBack = 90;

EntryKind other_kind(EntryKind kind) { return kind == EntryKind::rest ? EntryKind::trial : EntryKind::rest; }

FoundEntry& entry_of(EntryLayout& layout, SlotId slot, EntryKind kind) {
  return kind == EntryKind::rest ? layout[slot].rest : layout[slot].trial;
}

/// The order of systemd-boot: used up last, then by key, then by name in falling order, in which "a.conf" comes before
/// "a-trial.conf" and more tries before fewer. Our steps never give two slots the same key.
auto rank_of(const ListedEntry& listed, const FoundEntry& entry) {
  return std::tuple(entry.is_used_up(), entry.text->key, listed.slot == SlotId::a, listed.kind == EntryKind::trial,
                    ~entry.counter.left.value_or(0));
}

/// Carries the steps out on a layout as it makes them.
class Planner {
 public:
  Planner(const EntryLayout& now, std::uint32_t attempts, const EntryBodies& bodies)
      : plan_{.steps = {}, .after = now}, attempts_(attempts), bodies_(bodies) {}

  [[nodiscard]] EntryPlan take() { return std::move(plan_); }
  [[nodiscard]] bool lists_nothing() const { return listed_entries(plan_.after).empty(); }

  [[nodiscard]] Result<void> mend_all() {
    for (const SlotId slot : kSlots) {
      for (const EntryKind kind : kKinds) SK_TRY(mend(slot, kind));
    }
    return success();
  }

  /// Every entry gets its template's body: what is hidden first, so that it can stand in.
  [[nodiscard]] Result<void> give_bodies(SlotId first) {
    SK_TRY(stand_in(first, EntryKind::rest));
    SK_TRY(mend_all());
    for (const bool visible : {false, true}) {
      for (const SlotId slot : kSlots) {
        for (const EntryKind kind : kKinds) {
          if (entry(slot, kind).is_visible() != visible) continue;
          EntryText text = *entry(slot, kind).text;
          text.body = *bodies_[slot];
          if (visible) {
            rewrite(slot, kind, std::move(text));
          } else {
            write(slot, kind, std::move(text));
          }
        }
      }
    }
    return success();
  }

  [[nodiscard]] Result<void> store(const BootState& wanted) {
    const auto primary = wanted.primary();
    if (!primary) return make_error(Errc::internal, "a boot state without any slot in its order cannot be stored");
    const SlotId first = *primary;
    const SlotId second = other(first);
    const bool arms = wanted.mark && wanted.mark->stage == TransactionMark::Stage::trial;
    const EntryKind kind = arms ? EntryKind::trial : EntryKind::rest;
    const bool keeps_second = std::ranges::find(wanted.order, second) != wanted.order.end();
    SK_TRY(stand_in(first, kind));
    SK_TRY(mend_all());
    if (arms) give_tries(first);
    // With the other slot out of the order nothing else has to change where this one is behind it already.
    const FoundEntry& start = entry(first, kind);
    if (!keeps_second && start.is_visible() && !start.is_used_up()) hide(second);
    make_first(first, kind);
    hide(first, other_kind(kind));
    if (keeps_second) {
      put_behind(second, wanted[second], *entry(first, kind).text, first, kind);
    } else {
      hide(second);
    }
    tidy();
    return success();
  }

  /// A slot whose rest entry is visible needs no trial entry.
  void hide_doubles() {
    for (const SlotId slot : kSlots) {
      const FoundEntry& trial = entry(slot, EntryKind::trial);
      if (!trial.is_visible() || !entry(slot, EntryKind::rest).is_visible()) continue;
      if (!trial.is_used_up()) show(slot, EntryKind::rest, *lowest_key(slot));
      hide(slot, EntryKind::trial);
    }
  }

  /// Spares out of the way and all tries given back, where that cannot change what is started.
  void tidy() {
    for (const SlotId slot : kSlots) {
      const FoundEntry& trial = entry(slot, EntryKind::trial);
      if (!trial.exists() || trial.is_visible()) continue;
      set_spares_aside(slot);
      rename_trial(slot);
    }
  }

 private:
  [[nodiscard]] FoundEntry& entry(SlotId slot, EntryKind kind) { return entry_of(plan_.after, slot, kind); }

  void write(SlotId slot, EntryKind kind, EntryText text) {
    FoundEntry& found = entry(slot, kind);
    if (found.text == text) return;
    plan_.steps.push_back({.kind = EntryStep::Kind::write, .file_name = found.file_name, .text = text});
    found.text = std::move(text);
  }
  void show(SlotId slot, EntryKind kind, std::uint32_t key) {
    write(slot, kind, {.is_visible = true, .key = key, .body = entry(slot, kind).text->body});
  }
  void hide(SlotId slot, EntryKind kind) {
    if (entry(slot, kind).is_visible()) {
      EntryText text = *entry(slot, kind).text;
      text.is_visible = false;
      write(slot, kind, std::move(text));
    }
    // They are hidden by that, too, only where they share the sector.
    if (kind == EntryKind::trial) set_spares_aside(slot);
  }
  void hide(SlotId slot) {
    hide(slot, EntryKind::trial);
    hide(slot, EntryKind::rest);
  }

  void set_spares_aside(SlotId slot) {
    for (const FoundEntry& spare : plan_.after[slot].spares) {
      const std::string stem = spare.file_name.substr(0, spare.file_name.rfind('.'));
      plan_.steps.push_back(
          {.kind = EntryStep::Kind::set_aside, .file_name = spare.file_name, .new_name = stem + ".spare"});
    }
    plan_.after[slot].spares.clear();
  }

  /// Hidden entries only.
  void rename_trial(SlotId slot) {
    FoundEntry& trial = entry(slot, EntryKind::trial);
    const EntryCounter full{.left = attempts_, .done = 0};
    if (trial.counter == full) return;
    SK_INVARIANT(!trial.is_visible());
    std::string name = print_entry_name({.slot = slot, .kind = EntryKind::trial, .counter = full});
    plan_.steps.push_back({.kind = EntryStep::Kind::rename, .file_name = trial.file_name, .new_name = name});
    trial.file_name = std::move(name);
    trial.counter = full;
  }

  [[nodiscard]] Result<std::string> body_for(SlotId slot) {
    for (const EntryKind kind : kKinds) {
      if (entry(slot, kind).text) return entry(slot, kind).text->body;
    }
    if (bodies_[slot]) return *bodies_[slot];
    return make_error(Errc::boot_environment, "no boot entry of slot " + std::string(name_of(slot)) +
                                                  " is whole, and the integrator's lines, from which it is made anew, "
                                                  "cannot be used either");
  }

  [[nodiscard]] Result<void> mend(SlotId slot, EntryKind kind) {
    FoundEntry& found = entry(slot, kind);
    if (found.text) return success();
    SK_TRY_ASSIGN(auto body, body_for(slot));
    EntryText text{.is_visible = false, .key = kEntryKeyMax, .body = std::move(body)};
    if (found.exists()) {
      write(slot, kind, std::move(text));
      return success();
    }
    EntryName name{.slot = slot, .kind = kind, .counter = {}};
    if (kind == EntryKind::trial) name.counter.left = attempts_;
    found = {.file_name = print_entry_name(name), .counter = name.counter, .text = text};
    plan_.steps.push_back({.kind = EntryStep::Kind::create, .file_name = found.file_name, .text = std::move(text)});
    return success();
  }

  /// A damaged rest entry may still be one that starts (the integrator's first one, or one edited by hand). While it is
  /// made anew the trial entry stands in for it.
  [[nodiscard]] Result<void> stand_in(SlotId first, EntryKind kind) {
    const FoundEntry& rest = entry(first, EntryKind::rest);
    if (kind != EntryKind::rest || !rest.exists() || rest.text) return success();
    SK_TRY(mend(first, EntryKind::trial));
    if (!entry(first, EntryKind::trial).is_visible()) give_tries(first);
    make_first(first, EntryKind::trial);
    return success();
  }

  /// All tries for the trial entry. It is hidden for that; where it is all that starts, the rest entry takes its place.
  void give_tries(SlotId slot) {
    FoundEntry& trial = entry(slot, EntryKind::trial);
    const EntryCounter full{.left = attempts_, .done = 0};
    if (trial.counter == full && plan_.after[slot].spares.empty()) return;
    if (trial.is_visible()) {
      // Used up it comes last, so that hiding it changes nothing unless there is nothing else.
      const bool counts = !trial.is_used_up() || listed_entries(plan_.after).size() == 1;
      if (counts) show(slot, EntryKind::rest, lowest_key(slot).value_or(trial.text->key));
      hide(slot, EntryKind::trial);
    }
    set_spares_aside(slot);
    rename_trial(slot);
  }

  /// The lowest key among what is visible of this slot and may be tried.
  [[nodiscard]] std::optional<std::uint32_t> lowest_key(SlotId slot) {
    std::optional<std::uint32_t> lowest;
    for (const EntryKind kind : kKinds) {
      const FoundEntry& found = entry(slot, kind);
      if (found.is_visible() && !found.is_used_up()) lowest = std::min(lowest.value_or(kEntryKeyMax), found.text->key);
    }
    return lowest;
  }
  /// Another text for a visible entry. Where it is the only one of its slot the other one stands in meanwhile, so that
  /// not even a sector that is spoilt by the cut takes the slot away.
  void rewrite(SlotId slot, EntryKind kind, EntryText text) {
    if (entry(slot, kind).text == text) return;
    const bool is_alone = !entry(slot, other_kind(kind)).is_visible();
    if (is_alone && kind == EntryKind::rest) give_tries(slot);
    if (is_alone) show(slot, other_kind(kind), text.key);
    write(slot, kind, std::move(text));
    if (is_alone) hide(slot, other_kind(kind));
  }
  void rekey(SlotId slot, EntryKind kind, std::uint32_t key) {
    EntryText text = *entry(slot, kind).text;
    text.key = key;
    rewrite(slot, kind, std::move(text));
  }
  void move(SlotId slot, std::uint32_t key) {
    for (const EntryKind kind : kKinds) {
      if (entry(slot, kind).is_visible()) rekey(slot, kind, key);
    }
  }

  /// Makes this entry visible, and the first one. The last step it makes is the switch.
  void make_first(SlotId slot, EntryKind kind) {
    const FoundEntry& found = entry(slot, kind);
    const SlotId second = other(slot);
    const auto others = lowest_key(second);
    if (!others) {
      if (!found.is_visible() || found.is_used_up()) show(slot, kind, kKeyMiddle);
      return;
    }
    if (found.is_visible() && !found.is_used_up()) {
      if (found.text->key < *others) return;
      // What is in front goes behind it; the entry that is to start stays as it is.
      if (found.text->key == kEntryKeyMax) {
        if (*others > kEntryKeyMin) return rekey(slot, kind, *others - 1);
        rekey(slot, kind, kKeyMiddle);
      }
      for (const EntryKind in_front : kKinds) {
        if (entry(second, in_front).is_visible() && entry(second, in_front).text->key <= found.text->key) {
          show(second, in_front, found.text->key + 1);
        }
      }
      return;
    }
    if (*others > kEntryKeyMin) return show(slot, kind, *others - 1);
    // No room in front. Everything moves back, so that what is first stays so.
    if (listed_entries(plan_.after).front().slot != slot) move(slot, kKeyBack);
    move(second, kKeyMiddle);
    show(slot, kind, kKeyMiddle - 1);
  }

  void put_behind(SlotId slot, const SlotBootState& wanted, const EntryText& front, SlotId first,
                  EntryKind first_kind) {
    const FoundEntry& trial = entry(slot, EntryKind::trial);
    const bool is_counted = trial.is_visible() && !entry(slot, EntryKind::rest).is_visible() && wanted.tries_left &&
                            trial.counter.left == wanted.tries_left && plan_.after[slot].spares.empty();
    const EntryKind kind = is_counted ? EntryKind::trial : EntryKind::rest;
    const FoundEntry& found = entry(slot, kind);
    if (!found.is_visible() || (found.text->key <= front.key && !found.is_used_up())) {
      if (front.key == kEntryKeyMax) rekey(first, first_kind, kKeyMiddle);
      show(slot, kind, entry(first, first_kind).text->key + 1);
    }
    hide(slot, other_kind(kind));
  }

  EntryPlan plan_;
  std::uint32_t attempts_;
  const EntryBodies& bodies_;
};

SlotBootState slot_state(const EntryLayout& layout, const std::vector<ListedEntry>& listed, SlotId slot,
                         std::uint32_t attempts) {
  const SlotEntries& entries = layout[slot];
  const auto first = std::ranges::find(listed, slot, &ListedEntry::slot);
  if (first == listed.end()) {
    // Hidden is bad; of what is lost nothing is known.
    if (!entries.rest.text && !entries.trial.text) return {};
    return {.health = SlotHealth::bad, .tries_left = 0};
  }
  if (first->kind == EntryKind::rest) return {.health = SlotHealth::good, .tries_left = attempts};
  std::uint32_t left = entries.trial.counter.left.value_or(attempts);
  // A rename was cut off: a try had begun.
  for (const FoundEntry& spare : entries.spares) {
    left = std::min({left, spare.counter.left.value_or(attempts), attempts - 1});
  }
  return {.health = left > 0 ? SlotHealth::good : SlotHealth::unknown, .tries_left = left};
}

}  // namespace

void EntryLayout::add(const EntryName& name, std::string file_name, std::optional<EntryText> text) {
  FoundEntry found{.file_name = std::move(file_name), .counter = name.counter, .text = std::move(text)};
  SlotEntries& entries = (*this)[name.slot];
  FoundEntry& place = name.kind == EntryKind::rest ? entries.rest : entries.trial;
  if (!place.exists()) {
    place = std::move(found);
    return;
  }
  // The order of a directory is no order: the one with more tries left is the one that systemd-boot takes first.
  if (place.counter.left.value_or(0) < found.counter.left.value_or(0)) std::swap(place, found);
  entries.spares.push_back(std::move(found));
  std::ranges::sort(entries.spares, {}, &FoundEntry::file_name);
}

std::vector<ListedEntry> listed_entries(const EntryLayout& layout) {
  using Ranked = std::pair<decltype(rank_of({}, {})), ListedEntry>;
  std::vector<Ranked> ranked;
  const auto add = [&](SlotId slot, EntryKind kind, const FoundEntry& entry) {
    if (!entry.is_visible()) return;
    ListedEntry listed{.slot = slot, .kind = kind, .file_name = entry.file_name};
    const auto rank = rank_of(listed, entry);
    ranked.emplace_back(rank, std::move(listed));
  };
  for (const SlotId slot : kSlots) {
    add(slot, EntryKind::rest, layout[slot].rest);
    add(slot, EntryKind::trial, layout[slot].trial);
    for (const FoundEntry& spare : layout[slot].spares) add(slot, EntryKind::trial, spare);
  }
  std::ranges::sort(ranked, {}, &Ranked::first);
  std::vector<ListedEntry> listed;
  listed.reserve(ranked.size());
  for (auto& [rank, entry] : ranked) listed.push_back(std::move(entry));
  return listed;
}

BootReading boot_reading_of(const EntryLayout& layout, std::uint32_t attempts) {
  BootReading reading;
  const auto listed = listed_entries(layout);
  for (const ListedEntry& entry : listed) {
    if (std::ranges::find(reading.state.order, entry.slot) == reading.state.order.end()) {
      reading.state.order.push_back(entry.slot);
    }
  }
  for (const SlotId slot : kSlots) {
    const SlotEntries& entries = layout[slot];
    reading.state[slot] = slot_state(layout, listed, slot, attempts);
    if (!entries.rest.text || !entries.trial.text || !entries.spares.empty()) reading.damaged_copy = true;
    const EntryCounter full{.left = attempts, .done = 0};
    const bool is_due = entries.trial.exists() && !entries.trial.is_visible() && entries.trial.counter != full;
    if (is_due || (entries.rest.is_visible() && entries.trial.is_visible())) reading.behind_copy = true;
  }
  return reading;
}

Result<EntryPlan> plan_store(const EntryLayout& now, const BootState& wanted, std::uint32_t attempts,
                             const EntryBodies& bodies) {
  Planner planner(now, attempts, bodies);
  SK_TRY(planner.store(wanted));
  return planner.take();
}

Result<EntryPlan> plan_repair(const EntryLayout& now, std::uint32_t attempts, const EntryBodies& bodies) {
  Planner planner(now, attempts, bodies);
  if (planner.lists_nothing()) {
    return make_error(Errc::boot_environment,
                      "no boot entry of Slotkeeper's can be started, so it is not known which slot is to come first; "
                      "'slotkeeper recover' puts the confirmed one there");
  }
  SK_TRY(planner.mend_all());
  planner.hide_doubles();
  planner.tidy();
  return planner.take();
}

Result<EntryPlan> plan_initialise(const EntryLayout& now, const BootState& wanted, std::uint32_t attempts,
                                  const EntryBodies& bodies) {
  SK_INVARIANT(bodies.a && bodies.b);
  Planner planner(now, attempts, bodies);
  if (wanted.primary()) SK_TRY(planner.give_bodies(*wanted.primary()));
  SK_TRY(planner.store(wanted));
  return planner.take();
}

}  // namespace slotkeeper::boot
