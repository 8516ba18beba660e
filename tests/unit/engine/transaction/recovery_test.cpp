#include "engine/transaction/recovery.hpp"

#include <gtest/gtest.h>

namespace slotkeeper {
namespace {

constexpr const char* kId = "01234567-89ab-4def-8123-456789abcdef";

TransactionRecord record_in(State state) {
  TransactionRecord record;
  record.id = kId;
  record.state = state;
  record.original = SlotId::a;
  record.target = SlotId::b;
  record.attempts = 3;
  record.armed_boot_id = "first";
  return record;
}

boot::BootState environment(SlotId primary, std::uint32_t target_tries,
                            std::optional<boot::TransactionMark::Stage> stage) {
  boot::BootState state;
  state.order = {primary, other(primary)};
  state.a = {.health = boot::SlotHealth::good, .tries_left = 3};
  state.b = {.health = boot::SlotHealth::good, .tries_left = target_tries};
  if (stage) state.mark = boot::TransactionMark{.transaction = "0123456789ab4def", .stage = *stage};
  return state;
}

constexpr auto kTrial = boot::TransactionMark::Stage::trial;
constexpr auto kGood = boot::TransactionMark::Stage::good;

TEST(Classify, TellsAnUntriedTargetFromATriedOne) {
  const auto record = record_in(State::armed);
  EXPECT_EQ(classify(record, {SlotId::a, environment(SlotId::b, 3, kTrial), true, "second"}), Event::original_untried);
  EXPECT_EQ(classify(record, {SlotId::a, environment(SlotId::b, 2, kTrial), true, "second"}), Event::original_tried);
  auto seen = record;
  seen.trial_boots = 1;
  EXPECT_EQ(classify(seen, {SlotId::a, environment(SlotId::b, 3, kTrial), true, "second"}), Event::original_tried);
}

TEST(Classify, TakesAMarkOfAnotherTransactionForNone) {
  auto state = environment(SlotId::b, 3, kTrial);
  state.mark->transaction = "ffffffffffffffff";
  EXPECT_EQ(classify(record_in(State::armed), {SlotId::a, state, true, "second"}), Event::original_unmarked);
  EXPECT_EQ(classify(record_in(State::armed), {SlotId::b, state, true, "second"}), Event::target_unmarked);
}

TEST(Classify, FollowsTheMarkBeforeTheRecord) {
  EXPECT_EQ(classify(record_in(State::confirming), {SlotId::b, environment(SlotId::b, 2, kTrial), true, "second"}),
            Event::target_trial);
  EXPECT_EQ(classify(record_in(State::armed), {SlotId::b, environment(SlotId::b, 3, kGood), true, "second"}),
            Event::target_good);
  EXPECT_EQ(classify(record_in(State::trial), {SlotId::a, environment(SlotId::b, 3, kGood), true, "second"}),
            Event::original_good);
}

TEST(Classify, LetsTheRecordSpeakWhereTheEnvironmentHasNoMark) {
  const auto plain = environment(SlotId::b, 3, std::nullopt);
  EXPECT_EQ(classify(record_in(State::armed), {SlotId::b, plain, false, "second"}), Event::target_trial);
  EXPECT_EQ(classify(record_in(State::confirming), {SlotId::b, plain, false, "second"}), Event::target_good);
  // Cut between the record and the switch: the primary is still the original.
  EXPECT_EQ(classify(record_in(State::arming), {SlotId::a, environment(SlotId::a, 3, std::nullopt), false, "first"}),
            Event::original_unmarked);
  EXPECT_EQ(classify(record_in(State::arming), {SlotId::a, plain, false, "first"}), Event::original_untried);
}

TEST(Classify, KnowsAFailedTrialWithoutACounterByTheBootThatFollowed) {
  auto uncounted = environment(SlotId::b, 3, std::nullopt);
  uncounted.b.tries_left.reset();
  EXPECT_EQ(classify(record_in(State::armed), {SlotId::a, uncounted, false, "first"}), Event::original_untried);
  EXPECT_EQ(classify(record_in(State::armed), {SlotId::a, uncounted, false, "second"}), Event::original_tried);
}

TEST(Decide, StaysArmedUntilATryWasUsed) {
  const auto next = decide(record_in(State::armed), {SlotId::a, environment(SlotId::b, 3, kTrial), true, "first"});
  EXPECT_EQ(next.to, State::armed);
  EXPECT_EQ(next.action, Action::stay_armed);
  EXPECT_FALSE(next.record_lost);
}

TEST(Decide, FinishesASwitchWhoseLastRecordIsMissing) {
  const auto next = decide(record_in(State::arming), {SlotId::a, environment(SlotId::b, 3, kTrial), true, "first"});
  EXPECT_EQ(next.to, State::armed);
  EXPECT_EQ(next.action, Action::stay_armed);
}

TEST(Decide, NoticesARecordThatIsOlderThanTheEnvironment) {
  for (const State state : {State::begun, State::secured, State::staging, State::staged}) {
    const auto next = decide(record_in(state), {SlotId::b, environment(SlotId::b, 2, kTrial), true, "second"});
    EXPECT_TRUE(next.record_lost) << name_of(state);
    EXPECT_NE(next.action, Action::restore);
    EXPECT_EQ(decide(record_in(state), {SlotId::b, environment(SlotId::b, 3, kGood), true, "second"}).to,
              State::confirming);
  }
}

TEST(Decide, TouchesNoBootVariableBeforeStagingBegan) {
  for (const State state : {State::begun, State::secured}) {
    const auto next = decide(record_in(state), {SlotId::a, environment(SlotId::a, 3, std::nullopt), true, "first"});
    EXPECT_EQ(next.to, State::rolled_back);
    EXPECT_EQ(next.action, Action::rest);
  }
}

}  // namespace
}  // namespace slotkeeper
