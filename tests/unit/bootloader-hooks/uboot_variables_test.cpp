#include "bootloader-hooks/uboot_variables.hpp"

#include <gtest/gtest.h>

namespace slotkeeper::boot {
namespace {

constexpr std::uint32_t kAttempts = 3;
const std::string kTransaction = "0123456789abcdef";
using Order = std::vector<SlotId>;

Variables changed(Variables variables, const VariableChanges& changes) {
  for (const auto& [name, value] : changes) {
    if (value) {
      variables[name] = *value;
    } else {
      variables.erase(name);
    }
  }
  return variables;
}

const Variables kBoth{{"BOOT_ORDER", "A B"}, {"BOOT_A_LEFT", "3"}, {"BOOT_B_LEFT", "3"}, {"bootdelay", "2"}};

TEST(UbootVariables, ReadsOrderCountersHealthAndMark) {
  Variables variables = kBoth;
  variables["BOOT_ORDER"] = "B A";
  variables["BOOT_B_LEFT"] = "2";
  variables["SLOTKEEPER_TX"] = kTransaction + ":trial";
  const BootState state = boot_state_of(variables);
  EXPECT_EQ(state.order, (Order{SlotId::b, SlotId::a}));
  EXPECT_EQ(state.a, (SlotBootState{SlotHealth::good, 3}));
  EXPECT_EQ(state.b, (SlotBootState{SlotHealth::good, 2}));
  ASSERT_TRUE(state.mark.has_value());
  EXPECT_EQ(state.mark->text(), kTransaction + ":trial");
}

TEST(UbootVariables, HealthNeedsOrderAndCounterToAgree) {
  const auto health = [](const std::string& order, const std::string& left) {
    return boot_state_of({{"BOOT_ORDER", order}, {"BOOT_B_LEFT", left}}).b.health;
  };
  EXPECT_EQ(health("A B", "1"), SlotHealth::good);
  EXPECT_EQ(health("A", "0"), SlotHealth::bad);
  EXPECT_EQ(health("A B", "0"), SlotHealth::unknown);
  EXPECT_EQ(health("A", "1"), SlotHealth::unknown);
  EXPECT_EQ(boot_state_of({{"BOOT_ORDER", "A"}}).b.health, SlotHealth::unknown);
}

TEST(UbootVariables, CountersAreOneDigitInAnySpelling) {
  const auto count = [](const std::string& text) { return boot_state_of({{"BOOT_A_LEFT", text}}).a.tries_left; };
  EXPECT_EQ(count("3"), 3U);
  EXPECT_EQ(count("0x3"), 3U);
  EXPECT_EQ(count("0X09"), 9U);
  EXPECT_EQ(count("003"), 3U);
  EXPECT_EQ(count("0"), 0U);
  for (const std::string text : {"", "10", "a", "-1", "3 ", " 3", "0x", "0x10", "99999999999999999999", "three"}) {
    EXPECT_FALSE(count(text).has_value()) << "'" << text << "'";
  }
}

TEST(UbootVariables, ForeignAndRepeatedNamesAreLeftOutOfTheOrder) {
  EXPECT_EQ(boot_state_of({{"BOOT_ORDER", "recovery B  A B\tC"}}).order, (Order{SlotId::b, SlotId::a}));
  EXPECT_TRUE(boot_state_of({{"BOOT_ORDER", "a b AB"}}).order.empty());
  EXPECT_TRUE(boot_state_of({}).order.empty());
}

TEST(UbootVariables, EveryWantedStateReadsBackAsItself) {
  const BootState start = boot_state_of(kBoth);
  for (const BootState& wanted :
       {only_slot(start, SlotId::a, kAttempts), only_slot(start, SlotId::b, kAttempts),
        armed(start, SlotId::b, kAttempts, kTransaction), confirmed(start, SlotId::b, kAttempts, kTransaction),
        rolled_back(start, SlotId::a, kAttempts), at_rest(start, SlotId::b, kAttempts)}) {
    const Variables after = changed(kBoth, changes_to(kBoth, wanted, kAttempts));
    EXPECT_EQ(boot_state_of(after), wanted);
    EXPECT_EQ(after.at("bootdelay"), "2");
    EXPECT_TRUE(changes_to(after, wanted, kAttempts).empty());
  }
}

TEST(UbootVariables, WritesTheSpellingOfTheContract) {
  const Variables staged = changed(kBoth, changes_to(kBoth, only_slot(boot_state_of(kBoth), SlotId::a, 5), 5));
  EXPECT_EQ(staged.at("BOOT_ORDER"), "A");
  EXPECT_EQ(staged.at("BOOT_A_LEFT"), "5");
  EXPECT_EQ(staged.at("BOOT_B_LEFT"), "0");
  EXPECT_FALSE(staged.contains("SLOTKEEPER_TX"));
  const auto wanted = armed(boot_state_of(staged), SlotId::b, 5, kTransaction);
  const Variables with_mark = changed(staged, changes_to(staged, wanted, 5));
  EXPECT_EQ(with_mark.at("BOOT_ORDER"), "B A");
  EXPECT_EQ(with_mark.at("BOOT_B_LEFT"), "5");
  EXPECT_EQ(with_mark.at("SLOTKEEPER_TX"), kTransaction + ":trial");
}

TEST(UbootVariables, RemovesTheMark) {
  Variables variables = kBoth;
  variables["SLOTKEEPER_TX"] = kTransaction + ":good";
  const auto changes = changes_to(variables, rolled_back(boot_state_of(variables), SlotId::a, kAttempts), kAttempts);
  ASSERT_TRUE(changes.contains("SLOTKEEPER_TX"));
  EXPECT_FALSE(changes.at("SLOTKEEPER_TX").has_value());
}

TEST(UbootVariables, KeepsForeignNamesBehindOurSlots) {
  const Variables variables{{"BOOT_ORDER", "recovery A B"}, {"BOOT_A_LEFT", "3"}, {"BOOT_B_LEFT", "3"}};
  const auto changes = changes_to(variables, only_slot(boot_state_of(variables), SlotId::a, kAttempts), kAttempts);
  EXPECT_EQ(changes.at("BOOT_ORDER"), "A recovery");
}

TEST(UbootVariables, LeavesASpellingThatMeansTheSameAlone) {
  const Variables variables{{"BOOT_ORDER", "A B"}, {"BOOT_A_LEFT", "0x3"}, {"BOOT_B_LEFT", "03"}};
  EXPECT_TRUE(changes_to(variables, boot_state_of(variables), kAttempts).empty());
}

TEST(UbootVariables, FillsInWhatHasNoCountButLeavesTheUnknownAlone) {
  const Variables variables{{"BOOT_ORDER", "A B"}, {"BOOT_A_LEFT", "lots"}, {"BOOT_B_LEFT", "16"}};
  BootState wanted = boot_state_of(variables);
  EXPECT_EQ(wanted.a.health, SlotHealth::unknown);
  wanted.a = {.health = SlotHealth::good, .tries_left = std::nullopt};
  const auto changes = changes_to(variables, wanted, kAttempts);
  EXPECT_EQ(changes, (VariableChanges{{"BOOT_A_LEFT", "3"}}));
  wanted.b = {.health = SlotHealth::bad, .tries_left = std::nullopt};
  EXPECT_EQ(changes_to(variables, wanted, kAttempts).at("BOOT_B_LEFT"), "0");
}

TEST(UbootVariables, AgreementLooksAtOurVariablesOnly) {
  Variables other = kBoth;
  other["bootdelay"] = "5";
  EXPECT_TRUE(agree_on_slots(kBoth, other));
  for (const std::string name : {"BOOT_ORDER", "BOOT_A_LEFT", "BOOT_B_LEFT", "SLOTKEEPER_TX"}) {
    other = kBoth;
    other[name] = "x";
    EXPECT_FALSE(agree_on_slots(kBoth, other)) << name;
  }
}

}  // namespace
}  // namespace slotkeeper::boot
