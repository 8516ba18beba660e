#include "tests/support/fault_disk/rules.hpp"

#include <stdexcept>

#include <gtest/gtest.h>

namespace slotkeeper::test {
namespace {

TEST(FaultRules, ReadWhatTheyPrint) {
  const auto rules = parse_rules(
      "error write errno=28 skip=3 count=1\n"
      "# a comment\n"
      "\n"
      "torn write disk=store sectors=2 errno=0 from=4096 to=8192\n"
      "flip read bit=77\n"
      "misdirect write shift=1024\n"
      "lose flush\n"
      "delay discard ms=5\n");
  ASSERT_EQ(rules.size(), 6u);
  EXPECT_EQ(rules[0].error_number, 28);
  EXPECT_EQ(rules[0].skip, 3u);
  EXPECT_EQ(rules[1].disk, "store");
  EXPECT_EQ(rules[1].to, 8192u);
  EXPECT_EQ(rules[2].bit, 77u);
  EXPECT_EQ(print_rules(parse_rules(print_rules(rules))), print_rules(rules));
}

TEST(FaultRules, RefuseWhatIsNoFault) {
  for (const char* line : {"explode write", "error seek", "torn read", "flip flush", "lose read", "misdirect discard",
                           "error write skip=x", "error write skip", "error write later=1", "error"}) {
    EXPECT_THROW((void)parse_rules(line), std::invalid_argument) << line;
  }
}

TEST(FaultRules, StrikeInTheirRangeAndAfterTheirSkip) {
  FaultRules rules(parse_rules("error write from=4096 to=8192 skip=1 count=2"));
  const auto strikes = [&](std::uint64_t offset, std::uint64_t length) {
    return rules.decide({DiskCall::write, "disk", offset, length}).fault.has_value();
  };
  EXPECT_FALSE(strikes(0, 4096));     // ends where the range begins
  EXPECT_FALSE(strikes(8192, 4096));  // begins where it ends
  EXPECT_FALSE(strikes(4096, 512));   // skipped
  EXPECT_TRUE(strikes(0, 4097));
  EXPECT_TRUE(strikes(8191, 1));
  EXPECT_FALSE(strikes(4096, 512));  // its count is used up
  EXPECT_EQ(rules.struck(), std::vector<std::uint64_t>{2});
}

TEST(FaultRules, TheFirstThatStrikesDecidesAndDelaysAddUp) {
  FaultRules rules(
      parse_rules("delay write ms=3\nerror write disk=a errno=28 count=1\ndelay write ms=4\nlose write\n"));
  const auto other = rules.decide({DiskCall::write, "b", 0, 512});
  EXPECT_EQ(other.milliseconds, 7u);
  ASSERT_TRUE(other.fault.has_value());
  EXPECT_EQ(other.fault->action, FaultAction::lose);
  const auto first = rules.decide({DiskCall::write, "a", 0, 512});
  EXPECT_EQ(first.milliseconds, 3u);
  EXPECT_EQ(first.fault->error_number, ENOSPC);
  EXPECT_EQ(rules.decide({DiskCall::write, "a", 0, 512}).fault->action, FaultAction::lose);
  EXPECT_FALSE(rules.decide({DiskCall::read, "a", 0, 512}).fault.has_value());
}

}  // namespace
}  // namespace slotkeeper::test
