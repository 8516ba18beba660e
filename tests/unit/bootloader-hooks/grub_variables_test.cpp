#include "bootloader-hooks/grub_variables.hpp"

#include <gtest/gtest.h>

namespace slotkeeper::boot {
namespace {

constexpr std::uint32_t kAttempts = 3;
const std::string kTransaction = "0123456789abcdef";

Variables factory() { return {{"ORDER", "A B"}, {"A_OK", "1"}, {"A_TRY", "0"}, {"B_OK", "1"}, {"B_TRY", "0"}}; }

Variables after(Variables variables, const BootState& wanted, std::uint32_t attempts = kAttempts) {
  for (const auto& [name, value] : grub_changes_to(variables, wanted, attempts)) {
    if (value) {
      variables[name] = *value;
    } else {
      variables.erase(name);
    }
  }
  return variables;
}

TEST(GrubVariables, ReadsOrderHealthTriesAndMark) {
  Variables variables = factory();
  variables["ORDER"] = "B A";
  variables["B_TRY"] = "1";
  variables["SLOTKEEPER_TX"] = kTransaction + ":trial";
  const BootState state = grub_state_of(variables, kAttempts);
  EXPECT_EQ(state.order, (std::vector<SlotId>{SlotId::b, SlotId::a}));
  EXPECT_EQ(state.a, (SlotBootState{.health = SlotHealth::good, .tries_left = 3}));
  EXPECT_EQ(state.b, (SlotBootState{.health = SlotHealth::good, .tries_left = 2}));
  ASSERT_TRUE(state.mark);
  EXPECT_EQ(state.mark->text(), kTransaction + ":trial");
}

TEST(GrubVariables, ASlotIsBadWhenItIsAbsentAndNotOk) {
  Variables variables = factory();
  variables["ORDER"] = "A";
  EXPECT_EQ(grub_state_of(variables, kAttempts).b.health, SlotHealth::unknown);
  variables["B_OK"] = "0";
  EXPECT_EQ(grub_state_of(variables, kAttempts).b.health, SlotHealth::bad);
  variables["ORDER"] = "A B";
  EXPECT_EQ(grub_state_of(variables, kAttempts).b.health, SlotHealth::unknown);
}

TEST(GrubVariables, TriesCountUpAndEndAtNone) {
  Variables variables = factory();
  const std::pair<const char*, std::optional<std::uint32_t>> cases[] = {
      {"0", 3U}, {"2", 1U}, {"3", 0U}, {"9", 0U}, {"10", {}}, {"", {}}, {"x", {}}, {"-1", {}}, {" 1", {}}, {"0x1", {}}};
  for (const auto& [text, left] : cases) {
    variables["A_TRY"] = text;
    const SlotBootState state = grub_state_of(variables, kAttempts).a;
    EXPECT_EQ(state.tries_left, left) << text;
    EXPECT_EQ(state.health, left && *left > 0 ? SlotHealth::good : SlotHealth::unknown) << text;
  }
  variables.erase("A_TRY");
  EXPECT_EQ(grub_state_of(variables, kAttempts).a, SlotBootState{});
}

TEST(GrubVariables, ArmingIsWhatTheContractSays) {
  const BootState before = only_slot(grub_state_of(factory(), kAttempts), SlotId::a, kAttempts);
  const Variables staged = after(factory(), before);
  EXPECT_EQ(staged, (Variables{{"ORDER", "A"}, {"A_OK", "1"}, {"A_TRY", "0"}, {"B_OK", "0"}, {"B_TRY", "3"}}));
  const Variables trial = after(staged, armed(before, SlotId::b, kAttempts, kTransaction));
  EXPECT_EQ(trial, (Variables{{"ORDER", "B A"},
                              {"A_OK", "1"},
                              {"A_TRY", "0"},
                              {"B_OK", "1"},
                              {"B_TRY", "0"},
                              {"SLOTKEEPER_TX", kTransaction + ":trial"}}));
}

TEST(GrubVariables, EveryStateOfAnUpdateReadsBackAsItWasWanted) {
  for (std::uint32_t attempts = 1; attempts <= 9; ++attempts) {
    Variables variables = factory();
    variables["ORDER"] = "B rescue A";
    variables["saved_entry"] = "0";
    for (const SlotId slot : {SlotId::a, SlotId::b}) {
      const BootState state = grub_state_of(variables, attempts);
      for (const BootState& wanted :
           {only_slot(state, slot, attempts), armed(state, other(slot), attempts, kTransaction),
            confirmed(state, slot, attempts, kTransaction), rolled_back(state, slot, attempts),
            at_rest(state, slot, attempts)}) {
        variables = after(variables, wanted, attempts);
        EXPECT_EQ(grub_state_of(variables, attempts), wanted) << attempts;
        EXPECT_TRUE(grub_changes_to(variables, wanted, attempts).empty());
        EXPECT_TRUE(variables["ORDER"].ends_with("rescue")) << variables["ORDER"];
        EXPECT_EQ(variables["saved_entry"], "0");
      }
    }
  }
}

TEST(GrubVariables, WhatIsNotKnownOfASlotStays) {
  Variables variables = factory();
  variables["B_OK"] = "perhaps";
  variables["B_TRY"] = "many";
  const BootState state = grub_state_of(variables, kAttempts);
  EXPECT_EQ(state.b, SlotBootState{});
  const Variables rest = after(variables, at_rest(state, SlotId::a, kAttempts));
  EXPECT_EQ(rest, variables);
}

TEST(GrubVariables, ACounterThatIsNoDigitIsWrittenAnewForASlotThatIsWanted) {
  Variables variables = factory();
  variables["A_TRY"] = "many";
  const BootState wanted = at_rest(grub_state_of(variables, kAttempts), SlotId::a, kAttempts);
  EXPECT_EQ(after(variables, wanted), factory());
}

TEST(GrubVariables, TheScriptSaysHowManyTriesItGives) {
  const std::pair<const char*, std::optional<std::uint32_t>> cases[] = {{"1", 1U},  {"9", 9U}, {"0", {}},
                                                                        {"12", {}}, {"", {}},  {"yes", {}}};
  for (const auto& [text, attempts] : cases) {
    EXPECT_EQ(grub_script_attempts({{"SLOTKEEPER_SCRIPT", text}}), attempts) << text;
  }
  EXPECT_FALSE(grub_script_attempts(factory()));
}

}  // namespace
}  // namespace slotkeeper::boot
