#include "engine/source/line_manners.hpp"

#include <gtest/gtest.h>

namespace slotkeeper {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(RetryDelay, DoublesUpToItsLimit) {
  EXPECT_EQ(retry_delay(1, 0), milliseconds(500));
  EXPECT_EQ(retry_delay(2, 0), milliseconds(1000));
  EXPECT_EQ(retry_delay(5, 0), milliseconds(8000));
  EXPECT_EQ(retry_delay(7, 0), kRetryDelayMax);
  EXPECT_EQ(retry_delay(~0U, 0), kRetryDelayMax);
}

TEST(RetryDelay, DiceTakeOffHalfAtMost) {
  EXPECT_EQ(retry_delay(1, 250), milliseconds(250));
  EXPECT_EQ(retry_delay(1, 251), milliseconds(500));
  for (std::uint32_t dice = 0; dice < 2000; ++dice) EXPECT_GE(retry_delay(3, dice), milliseconds(1000));
}

TEST(RetryDelay, TheServerMayAskForMoreButNotForEver) {
  EXPECT_EQ(retry_delay(1, 0, seconds(0)), milliseconds(500));
  EXPECT_EQ(retry_delay(1, 0, seconds(20)), seconds(20));
  EXPECT_EQ(retry_delay(1, 0, seconds(86'400)), kRetryAfterMax);
}

TEST(RateLimit, WithoutOneIsAlwaysReady) {
  const Clock::time_point start{};
  RateLimit limit(std::nullopt, start);
  limit.take(1ULL << 40);
  EXPECT_TRUE(limit.is_ready(start));
  EXPECT_EQ(limit.until_ready(start), milliseconds(0));
}

TEST(RateLimit, HoldsOverAnyTime) {
  constexpr std::uint64_t kRate = 1'000'000;
  const Clock::time_point start{};
  RateLimit limit(kRate, start);
  Clock::time_point now = start;
  std::uint64_t taken = 0;
  while (now < start + seconds(10)) {
    while (limit.is_ready(now)) {
      limit.take(RateLimit::kBurstMinBytes);
      taken += RateLimit::kBurstMinBytes;
    }
    const auto pause = limit.until_ready(now);
    ASSERT_GT(pause, milliseconds(0));
    ASSERT_LT(pause, seconds(1));
    now += pause;
  }
  EXPECT_LE(taken, 10 * kRate + kRate / 10 + RateLimit::kBurstMinBytes);
  EXPECT_GE(taken, 10 * kRate - kRate / 10);
}

TEST(RateLimit, SavesNothingUpOverAPause) {
  const Clock::time_point start{};
  RateLimit limit(1'000'000, start);
  const Clock::time_point later = start + seconds(3600);
  std::uint64_t taken = 0;
  while (limit.is_ready(later)) {
    limit.take(1000);
    taken += 1000;
  }
  EXPECT_LE(taken, 101'000U);
}

}  // namespace
}  // namespace slotkeeper
