// Every layout that four entries can have, and every step towards every state the engine wants, against systemd-boot's
// rules played independently: nothing but the old primary or the new one is ever first, and nothing that belongs to
// neither order ever starts.
#include "bootloader-hooks/efi_entry_layout.hpp"

#include <algorithm>
#include <set>

#include <gtest/gtest.h>

#include "tests/support/played_systemd_boot.hpp"
#include "tests/support/unwrap.hpp"

namespace slotkeeper::boot {
namespace {

using test::EntryFiles;
using test::error_of;
using test::ok;

constexpr std::uint32_t kAttempts = 3;
const std::string kTransaction = "0123456789abcdef";

std::string body_of(SlotId slot) {
  const std::string name(name_of(slot));
  return "linux /" + name + "/vmlinuz\noptions slotkeeper.slot=" + name + "\n";
}
EntryBodies bodies() { return {.a = body_of(SlotId::a), .b = body_of(SlotId::b)}; }

void put(EntryFiles& files, const EntryName& name, bool is_visible, std::uint32_t key) {
  files[print_entry_name(name)] = print_entry({.is_visible = is_visible, .key = key, .body = body_of(name.slot)});
}

EntryLayout layout_of(const EntryFiles& files) {
  EntryLayout layout;
  for (const auto& [file, content] : files) {
    if (const auto name = parse_entry_name(file)) layout.add(*name, file, parse_entry(content));
  }
  return layout;
}

void carry_out(EntryFiles& files, const EntryStep& step) {
  switch (step.kind) {
    case EntryStep::Kind::create:
      ASSERT_FALSE(files.count(step.file_name)) << step.file_name;
      ASSERT_FALSE(step.text.is_visible) << "a new entry must be hidden";
      files[step.file_name] = print_entry(step.text);
      return;
    case EntryStep::Kind::write:
      ASSERT_TRUE(files.count(step.file_name)) << step.file_name;
      files[step.file_name] = print_entry(step.text);
      return;
    case EntryStep::Kind::rename:
    case EntryStep::Kind::set_aside: {
      ASSERT_TRUE(files.count(step.file_name)) << step.file_name;
      ASSERT_FALSE(files.count(step.new_name)) << step.new_name;
      if (step.kind == EntryStep::Kind::rename) {
        ASSERT_EQ(test::taken_entry({{step.file_name, files[step.file_name]}}), std::nullopt)
            << "a visible entry must not be renamed";
      }
      auto node = files.extract(step.file_name);
      node.key() = step.new_name;
      files.insert(std::move(node));
    }
  }
}

std::string started(const EntryFiles& files) {
  const auto taken = test::taken_entry(files);
  return taken ? test::slot_started_by(files.at(*taken)) : "";
}

/// The slots that can start at all, in the order in which failing ones are passed over.
std::set<std::string> visible(const EntryFiles& files) {
  thread_local std::map<std::pair<std::string, std::string>, std::string> known;
  std::set<std::string> slots;
  for (const auto& [file, content] : files) {
    const auto [place, is_new] = known.try_emplace({file, content});
    if (is_new && test::taken_entry({{file, content}})) place->second = test::slot_started_by(content);
    if (!place->second.empty()) slots.insert(place->second);
  }
  return slots;
}

/// Every layout: each rest entry and each trial entry hidden or at one of the keys, with several counters.
std::vector<EntryFiles> all_layouts() {
  std::vector<EntryFiles> all;
  const std::vector<std::optional<std::uint32_t>> places{std::nullopt, 1, 2, 99};
  const std::vector<EntryCounter> counters{{.left = 3, .done = 0}, {.left = 2, .done = 1}, {.left = 0, .done = 3}, {}};
  for (const auto& rest_a : places) {
    for (const auto& rest_b : places) {
      for (const auto& trial_a : places) {
        for (const auto& trial_b : places) {
          for (const auto& counter : counters) {
            EntryFiles files;
            put(files, {.slot = SlotId::a}, rest_a.has_value(), rest_a.value_or(7));
            put(files, {.slot = SlotId::b}, rest_b.has_value(), rest_b.value_or(7));
            put(files, {.slot = SlotId::a, .kind = EntryKind::trial, .counter = {.left = 3, .done = 0}},
                trial_a.has_value(), trial_a.value_or(7));
            put(files, {.slot = SlotId::b, .kind = EntryKind::trial, .counter = counter}, trial_b.has_value(),
                trial_b.value_or(7));
            all.push_back(std::move(files));
          }
        }
      }
    }
  }
  return all;
}

/// Our steps never give two slots the same key.
bool is_tied(const EntryLayout& layout) {
  for (const FoundEntry* one : {&layout.a.rest, &layout.a.trial}) {
    for (const FoundEntry* another : {&layout.b.rest, &layout.b.trial}) {
      if (one->is_visible() && another->is_visible() && one->text->key == another->text->key &&
          one->is_used_up() == another->is_used_up()) {
        return true;
      }
    }
  }
  return false;
}

std::vector<BootState> wanted_states(const BootState& now) {
  std::vector<BootState> wanted;
  for (const SlotId slot : {SlotId::a, SlotId::b}) {
    wanted.push_back(only_slot(now, slot, kAttempts));
    wanted.push_back(armed(now, slot, kAttempts, kTransaction));
    wanted.push_back(confirmed(now, slot, kAttempts, kTransaction));
    wanted.push_back(rolled_back(now, slot, kAttempts));
    wanted.push_back(at_rest(now, slot, kAttempts));
  }
  return wanted;
}

TEST(EfiEntryLayout, ReadsWhatSystemdBootTakes) {
  std::size_t count = 0;
  for (const EntryFiles& files : all_layouts()) {
    const EntryLayout layout = layout_of(files);
    if (is_tied(layout)) continue;
    const BootReading reading = boot_reading_of(layout, kAttempts);
    const auto primary = reading.state.primary();
    ASSERT_EQ(primary ? std::string(name_of(*primary)) : "", started(files));
    for (const SlotId slot : {SlotId::a, SlotId::b}) {
      const bool is_in = std::ranges::find(reading.state.order, slot) != reading.state.order.end();
      ASSERT_EQ(is_in, visible(files).count(std::string(name_of(slot))) == 1);
      ASSERT_EQ(reading.state[slot].health == SlotHealth::bad, !is_in);
    }
    ++count;
  }
  EXPECT_GT(count, 500U);
}

TEST(EfiEntryLayoutCrash, EveryStepOfEveryStoreLeavesTheOldPrimaryOrTheNewOne) {
  std::size_t stores = 0;
  std::size_t steps = 0;
  for (const EntryFiles& before : all_layouts()) {
    const EntryLayout layout = layout_of(before);
    if (is_tied(layout)) continue;
    const BootState now = boot_reading_of(layout, kAttempts).state;
    for (const BootState& wanted : wanted_states(now)) {
      const EntryPlan plan = ok(plan_store(layout, wanted, kAttempts, bodies()));
      EntryFiles files = before;
      const std::string old_first = started(before);
      const std::string new_first(name_of(*wanted.primary()));
      std::set<std::string> allowed = visible(before);
      for (const SlotId slot : wanted.order) allowed.insert(std::string(name_of(slot)));
      bool switched = old_first == new_first;
      for (const EntryStep& step : plan.steps) {
        if (step.kind == EntryStep::Kind::write) {
          EntryFiles spoilt = files;
          spoilt[step.file_name] = "spoilt by the cut";
          ASSERT_TRUE(started(spoilt) == old_first || started(spoilt) == new_first) << step.file_name;
        }
        ASSERT_NO_FATAL_FAILURE(carry_out(files, step));
        const std::string first = started(files);
        ASSERT_TRUE(first == old_first || first == new_first)
            << first << " between " << old_first << " and " << new_first;
        ASSERT_FALSE(switched && first != new_first) << "it was switched back";
        switched = first == new_first;
        for (const std::string& slot : visible(files)) ASSERT_EQ(allowed.count(slot), 1U) << slot;
        ++steps;
      }
      ASSERT_EQ(started(files), new_first);
      ASSERT_EQ(layout_of(files), plan.after);
      const BootReading reading = boot_reading_of(plan.after, kAttempts);
      ASSERT_EQ(reading.state.order, wanted.order);
      ASSERT_EQ(reading.state[*wanted.primary()], (SlotBootState{SlotHealth::good, kAttempts}));
      ASSERT_FALSE(reading.damaged_copy);
      ASSERT_FALSE(is_tied(plan.after));
      // The second time there is nothing to do.
      ASSERT_TRUE(ok(plan_store(plan.after, wanted, kAttempts, bodies())).steps.empty());
      ++stores;
    }
  }
  EXPECT_GT(stores, 5'000U);
  EXPECT_GT(steps, stores);
  RecordProperty("stores", static_cast<int>(stores));
  RecordProperty("steps", static_cast<int>(steps));
}

TEST(EfiEntryLayout, ATrialIsCountedAndAConfirmedSlotIsNot) {
  EntryFiles files;
  put(files, {.slot = SlotId::a}, true, 50);
  put(files, {.slot = SlotId::b}, false, 99);
  for (const SlotId slot : {SlotId::a, SlotId::b}) {
    put(files, {.slot = slot, .kind = EntryKind::trial, .counter = {.left = 3, .done = 0}}, false, 99);
  }
  EntryLayout layout = layout_of(files);
  const BootState start = boot_reading_of(layout, kAttempts).state;
  layout = ok(plan_store(layout, armed(start, SlotId::b, kAttempts, kTransaction), kAttempts, bodies())).after;
  EXPECT_EQ(listed_entries(layout).front().file_name, "slotkeeper-b-trial+3.conf");
  EXPECT_EQ(listed_entries(layout).back().file_name, "slotkeeper-a.conf");
  layout.b.trial.file_name = "slotkeeper-b-trial+2-1.conf";
  layout.b.trial.counter = {.left = 2, .done = 1};
  const BootState tried = boot_reading_of(layout, kAttempts).state;
  EXPECT_EQ(tried.b.tries_left, 2U);
  layout = ok(plan_store(layout, confirmed(tried, SlotId::b, kAttempts, kTransaction), kAttempts, bodies())).after;
  EXPECT_EQ(listed_entries(layout).front().file_name, "slotkeeper-b.conf");
  EXPECT_FALSE(layout.b.trial.is_visible());
  EXPECT_EQ(layout.b.trial.file_name, "slotkeeper-b-trial+3.conf");
}

TEST(EfiEntryLayout, ArmingAndRollingBackTakeOneWriteEach) {
  EntryFiles files;
  put(files, {.slot = SlotId::a}, true, 50);
  put(files, {.slot = SlotId::b}, false, 99);
  for (const SlotId slot : {SlotId::a, SlotId::b}) {
    put(files, {.slot = slot, .kind = EntryKind::trial, .counter = {.left = 3, .done = 0}}, false, 99);
  }
  const EntryLayout start = layout_of(files);
  const BootState now = boot_reading_of(start, kAttempts).state;
  const EntryPlan arming = ok(plan_store(start, armed(now, SlotId::b, kAttempts, kTransaction), kAttempts, bodies()));
  ASSERT_EQ(arming.steps.size(), 1U);
  EXPECT_EQ(arming.steps[0].file_name, "slotkeeper-b-trial+3.conf");
  const BootState then = boot_reading_of(arming.after, kAttempts).state;
  const EntryPlan back = ok(plan_store(arming.after, rolled_back(then, SlotId::a, kAttempts), kAttempts, bodies()));
  ASSERT_EQ(back.steps.size(), 1U);
  EXPECT_EQ(back.steps[0].file_name, "slotkeeper-b-trial+3.conf");
}

// ---- damage ---------------------------------------------------------------------------------------------------------

/// At rest on A, B may follow.
EntryFiles at_rest_on_a() {
  EntryFiles files;
  put(files, {.slot = SlotId::a}, true, 50);
  put(files, {.slot = SlotId::b}, true, 51);
  for (const SlotId slot : {SlotId::a, SlotId::b}) {
    put(files, {.slot = slot, .kind = EntryKind::trial, .counter = {.left = 3, .done = 0}}, false, 99);
  }
  return files;
}

TEST(EfiEntryLayout, AnyLossOfEntriesIsMendedByAStore) {
  const EntryFiles whole = at_rest_on_a();
  const std::vector<std::string> names{"slotkeeper-a.conf", "slotkeeper-b.conf", "slotkeeper-a-trial+3.conf",
                                       "slotkeeper-b-trial+3.conf"};
  for (unsigned int lost = 0; lost < 16; ++lost) {
    for (unsigned int damaged = 0; damaged < 16; ++damaged) {
      EntryFiles files = whole;
      for (unsigned int i = 0; i < 4; ++i) {
        if ((damaged >> i & 1U) != 0) files[names[i]] = std::string(kEntryBytes, 'x');
        if ((lost >> i & 1U) != 0) files.erase(names[i]);
      }
      const EntryLayout layout = layout_of(files);
      const BootReading reading = boot_reading_of(layout, kAttempts);
      EXPECT_EQ(reading.damaged_copy, lost != 0 || damaged != 0);
      const BootState wanted = at_rest(reading.state, SlotId::a, kAttempts);
      const EntryPlan plan = ok(plan_store(layout, wanted, kAttempts, bodies()));
      for (const EntryStep& step : plan.steps) {
        ASSERT_NO_FATAL_FAILURE(carry_out(files, step));
        // Until A is back, B may start if it is there: both are whole firmwares.
        ASSERT_TRUE(started(files) == "A" || started(files) == "B" || started(whole).empty() ||
                    (lost | damaged) % 4 == 3);
      }
      EXPECT_EQ(started(files), "A");
      const BootReading after = boot_reading_of(layout_of(files), kAttempts);
      EXPECT_FALSE(after.damaged_copy || after.behind_copy);
      EXPECT_EQ(after.state.order, wanted.order);
    }
  }
}

TEST(EfiEntryLayout, ARestEntryThatIsOursNoMoreHasAStandInWhileItIsMadeAnew) {
  EntryFiles files = at_rest_on_a();
  files["slotkeeper-a.conf"] = body_of(SlotId::a);  // edited by hand: still starts
  files.erase("slotkeeper-b.conf");
  ASSERT_EQ(started(files), "A");
  const EntryLayout layout = layout_of(files);
  const BootState wanted = only_slot(boot_reading_of(layout, kAttempts).state, SlotId::a, kAttempts);
  for (const EntryStep& step : ok(plan_store(layout, wanted, kAttempts, bodies())).steps) {
    ASSERT_NO_FATAL_FAILURE(carry_out(files, step));
    ASSERT_EQ(started(files), "A");
  }
  EXPECT_TRUE(parse_entry(files.at("slotkeeper-a.conf")));
  EXPECT_FALSE(boot_reading_of(layout_of(files), kAttempts).damaged_copy);
}

TEST(EfiEntryLayout, WithNothingToMakeAnEntryFromNothingIsChanged) {
  EntryFiles files = at_rest_on_a();
  files.erase("slotkeeper-b.conf");
  files.erase("slotkeeper-b-trial+3.conf");
  const Error error = error_of(plan_store(layout_of(files), only_slot({}, SlotId::a, kAttempts), kAttempts, {}));
  EXPECT_EQ(error.code, Errc::boot_environment);
  EXPECT_NE(error.message.find("slot B"), std::string::npos) << error.message;
}

TEST(EfiEntryLayout, ATemplateThatIsGoneDoesNotMatterWhileOneEntryOfTheSlotIsWhole) {
  EntryFiles files = at_rest_on_a();
  files.erase("slotkeeper-b.conf");
  files["slotkeeper-a-trial+3.conf"] = "";
  const EntryPlan plan = ok(plan_store(layout_of(files), only_slot({}, SlotId::a, kAttempts), kAttempts, {}));
  EXPECT_EQ(plan.after.b.rest.text->body, body_of(SlotId::b));
  EXPECT_EQ(plan.after.a.trial.text->body, body_of(SlotId::a));
}

TEST(EfiEntryLayoutCrash, RepairKeepsTheOrder) {
  for (const EntryFiles& before : all_layouts()) {
    const EntryLayout layout = layout_of(before);
    if (is_tied(layout) || started(before).empty()) continue;
    EntryFiles files = before;
    const EntryPlan plan = ok(plan_repair(layout, kAttempts, bodies()));
    for (const EntryStep& step : plan.steps) {
      ASSERT_NO_FATAL_FAILURE(carry_out(files, step));
      ASSERT_EQ(started(files), started(before));
    }
    EXPECT_EQ(visible(files), visible(before));
    const BootReading after = boot_reading_of(layout_of(files), kAttempts);
    EXPECT_FALSE(after.damaged_copy || after.behind_copy);
    EXPECT_TRUE(ok(plan_repair(plan.after, kAttempts, bodies())).steps.empty());
  }
}

TEST(EfiEntryLayout, RepairWillNotGuessWhichSlotComesFirst) {
  EXPECT_EQ(error_of(plan_repair({}, kAttempts, bodies())).code, Errc::boot_environment);
}

// ---- what a cut inside a rename may leave ---------------------------------------------------------------------------

TEST(EfiEntryLayout, TwoNamesOfATrialEntryAreATryAndGoAside) {
  EntryFiles files;
  put(files, {.slot = SlotId::a}, true, 50);
  put(files, {.slot = SlotId::b}, false, 99);
  put(files, {.slot = SlotId::a, .kind = EntryKind::trial, .counter = {.left = 3, .done = 0}}, false, 99);
  put(files, {.slot = SlotId::b, .kind = EntryKind::trial, .counter = {.left = 3, .done = 0}}, true, 49);
  put(files, {.slot = SlotId::b, .kind = EntryKind::trial, .counter = {.left = 2, .done = 1}}, true, 49);
  const EntryLayout layout = layout_of(files);
  const BootReading reading = boot_reading_of(layout, kAttempts);
  EXPECT_TRUE(reading.damaged_copy);
  EXPECT_EQ(reading.state.primary(), SlotId::b);
  EXPECT_EQ(reading.state.b.tries_left, 2U) << "a try had begun";
  for (const BootState& wanted : wanted_states(reading.state)) {
    EntryFiles now = files;
    const EntryPlan plan = ok(plan_store(layout, wanted, kAttempts, bodies()));
    std::size_t aside = 0;
    for (const EntryStep& step : plan.steps) {
      ASSERT_NO_FATAL_FAILURE(carry_out(now, step));
      ASSERT_FALSE(started(now).empty());
      if (step.kind == EntryStep::Kind::set_aside) ++aside;
    }
    EXPECT_EQ(started(now), name_of(*wanted.primary()));
    EXPECT_EQ(aside, 1U);
    EXPECT_EQ(now.count("slotkeeper-b-trial+2-1.conf"), 0U);
    EXPECT_EQ(now.count("slotkeeper-b-trial+2-1.spare"), 1U);
  }
}

}  // namespace
}  // namespace slotkeeper::boot
