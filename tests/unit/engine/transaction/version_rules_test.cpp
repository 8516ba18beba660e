#include "engine/transaction/version_rules.hpp"

#include <gtest/gtest.h>

namespace slotkeeper {
namespace {

using bundle::FirmwareGroup;
using bundle::Manifest;

Manifest of_group(const std::string& version, std::int64_t group, std::vector<std::string> admits) {
  Manifest manifest;
  manifest.version = version;
  manifest.firmware_group = FirmwareGroup{.version = group, .admits = std::move(admits)};
  return manifest;
}
Manifest of_minimum(const std::string& version, std::optional<std::string> minimum = std::nullopt) {
  Manifest manifest;
  manifest.version = version;
  manifest.minimum_version = std::move(minimum);
  return manifest;
}
bool admits(const VersionRules& floor, const Manifest& candidate) {
  const auto checked = check_version(floor, candidate);
  if (!checked.has_value()) {
    EXPECT_EQ(checked.assume_error().code, Errc::downgrade);
  }
  return checked.has_value();
}

// The rules of gemSpec_OM, one after the other.
TEST(VersionRules, AnyVersionOfThePresentGroupAnOlderOneToo) {
  const auto floor = rules_of(of_group("3.5.1", 7, {"3.4.0", "3.5.0", "3.5.1"}));
  EXPECT_TRUE(admits(floor, of_group("3.5.1", 7, {"3.5.1"})));
  EXPECT_TRUE(admits(floor, of_group("3.5.0", 6, {"3.5.0"})));
  EXPECT_TRUE(admits(floor, of_group("3.4.0", 2, {"3.4.0"})));
  EXPECT_TRUE(admits(floor, of_minimum("3.4.0")));
}

TEST(VersionRules, NoOtherVersionOfThePresentOrALowerGroup) {
  const auto floor = rules_of(of_group("3.5.1", 7, {"3.5.1"}));
  EXPECT_FALSE(admits(floor, of_group("3.5.0", 6, {"3.5.0", "3.5.1"})));
  EXPECT_FALSE(admits(floor, of_group("3.5.0", 7, {"3.5.0"}))) << "a group cannot be widened under its number";
  EXPECT_FALSE(admits(floor, of_minimum("3.5.0")));
  EXPECT_FALSE(admits(floor, of_minimum("9.9.9", "9.9.9"))) << "without a group there is no higher group";
}

TEST(VersionRules, AHigherGroupMayDropVersions) {
  const auto floor = rules_of(of_group("3.5.1", 7, {"3.5.1"}));
  EXPECT_TRUE(admits(floor, of_group("3.4.0", 8, {"3.4.0"}))) << "the vendor says so";
  EXPECT_TRUE(raises(floor, of_group("3.4.0", 8, {"3.4.0"})));
  EXPECT_FALSE(raises(floor, of_group("3.5.1", 7, {"3.5.1", "3.5.0"})));
  EXPECT_FALSE(raises(floor, of_group("3.5.1", 6, {"3.5.1"})));
  EXPECT_FALSE(raises(floor, of_minimum("3.5.1", "3.5.1")));
}

TEST(VersionRules, WithoutGroupsNoneBelowTheMinimum) {
  const auto floor = rules_of(of_minimum("3.5.1", "3.5"));
  EXPECT_TRUE(admits(floor, of_minimum("3.5.0")));
  EXPECT_TRUE(admits(floor, of_minimum("3.10", "3.6")));
  EXPECT_TRUE(admits(floor, of_group("3.5.2", 1, {"3.5.2"})));
  EXPECT_FALSE(admits(floor, of_minimum("3.4.9")));
  EXPECT_FALSE(admits(floor, of_minimum("3.5-rc1"))) << "cannot be compared";
  EXPECT_FALSE(admits(floor, of_group("3.4", 1, {"3.4"})));
  EXPECT_TRUE(raises(floor, of_minimum("3.10", "3.6")));
  EXPECT_FALSE(raises(floor, of_minimum("3.10", "3.5.0")));
  EXPECT_FALSE(raises(floor, of_minimum("3.10")));
  EXPECT_TRUE(raises(floor, of_group("3.5.2", 1, {"3.5.2"})));
}

TEST(VersionRules, WithoutAFloorEverythingMayFollow) {
  EXPECT_TRUE(admits({}, of_minimum("anything")));
  EXPECT_TRUE(admits({}, of_group("1", 0, {"1"})));
  EXPECT_TRUE(raises({}, of_group("1", 0, {"1"})));
  EXPECT_TRUE(raises({}, of_minimum("1", "1")));
  EXPECT_FALSE(raises({}, of_minimum("1")));
}

TEST(VersionRules, ALongListIsNotPrintedInFull) {
  std::vector<std::string> admitted;
  for (int i = 0; i < 100; ++i) admitted.push_back("1." + std::to_string(i));
  const auto refused = check_version(rules_of(of_group("1.0", 7, admitted)), of_group("2", 7, {"2"}));
  ASSERT_FALSE(refused.has_value());
  EXPECT_NE(refused.assume_error().message.find("1.7 and 92 more"), std::string::npos)
      << refused.assume_error().message;
}

}  // namespace
}  // namespace slotkeeper
