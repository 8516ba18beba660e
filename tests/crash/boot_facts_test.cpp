// The state machine, explored: a device in every state that is ever recorded, with everything a boot environment may
// say and under three kinds of bootloader, cut at every call of its recovery. Every path ends confirmed or rolled back
// within a bounded number of boots, with one slot at least that comes up, and a second recovery changes nothing.
#include <gtest/gtest.h>

#include "engine/transaction/record.hpp"
#include "partitions/state_store.hpp"
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

struct Recorded {
  State state = State::begun;
  std::string mark;
};
std::optional<Recorded> recorded_in(World& world) {
  SimulatedStorage storage(world.machine());
  auto store = StateStore::open(storage, "/dev/store", StateStore::Access::read);
  if (!store.has_value()) return std::nullopt;
  const auto stored = store.assume_value()->read_record(RecordKind::transaction);
  if (!stored.has_value() || !stored.assume_value()) return std::nullopt;
  const auto record = parse_record(stored.assume_value()->payload);
  if (!record.has_value()) return std::nullopt;
  return Recorded{.state = record.assume_value().state, .mark = record.assume_value().mark_id()};
}

/// The first and the last device in each state on the way of a scene.
void collect(const Scene& scene, std::vector<Situation>& into) {
  World world;
  Explorer explorer(scene, {});
  const auto expected = explorer.prepare(world);
  std::map<State, std::pair<Situation, Situation>> found;
  const auto take = [&] {
    World copy(world);
    copy.machine().tree.crash(std::vector<Fate>(copy.machine().tree.pending().size(), {.kind = Fate::Kind::kept}));
    const auto recorded = recorded_in(copy);
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
      for (const char* const name : {"Install", "BeginTrial", "Confirm", "RollbackInTrial", "RollBackAfterTrial"}) {
        if (scene.name == name) collect(scene, found);
      }
    }
    return found;
  }();
  return all;
}

struct BootFact {
  std::string order;
  int target_tries = 0;
  std::string mark;  ///< "%" stands for the mark of the transaction
};

std::vector<BootFact> boot_facts() {
  std::vector<BootFact> facts;
  for (const char* const order : {"A", "A B", "B A"}) {
    for (const int tries : {0, 1, World::kAttempts}) {
      for (const char* const mark : {"", "%:trial", "%:good", "0123456789abcdef:trial"}) {
        facts.push_back({.order = order, .target_tries = tries, .mark = mark});
      }
    }
  }
  return facts;
}

class BootFacts : public testing::TestWithParam<BootloaderKind> {};

TEST_P(BootFacts, EveryStateEndsConfirmedOrRolledBack) {
  const std::uint64_t one_in = number_from_environment("SLOTKEEPER_SWEEP_ONE_IN", 8);
  const std::uint64_t seed = number_from_environment("SLOTKEEPER_SEED", 1);
  std::set<State> states;
  std::set<std::pair<State, Event>> rows;
  std::uint64_t cases = 0;
  for (const Situation& situation : situations()) {
    states.insert(situation.state);
    Scene scene = situation.scene;
    scene.bootloader = GetParam();
    Explorer explorer(scene, {});
    std::uint64_t number = seed;
    for (const BootFact& fact : boot_facts()) {
      World start(*situation.world);
      start.bootloader = GetParam();
      const auto recorded = recorded_in(start);
      ASSERT_TRUE(recorded);
      std::string mark = fact.mark;
      if (mark.starts_with("%")) mark = recorded->mark + mark.substr(1);
      start.set_environment({{"BOOT_ORDER", fact.order},
                             {"BOOT_A_LEFT", std::to_string(World::kAttempts)},
                             {"BOOT_B_LEFT", std::to_string(fact.target_tries)},
                             {"SLOTKEEPER_TX", mark}});
      const std::string story = "recorded " + std::string(name_of(situation.state)) + " (" + scene.name + "), order " +
                                fact.order + ", tries of B " + std::to_string(fact.target_tries) + ", mark '" +
                                fact.mark + "'";
      auto expected = situation.expected;
      // An environment that says "confirmed" against the record: the device falls back, and what it falls back to is
      // what was secured when the update was armed; what lies there now is kept aside.
      if (fact.mark == "%:good") expected.or_one_of = {World().configuration(), start.configuration()};
      // Cut at the calls of the first recovery, or not at all.
      std::vector<World> cut_worlds;
      cut_worlds.emplace_back(start);
      World first(start);
      const BootedSlot booted = first.start(first.decide_boot());
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
  std::printf("boot-facts %d: states=%zu cases=%llu violations=0\n", static_cast<int>(GetParam()), states.size(),
              static_cast<unsigned long long>(cases));
  std::printf("rows:");
  for (const auto& [state, event] : rows) {
    std::printf(" %s/%s", std::string(name_of(state)).c_str(), std::string(name_of(event)).c_str());
  }
  std::printf("\n");
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
