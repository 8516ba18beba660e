#include "partitions/permanent/retention.hpp"

#include <vector>

#include <gtest/gtest.h>

namespace slotkeeper::permanent {
namespace {

constexpr std::int64_t kToday = 1'795'000'000;  // in November 2026
constexpr std::int64_t kDay = 86'400;

io::TimeStamp at(std::int64_t days_ago) { return {.seconds = kToday - days_ago * kDay, .nanoseconds = 0}; }

/// Segments by the age of their time stamps, the oldest first, kept for 180 days.
std::size_t expired(const std::vector<std::int64_t>& days_ago, std::int64_t now_days_ago = 0) {
  std::vector<SegmentAge> ages;
  for (const std::int64_t days : days_ago) ages.push_back({.modified = at(days), .keep_days = 180});
  return expired_segments(ages, at(now_days_ago));
}

TEST(Retention, DropsWhatIsOlderAndNothingElse) {
  EXPECT_EQ(expired({}), 0U);
  EXPECT_EQ(expired({400, 200, 181, 180, 10}), 3U);
  EXPECT_EQ(expired({180}), 0U) << "exactly as old as it may be";
}

TEST(Retention, ASecondDecides) {
  const std::vector<SegmentAge> ages = {
      {.modified = {.seconds = kToday - 180 * kDay, .nanoseconds = 0}, .keep_days = 180}};
  EXPECT_EQ(expired_segments(ages, {.seconds = kToday, .nanoseconds = 0}), 0U);
  EXPECT_EQ(expired_segments(ages, {.seconds = kToday, .nanoseconds = 1}), 1U);
}

TEST(Retention, OnlyTheOldestByCreationMayGo) {
  // The clock stood wrong when the second one was written: it was made after a segment that is still in retention.
  EXPECT_EQ(expired({100, 400, 20}), 0U);
}

TEST(Retention, ASegmentWrittenWithTheClockAtItsStartIsAsOldAsTheNextNewerOne) {
  constexpr std::int64_t k1970 = kToday / kDay;
  EXPECT_EQ(expired({300, k1970, 100}), 1U);
  EXPECT_EQ(expired({300, k1970, 200, 100}), 3U);
  EXPECT_EQ(expired({k1970, 100}), 0U);
  EXPECT_EQ(expired({k1970, k1970}), 0U) << "nothing says how old they are";
}

TEST(Retention, ASegmentFromTheFutureIsInRetentionAndSoIsWhatFollows) {
  EXPECT_EQ(expired({-3650, 300, 200}), 0U);
  EXPECT_EQ(expired({400, -3650, 300}), 1U);
}

TEST(Retention, AClassWithoutRetentionLosesNothing) {
  const std::vector<SegmentAge> ages = {{.modified = at(400), .keep_days = 180},
                                        {.modified = at(400), .keep_days = {}},
                                        {.modified = at(400), .keep_days = 180}};
  EXPECT_EQ(expired_segments(ages, at(0)), 1U);
}

TEST(Retention, AClockThatJumpedAheadIsNotBelieved) {
  const io::TimeStamp jumped = at(-3650);
  EXPECT_EQ(credible_now(jumped, at(1)), at(1));
  EXPECT_EQ(credible_now(at(0), at(0)), at(0));
}

}  // namespace
}  // namespace slotkeeper::permanent
