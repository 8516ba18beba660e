#include "engine/source/range_plan.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace slotkeeper {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

using Ranges = std::vector<ByteRange>;

TEST(Coalesce, JoinsNeighboursAndSmallGapsAndKeepsLargeOnes) {
  EXPECT_THAT(coalesce(Ranges{}, 10), IsEmpty());
  EXPECT_THAT(coalesce(Ranges{{5, 5}, {9, 9}}, 10), IsEmpty());
  EXPECT_THAT(coalesce(Ranges{{0, 10}, {10, 20}}, 0), ElementsAre(ByteRange{0, 20}));
  EXPECT_THAT(coalesce(Ranges{{0, 10}, {11, 20}}, 0), ElementsAre(ByteRange{0, 10}, ByteRange{11, 20}));
  EXPECT_THAT(coalesce(Ranges{{0, 10}, {20, 30}, {41, 50}}, 10), ElementsAre(ByteRange{0, 30}, ByteRange{41, 50}));
  EXPECT_THAT(coalesce(Ranges{{0, 10}, {12, 12}, {25, 30}}, 10), ElementsAre(ByteRange{0, 10}, ByteRange{25, 30}));
  EXPECT_THAT(coalesce(Ranges{{0, 10}, {5, 8}, {9, 30}}, 0), ElementsAre(ByteRange{0, 30}));
}

TEST(Coalesce, GapsAtTheEndOfTheNumbersDoNotOverflow) {
  constexpr std::uint64_t kMax = ~0ULL;
  EXPECT_THAT(coalesce(Ranges{{0, 1}, {kMax - 1, kMax}}, kMax), ElementsAre(ByteRange{0, kMax}));
  EXPECT_THAT(coalesce(Ranges{{0, 1}, {kMax - 1, kMax}}, kMax - 3),
              ElementsAre(ByteRange{0, 1}, ByteRange{kMax - 1, kMax}));
}

TEST(CoalesceDeathTest, RangesThatGoBackAreABug) {
  EXPECT_DEATH(static_cast<void>(coalesce(Ranges{{10, 20}, {0, 5}}, 0)), "before");
}

TEST(RangePlan, HandsOutPiecesThatStayWithinARange) {
  RangePlan plan({{0, 25}, {100, 110}});
  EXPECT_EQ(plan.next(10), (ByteRange{0, 10}));
  EXPECT_EQ(plan.next(10), (ByteRange{10, 20}));
  EXPECT_EQ(plan.next(10), (ByteRange{20, 25}));
  EXPECT_EQ(plan.next(10), (ByteRange{100, 110}));
  EXPECT_EQ(plan.next(10), std::nullopt);
  EXPECT_EQ(RangePlan().next(10), std::nullopt);
}

TEST(RangePlan, ContainsWhatIsStillToCome) {
  RangePlan plan({{10, 20}, {30, 40}});
  EXPECT_FALSE(plan.contains(9));
  EXPECT_TRUE(plan.contains(10));
  EXPECT_TRUE(plan.contains(19));
  EXPECT_FALSE(plan.contains(20));
  EXPECT_TRUE(plan.contains(39));
  EXPECT_FALSE(plan.contains(40));
  static_cast<void>(plan.next(15));
  EXPECT_FALSE(plan.contains(10));
  EXPECT_TRUE(plan.contains(30));
}

TEST(RangePlan, SkipsWhatIsNotWantedAnyMore) {
  RangePlan plan({{10, 20}, {30, 40}, {50, 60}});
  plan.skip_to(5);
  EXPECT_TRUE(plan.contains(10));
  plan.skip_to(35);
  EXPECT_FALSE(plan.contains(30));
  EXPECT_EQ(plan.next(100), (ByteRange{35, 40}));
  plan.skip_to(60);
  EXPECT_EQ(plan.next(100), std::nullopt);
}

}  // namespace
}  // namespace slotkeeper
