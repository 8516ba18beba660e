#include "engine/transaction/expected_duration.hpp"

#include <limits>

#include <gtest/gtest.h>

namespace slotkeeper {
namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20U;

TEST(ExpectedDuration, OfNothingIsWhatAnUpdateAlwaysTakes) { EXPECT_EQ(expected_duration_s({}), kFixedSeconds); }

TEST(ExpectedDuration, WritingGoesAtAQuarterOfTheMeasuredReading) {
  // Written and read back, 100 MiB at 5 and at 20 MiB/s; the fallback is read at 20.
  EXPECT_EQ(
      expected_duration_s({.image_bytes = 100 * kMiB, .fallback_bytes = 60 * kMiB, .read_bytes_per_s = 20 * kMiB}),
      kFixedSeconds + 20 + 8);
}

TEST(ExpectedDuration, AssumesSlowFlashWhereNothingWasMeasured) {
  EXPECT_EQ(expected_duration_s({.image_bytes = 160 * kMiB}), kFixedSeconds + 40 + 10);
}

TEST(ExpectedDuration, BelievesNoMeasurementThatIsBeyondReason) {
  EXPECT_EQ(expected_duration_s({.image_bytes = 400 * kMiB, .read_bytes_per_s = std::uint64_t{1} << 40U}),
            kFixedSeconds + 4 + 1);
  EXPECT_EQ(expected_duration_s({.image_bytes = kMiB, .read_bytes_per_s = 1}), kFixedSeconds + 2 + 1);
}

TEST(ExpectedDuration, CountsWhatThePermanentPartitionAsksFor) {
  EXPECT_GT(expected_duration_s({.protected_bytes = 100 * kMiB}), kFixedSeconds + 50);
  EXPECT_GT(expected_duration_s({.compacted_bytes = 100 * kMiB}), kFixedSeconds + 25);
}

TEST(ExpectedDuration, CountsALimitOfTheLine) {
  EXPECT_EQ(expected_duration_s({.fetched_bytes = 100 * kMiB}), kFixedSeconds);
  EXPECT_EQ(expected_duration_s({.fetched_bytes = 100 * kMiB, .fetch_bytes_per_s = 2 * kMiB}), kFixedSeconds + 50);
}

TEST(ExpectedDuration, CountsALimitOfTheWriting) {
  const WorkAhead work{.image_bytes = 160 * kMiB, .protected_bytes = 16 * kMiB};
  WorkAhead limited = work;
  limited.write_bytes_per_s = kMiB;  // where 4 are assumed
  EXPECT_EQ(expected_duration_s(limited), expected_duration_s(work) + 160 - 40);
  limited.write_bytes_per_s = 100 * kMiB;
  EXPECT_EQ(expected_duration_s(limited), expected_duration_s(work));
}

TEST(ExpectedDuration, CountsThePausesOfAGentleUpdate) {
  EXPECT_EQ(expected_duration_s({.image_bytes = 160 * kMiB, .slot_factor = 10}), kFixedSeconds + 400 + 100);
  EXPECT_EQ(expected_duration_s({.protected_bytes = 160 * kMiB, .slot_factor = 10}),
            expected_duration_s({.protected_bytes = 160 * kMiB}));
}

TEST(ExpectedDuration, Saturates) {
  constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();
  EXPECT_GT(expected_duration_s({.image_bytes = kMost, .protected_bytes = kMost, .read_bytes_per_s = 1}), kMost / kMiB);
}

}  // namespace
}  // namespace slotkeeper
