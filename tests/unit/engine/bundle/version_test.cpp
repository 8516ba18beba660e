#include "engine/bundle/version.hpp"

#include <gtest/gtest.h>

namespace slotkeeper::bundle {
namespace {

TEST(CompareVersions, ComparesNumberByNumber) {
  const char* const ascending[] = {"0", "1", "1.0.1", "1.9", "1.10", "3.5.0", "3.5.1", "3.50", "10", "999999999"};
  for (std::size_t i = 0; i < std::size(ascending); ++i) {
    for (std::size_t j = 0; j < std::size(ascending); ++j) {
      const auto order = compare_versions(ascending[i], ascending[j]);
      ASSERT_TRUE(order.has_value());
      EXPECT_EQ(*order, i <=> j) << ascending[i] << " and " << ascending[j];
    }
  }
  EXPECT_EQ(compare_versions("3.5", "3.5.0"), std::strong_ordering::equal);
  EXPECT_EQ(compare_versions("03.05", "3.5"), std::strong_ordering::equal);
}

TEST(CompareVersions, DoesNotGuess) {
  for (const char* const odd : {"", ".", "1.", ".1", "1..2", "1.2-rc1", "v1", "1 ", " 1", "-1", "+1", "1,2",
                                "1.2.3.4.5.6.7.8.9", "1234567890", "0x1"}) {
    EXPECT_FALSE(compare_versions(odd, "1").has_value()) << odd;
    EXPECT_FALSE(compare_versions("1", odd).has_value()) << odd;
  }
}

}  // namespace
}  // namespace slotkeeper::bundle
