// The state machine, explored: a device in every state that is ever recorded, with everything a boot environment may
// say and under three kinds of bootloader, cut at every call of its recovery. Every path ends confirmed or rolled back
// within a bounded number of boots, with one slot at least that comes up, and a second recovery changes nothing.
#include <algorithm>

#include <gtest/gtest.h>

#include "tests/crash/scenes.hpp"

namespace slotkeeper::test {
namespace {

/// A device on which this state is recorded, and the scene that led to it.
struct Situation {
  State state = State::begun;
  std::shared_ptr<const World> world;
  Scene scene;
  Explorer::Expectation expected;
};

/// The first and the last device in each state on the way of a scene.
void collect(const Scene& scene, std::vector<Situation>& into) {
  World world;
  Explorer explorer(scene, {});
  const auto expected = explorer.prepare(world);
  std::map<State, std::pair<Situation, Situation>> found;
  const auto take = [&] {
    World copy(world);
    copy.machine().tree.crash(std::vector<Fate>(copy.machine().tree.pending().size(), {.kind = Fate::Kind::kept}));
    const auto recorded = recorded_transaction(copy);
    if (!recorded) return;
    const Situation here{
        .state = recorded->state, .world = std::make_shared<const World>(copy), .scene = scene, .expected = expected};
    const auto [place, is_new] = found.emplace(recorded->state, std::pair(here, here));
    if (!is_new) place->second.second = here;
  };
  std::uint64_t version = 0;
  world.before_call = [&](const SimulatedCall&) -> Result<void> {
    if (std::exchange(version, world.machine().tree.version()) != world.machine().tree.version()) take();
    return success();
  };
  static_cast<void>(scene.command(world));
  world.before_call = nullptr;
  take();
  for (const auto& [state, both] : found) {
    into.push_back(both.first);
    if (both.first.world->everything() != both.second.world->everything()) into.push_back(both.second);
  }
}

const std::vector<Situation>& situations() {
  static const std::vector<Situation> all = [] {
    std::vector<Situation> found;
    for (const Scene& scene : scenes()) {
      for (const char* const name : {"Install", "InstallBack", "BeginTrial", "Confirm", "RollbackInTrial",
                                     "RollBackAfterTrial", "RollbackWhileArmed"}) {
        if (scene.name == name) collect(scene, found);
      }
    }
    return found;
  }();
  return all;
}

struct BootFact {
  std::string order;  ///< of O, the original, and T, the target
  int target_tries = 0;
  std::string mark;  ///< "%" stands for the mark of the transaction
  char started = 0;  ///< by hand, whatever the environment says; 0: by the bootloader
};

std::vector<BootFact> boot_facts() {
  std::vector<BootFact> facts;
  for (const char* const order : {"O", "O T", "T O"}) {
    for (const int tries : {0, 1, World::kAttempts}) {
      for (const char* const mark : {"", "%:trial", "%:good", "0123456789abcdef:trial"}) {
        for (const char started : {'\0', 'O', 'T'}) {
          facts.push_back({.order = order, .target_tries = tries, .mark = mark, .started = started});
        }
      }
    }
  }
  return facts;
}

const TreeListing& left_by_the_old_firmware() {
  static const TreeListing left = [] {
    World world;
    const auto all = scenes();
    return std::ranges::find(all, "RevertTheConfirmed", &Scene::name)->prepare(world);
  }();
  return left;
}

class BootFacts : public testing::TestWithParam<BootloaderKind> {};

TEST_P(BootFacts, EveryStateEndsConfirmedOrRolledBack) {
  const std::uint64_t one_in = number_from_environment("SLOTKEEPER_SWEEP_ONE_IN", 8);
  const std::uint64_t seed = number_from_environment("SLOTKEEPER_SEED", 1);
  const std::uint64_t fact_one_in = number_from_environment("SLOTKEEPER_FACT_ONE_IN", 1);
  std::set<State> states;
  std::uint64_t fact_number = seed;
  std::set<std::pair<State, Event>> rows;
  std::uint64_t cases = 0;
  for (const Situation& situation : situations()) {
    states.insert(situation.state);
    Scene scene = situation.scene;
    scene.bootloader = GetParam();
    ExplorerOptions options;
    options.damages_environment = false;  // what is confirmed may be as contradictory as the rest
    Explorer explorer(scene, options);
    std::uint64_t number = seed;
    for (const BootFact& fact : boot_facts()) {
      if (++fact_number % fact_one_in != 0) continue;
      World start(*situation.world);
      start.bootloader = GetParam();
      const auto recorded = recorded_transaction(start);
      ASSERT_TRUE(recorded);
      std::string mark = fact.mark;
      if (mark.starts_with("%")) mark = recorded->mark_id() + mark.substr(1);
      const char original = scene.original == SlotId::a ? 'A' : 'B';
      const char target = scene.original == SlotId::a ? 'B' : 'A';
      std::string order = fact.order;
      for (char& letter : order) letter = letter == 'O' ? original : letter == 'T' ? target : letter;
      start.set_environment({{"BOOT_ORDER", order},
                             {std::string("BOOT_") + original + "_LEFT", std::to_string(World::kAttempts)},
                             {std::string("BOOT_") + target + "_LEFT", std::to_string(fact.target_tries)},
                             {"SLOTKEEPER_TX", mark}});
      const std::string story = "recorded " + std::string(name_of(situation.state)) + " (" + scene.name + "), order " +
                                fact.order + ", tries of T " + std::to_string(fact.target_tries) + ", mark '" +
                                fact.mark + "', started by hand: '" + std::string(1, fact.started) + "'";
      auto expected = situation.expected;
      // An environment that says "confirmed" against the record: the device falls back, and what it falls back to is
      // what was secured when the update was armed; what lies there now is kept aside.
      if (fact.mark == "%:good") expected.or_one_of = {World().configuration(), start.configuration()};
      // So does one whose old slot is started by hand: that firmware gets the configuration it left.
      if (fact.started == 'T' && scene.replaced_version != 0) expected.or_one_of.push_back(left_by_the_old_firmware());
      // Cut at the calls of the first recovery, or not at all.
      std::vector<World> cut_worlds;
      World first(start);
      BootDecision decision = first.decide_boot();
      if (fact.started != 0) {
        decision = {};
        decision.slot = fact.started == 'O' ? original : target;
      }
      if (fact.started == 'T' && !start.version_in(other(scene.original))) continue;
      const BootedSlot booted = first.start(decision);
      ASSERT_TRUE(booted.is_whole) << story;
      std::uint64_t version = 0;
      first.before_call = [&](const SimulatedCall&) -> Result<void> {
        const VolatileTree& tree = first.machine().tree;
        if (std::exchange(version, tree.version()) == tree.version() || ++number % one_in != 0) return success();
        for (const Fate::Kind kind : {Fate::Kind::kept, Fate::Kind::lost}) {
          World& cut = cut_worlds.emplace_back(first);
          cut.machine().tree.crash(std::vector<Fate>(tree.pending().size(), {.kind = kind}));
        }
        return success();
      };
      explorer.note_row(first, booted.slot);
      static_cast<void>(first.recover(booted.slot));
      first.before_call = nullptr;
      cut_worlds.emplace_back(first);
      for (World& cut : cut_worlds) {
        ++cases;
        ASSERT_TRUE(explorer.settle(cut, expected, {.path = "", .depth = 0}))
            << story << ", cut " << (&cut - cut_worlds.data()) << "\n"
            << explorer.story();
      }
    }
    rows.insert(explorer.counts().rows.begin(), explorer.counts().rows.end());
  }
  EXPECT_EQ(states.size(), kStates);
  for (const Transition& row : transitions()) {
    const bool is_boot_event = std::ranges::find(kBootEvents, row.event) != kBootEvents.end();
    // Nobody confirms or restores before a trial was counted: then the tries that are left do not matter.
    const bool is_unreachable =
        row.event == Event::original_untried && (row.from == State::confirming || row.from == State::restoring);
    if (is_boot_event && !is_over(row.from) && !is_unreachable && fact_one_in == 1) {
      EXPECT_TRUE(rows.contains({row.from, row.event})) << name_of(row.from) << " / " << name_of(row.event);
    }
  }
  std::printf("boot-facts %d: states=%zu rows=%zu cases=%llu violations=0\n", static_cast<int>(GetParam()),
              states.size(), rows.size(), static_cast<unsigned long long>(cases));
}

INSTANTIATE_TEST_SUITE_P(Bootloaders, BootFacts,
                         testing::Values(BootloaderKind::ours, BootloaderKind::resets_counters,
                                         BootloaderKind::never_counts),
                         [](const auto& kind) {
                           return kind.param == BootloaderKind::ours              ? "Ours"
                                  : kind.param == BootloaderKind::resets_counters ? "ResetsCounters"
                                                                                  : "NeverCounts";
                         });

}  // namespace
}  // namespace slotkeeper::test
