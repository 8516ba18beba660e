#include "bootloader-hooks/boot_state.hpp"

#include <gtest/gtest.h>

namespace slotkeeper::boot {
namespace {

constexpr std::uint32_t kAttempts = 3;
const std::string kTransaction = "0123456789abcdef";
using Order = std::vector<SlotId>;
using Stage = TransactionMark::Stage;

BootState both_good() {
  BootState state;
  state.order = {SlotId::a, SlotId::b};
  state.a = {.health = SlotHealth::good, .tries_left = 3};
  state.b = {.health = SlotHealth::good, .tries_left = 1};
  state.mark = TransactionMark{.transaction = "ffffffffffffffff", .stage = Stage::good};
  return state;
}

TEST(TransactionMark, PrintsAndParsesBothStages) {
  for (const std::string stage : {"trial", "good"}) {
    const auto mark = TransactionMark::parse(kTransaction + ":" + stage);
    ASSERT_TRUE(mark.has_value());
    EXPECT_EQ(mark->transaction, kTransaction);
    EXPECT_EQ(mark->stage, stage == "good" ? Stage::good : Stage::trial);
    EXPECT_EQ(mark->text(), kTransaction + ":" + stage);
  }
}

TEST(TransactionMark, RefusesEverythingElse) {
  for (const std::string text :
       {"", ":", ":trial", "0123456789abcdef", "0123456789abcdef:", "0123456789abcdef:bad", "0123456789abcde:trial",
        "0123456789abcdef0:trial", "0123456789ABCDEF:trial", "0123456789abcdeg:trial", "0123456789abcdef:trial ",
        " 0123456789abcdef:trial", "0123456789abcdef:trial:good"}) {
    EXPECT_FALSE(TransactionMark::parse(text).has_value()) << text;
  }
}

TEST(BootState, OnlySlotTakesTheOtherOutAndKeepsTheMark) {
  const BootState state = only_slot(both_good(), SlotId::a, kAttempts);
  EXPECT_EQ(state.order, Order{SlotId::a});
  EXPECT_EQ(state.a, (SlotBootState{SlotHealth::good, kAttempts}));
  EXPECT_EQ(state.b, (SlotBootState{SlotHealth::bad, 0}));
  EXPECT_EQ(state.mark, both_good().mark);
}

TEST(BootState, ArmedPutsTheTargetFirstAndGivesBothAllTries) {
  const BootState state = armed(only_slot(both_good(), SlotId::a, kAttempts), SlotId::b, kAttempts, kTransaction);
  EXPECT_EQ(state.order, (Order{SlotId::b, SlotId::a}));
  EXPECT_EQ(state.primary(), SlotId::b);
  EXPECT_EQ(state.a, (SlotBootState{SlotHealth::good, kAttempts}));
  EXPECT_EQ(state.b, state.a);
  ASSERT_TRUE(state.mark.has_value());
  EXPECT_EQ(state.mark->text(), kTransaction + ":trial");
}

TEST(BootState, ConfirmedRefillsTheSlotAndLeavesTheOtherAsItWas) {
  BootState before = armed(both_good(), SlotId::b, kAttempts, kTransaction);
  before.b.tries_left = 1;
  before.a.tries_left = 2;
  const BootState state = confirmed(before, SlotId::b, kAttempts, kTransaction);
  EXPECT_EQ(state.order, (Order{SlotId::b, SlotId::a}));
  EXPECT_EQ(state.b, (SlotBootState{SlotHealth::good, kAttempts}));
  EXPECT_EQ(state.a, before.a);
  EXPECT_EQ(state.mark->text(), kTransaction + ":good");
}

TEST(BootState, RolledBackLeavesTheOriginalAloneAndNoMark) {
  const BootState state = rolled_back(armed(both_good(), SlotId::b, kAttempts, kTransaction), SlotId::a, kAttempts);
  EXPECT_EQ(state.order, Order{SlotId::a});
  EXPECT_EQ(state.b, (SlotBootState{SlotHealth::bad, 0}));
  EXPECT_FALSE(state.mark.has_value());
}

TEST(BootState, AtRestBringsAnAbsentSlotBackAndChangesNothingElse) {
  const BootState before = only_slot(both_good(), SlotId::b, kAttempts);
  const BootState state = at_rest(before, SlotId::a, kAttempts);
  EXPECT_EQ(state.order, (Order{SlotId::a, SlotId::b}));
  EXPECT_EQ(state.b, before.b);
  EXPECT_EQ(state.mark, before.mark);
  EXPECT_EQ(at_rest(state, SlotId::a, kAttempts), state);
}

TEST(BootState, WithoutAnOrderThereIsNoPrimary) { EXPECT_FALSE(BootState().primary().has_value()); }

TEST(BootState, AsKeptDropsWhatTheBootloaderCannotKeep) {
  const BootState kept = as_kept(both_good(), false, false);
  EXPECT_FALSE(kept.mark.has_value());
  EXPECT_FALSE(kept.a.tries_left.has_value());
  EXPECT_EQ(kept.order, both_good().order);
  EXPECT_EQ(as_kept(both_good(), true, true), both_good());
}

}  // namespace
}  // namespace slotkeeper::boot
