#include "engine/transaction/pace.hpp"

#include <gtest/gtest.h>

#include "tests/support/manual_host.hpp"
#include "tests/support/unwrap.hpp"

namespace slotkeeper {
namespace {

using namespace std::chrono_literals;
using std::chrono::nanoseconds;
using test::error_of;

constexpr std::uint64_t kMiB = 1 << 20;

/// Asked to stop at the nth question.
class StoppingSink final : public EngineSink {
 public:
  void progress(Phase, std::uint64_t, std::uint64_t) override {}
  void notice(std::string_view) override {}
  void gate(const permanent::Gate&) override {}
  void planned_write(const PlannedWrite&) override {}
  [[nodiscard]] bool cancel_requested() const override { return ++questions > stops_after; }
  mutable int questions = 0;
  int stops_after = 1'000'000;
};

class PaceTest : public testing::Test {
 protected:
  /// How long the next question takes to be answered.
  nanoseconds pause(Pace& pace) {
    const nanoseconds before = host.time;
    EXPECT_TRUE(pace.check_cancelled().has_value());
    return host.time - before;
  }
  /// Others keep the disks (or processors) busy for so many percent of all time from now on.
  void others(int disks, int processors) {
    host.work.emplace();
    host.passes = [this, disks, processors](nanoseconds passed) {
      host.work->disks += passed * disks / 100;
      host.work->processors += passed * processors / 100;
    };
  }

  test::ManualHost host;
  StoppingSink sink;
};

TEST_F(PaceTest, ALimitIsKeptFromTheBeginningAndForAnyTime) {
  Pace pace(sink, host, {.max_write_rate = 8 * kMiB});
  EXPECT_FALSE(pace.pauses_next());
  const nanoseconds began = host.time;
  for (std::uint64_t written = kMiB / 4; written <= 16 * kMiB; written += kMiB / 4) {
    pace.wrote(written);
    static_cast<void>(pause(pace));
    const auto may_be_written = (host.time - began + 50ms) / 1ms * 8 * kMiB / 1000;
    EXPECT_LE(written, static_cast<std::uint64_t>(may_be_written) + kMiB / 100);
  }
  EXPECT_NEAR(static_cast<double>((host.time - began) / 1ms), 1950, 10);
}

TEST_F(PaceTest, AfterASlowTimeThereIsNoFastOne) {
  Pace pace(sink, host, {.max_write_rate = kMiB});
  host.advance(100s);
  pace.wrote(kMiB);
  EXPECT_NEAR(static_cast<double>(pause(pace) / 1ms), 950, 1);
}

TEST_F(PaceTest, AsManyBytesAsBeforeCostNothing) {
  Pace pace(sink, host, {.max_write_rate = kMiB});
  pace.wrote(kMiB);
  static_cast<void>(pause(pace));
  pace.wrote(kMiB);
  EXPECT_EQ(pause(pace), 0ns);
}

TEST_F(PaceTest, AGentleOneWorksInSlicesAndRestsAsLongAsTheyAreOnAnIdleDevice) {
  others(0, 0);
  Pace pace(sink, host, {.gentle = true});
  EXPECT_EQ(pause(pace), 0ns);
  host.advance(Pace::kSlice - 1ms);
  EXPECT_FALSE(pace.pauses_next());
  host.advance(1ms);
  EXPECT_TRUE(pace.pauses_next());
  EXPECT_EQ(pause(pace), Pace::kShortestPause);
  EXPECT_FALSE(pace.pauses_next());
}

TEST_F(PaceTest, AGentleOneRestsLongWhileDisksOrProcessorsAreBusyAndStillGoesOn) {
  for (const auto& [disks, processors] : {std::pair(3, 0), std::pair(0, 60), std::pair(100, 100)}) {
    others(disks, processors);
    Pace pace(sink, host, {.gentle = true});
    host.advance(Pace::kSlice);
    EXPECT_EQ(pause(pace), Pace::kLongestPause) << disks << " " << processors;
    EXPECT_EQ(pause(pace), 0ns);
  }
}

TEST_F(PaceTest, AGentleOneGoesOnAsSoonAsTheOthersRest) {
  host.work.emplace();
  host.passes = [this, left = 40ms](nanoseconds passed) mutable {
    if (left > 0ms) host.work->disks += passed;
    left -= std::chrono::duration_cast<std::chrono::milliseconds>(passed);
  };
  Pace pace(sink, host, {.gentle = true});
  host.advance(Pace::kSlice);
  const nanoseconds paused = pause(pace);
  EXPECT_GT(paused, Pace::kShortestPause);
  EXPECT_LE(paused, Pace::kLongestPause);
}

TEST_F(PaceTest, AGentleOneOnAMachineThatTellsNothingRestsShortly) {
  Pace pace(sink, host, {.gentle = true});
  host.advance(Pace::kSlice);
  EXPECT_EQ(pause(pace), Pace::kShortestPause);
}

TEST_F(PaceTest, ACancellationIsHeardInAPause) {
  Pace pace(sink, host, {.max_write_rate = 16 * 1024});
  pace.wrote(kMiB);
  sink.stops_after = 5;
  const nanoseconds before = host.time;
  EXPECT_EQ(error_of(pace.check_cancelled()).code, Errc::cancelled);
  EXPECT_LE(host.time - before, 100ms);
}

}  // namespace
}  // namespace slotkeeper
