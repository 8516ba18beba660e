#include "engine/transaction/states.hpp"

#include <map>
#include <set>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace slotkeeper {
namespace {

using enum State;
using ForwardRow = std::tuple<State, Event, State, Action>;

std::vector<State> all_states() {
  std::vector<State> states;
  for (std::size_t i = 0; i < kStates; ++i) states.push_back(static_cast<State>(i));
  return states;
}

bool is_boot_event(Event event) {
  return std::find(kBootEvents.begin(), kBootEvents.end(), event) != kBootEvents.end();
}

/// What a complete table has to have. Separate from the test, so that a table with a row missing can be shown to fail.
std::vector<std::string> gaps_of(std::span<const Transition> table) {
  std::vector<std::string> gaps;
  for (const State state : all_states()) {
    for (const Event event : kBootEvents) {
      if (find_transition(table, state, event) == nullptr) {
        gaps.push_back(std::string(name_of(state)) + " + " + std::string(name_of(event)));
      }
    }
  }
  // What the steps and the actions raise, state by state.
  const std::vector<std::pair<State, Event>> raised = {
      {begun, Event::permanent_secured},
      {secured, Event::withheld},
      {staging, Event::image_complete},
      {staged, Event::checked},
      {arming, Event::switched},
      {trial, Event::healthy},
      {confirming, Event::finished},
      {begun, Event::failed},
      {secured, Event::failed},
      {staging, Event::failed},
      {staged, Event::failed},
      {arming, Event::failed},
      {armed, Event::rollback_requested},
      {trial, Event::rollback_requested},
      {trial, Event::unhealthy},
      {trial, Event::trial_exhausted},
      {confirmed, Event::revert_requested},
      {withdrawing, Event::withdrawn},
      {withdrawing, Event::withdrawn_after_trial},
      {restoring, Event::restored},
  };
  for (const auto& [state, event] : raised) {
    if (find_transition(table, state, event) == nullptr) {
      gaps.push_back(std::string(name_of(state)) + " + " + std::string(name_of(event)));
    }
  }
  return gaps;
}

TEST(TransitionTable, HasARowForEveryStateAndEveryBootEvent) {
  EXPECT_THAT(gaps_of(transitions()), testing::IsEmpty());
}

TEST(TransitionTable, MissesEveryRowThatIsDeleted) {
  const auto table = transitions();
  for (std::size_t left_out = 0; left_out < table.size(); ++left_out) {
    std::vector<Transition> shorter(table.begin(), table.end());
    shorter.erase(shorter.begin() + static_cast<std::ptrdiff_t>(left_out));
    EXPECT_FALSE(gaps_of(shorter).empty()) << "row " << left_out << " is needed by nothing";
  }
}

TEST(TransitionTable, TransactionsThatAreOverStayOver) {
  for (const auto& row : transitions()) {
    if (!is_over(row.from)) continue;
    if (row.event == Event::revert_requested) continue;
    EXPECT_EQ(row.to, row.from);
    EXPECT_EQ(row.action, Action::rest);
  }
}

TEST(TransitionTable, OnlyTheSwitchLeadsToArmedOnTheForwardPath) {
  for (const auto& row : transitions()) {
    if (row.to != armed || row.from == armed) continue;
    EXPECT_EQ(row.from, arming);
    EXPECT_TRUE(row.event == Event::switched || row.event == Event::original_untried);
  }
}

TEST(TransitionTable, ATrialThatRunsIsNeverRestoredUnderneath) {
  for (const auto& row : transitions()) {
    const bool target_runs =
        row.event == Event::target_unmarked || row.event == Event::target_trial || row.event == Event::target_good;
    if (target_runs) {
      EXPECT_NE(row.action, Action::restore) << name_of(row.from);
    }
  }
}

/// The events that an action may raise; `none` is the end of the walk.
std::vector<Event> raised_by(Action action) {
  switch (action) {
    case Action::begin_trial:
      return {Event::unhealthy, Event::trial_exhausted};
    case Action::withdraw:
      return {Event::withdrawn, Event::withdrawn_after_trial};
    case Action::restore:
      return {Event::restored};
    case Action::finish_confirm:
      return {Event::finished};
    default:
      return {};
  }
}

int longest_walk(const Transition& row, int depth) {
  if (depth > 20) return depth;
  int longest = depth;
  for (const Event event : raised_by(row.action)) {
    const Transition* next = find_transition(row.to, event);
    if (next == nullptr) return 1000;  // an action raises an event that its state does not know
    longest = std::max(longest, longest_walk(*next, depth + 1));
  }
  return longest;
}

TEST(TransitionTable, EveryWalkOfActionsEndsWithinTheBound) {
  for (const auto& row : transitions()) {
    EXPECT_LE(longest_walk(row, 1), 8) << name_of(row.from) << " + " << name_of(row.event);
  }
}

TEST(TransitionTable, EveryStateCanBeReachedFromTheBeginning) {
  std::set<State> reached = {begun};
  for (bool grew = true; grew;) {
    grew = false;
    for (const auto& row : transitions()) {
      if (reached.contains(row.from) && reached.insert(row.to).second) grew = true;
    }
  }
  EXPECT_EQ(reached.size(), kStates);
}

TEST(StateNames, AreDistinctAndReadBack) {
  std::set<std::string_view> names;
  for (const State state : all_states()) {
    EXPECT_TRUE(names.insert(name_of(state)).second);
    EXPECT_EQ(state_from_name(name_of(state)), state);
  }
  EXPECT_EQ(state_from_name("nonsense"), std::nullopt);
}

TEST(EventNames, AreDistinct) {
  std::set<std::string_view> names;
  for (const auto& row : transitions()) names.insert(name_of(row.event));
  EXPECT_FALSE(names.contains("unknown"));
  EXPECT_EQ(names.size(), static_cast<std::size_t>(Event::target_good) + 1);
  EXPECT_TRUE(is_boot_event(Event::target_good));
  EXPECT_FALSE(is_boot_event(Event::healthy));
}

}  // namespace
}  // namespace slotkeeper
