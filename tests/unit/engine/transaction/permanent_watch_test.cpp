#include "engine/transaction/permanent_watch.hpp"

#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/manual_host.hpp"
#include "tests/support/memory_storage.hpp"
#include "tests/support/permanent_partition.hpp"
#include "tests/support/unwrap.hpp"

namespace slotkeeper {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20U;
const std::string kPath = "/permanent";

class Sink final : public EngineSink {
 public:
  void progress(Phase, std::uint64_t done, std::uint64_t) override { reported.push_back(done); }
  void notice(std::string_view message) override { notices.emplace_back(message); }
  [[nodiscard]] bool cancel_requested() const override { return cancel; }
  void gate(const permanent::Gate&) override {}
  void planned_write(const PlannedWrite&) override {}
  std::vector<std::uint64_t> reported;
  std::vector<std::string> notices;
  bool cancel = false;
};

class Watch : public testing::Test {
 protected:
  Watch() {
    space() = {.block_bytes = 4096,
               .capacity_bytes = 100 * kMiB,
               .free_bytes = 50 * kMiB,
               .available_bytes = 50 * kMiB,
               .inodes = 1000,
               .inodes_free = 500};
    storage.errors_counted[kPath] = 2;
    watch = test::ok(PermanentWatch::begin(sink, storage, host,
                                           {.path = kPath,
                                            .before_reserve = {.bytes = 20 * kMiB, .inodes = 100},
                                            .with_reserve = {.bytes = 2 * kMiB, .inodes = 10},
                                            .growth_bytes = 5 * kMiB,
                                            .filesystem_errors = 2}));
  }
  io::SpaceFacts& space() { return storage.space[kPath]; }
  void left(std::uint64_t bytes) { space().available_bytes = bytes; }
  /// What the work gets to hear after this time.
  std::string answer(milliseconds later = PermanentWatch::kErrorsInterval) {
    host.advance(later);
    const auto asked = watch->check_cancelled();
    return asked.has_value() ? "" : std::string(info(asked.error().code).name);
  }

  test::MemoryStorage storage;
  test::ManualHost host;
  Sink sink;
  std::unique_ptr<PermanentWatch> watch;
};

TEST_F(Watch, LetsWorkGoOnWhileThereIsRoom) {
  for (const auto& step :
       {+[](PermanentWatch&) {}, +[](PermanentWatch& w) { w.room_is_needed(); },
        +[](PermanentWatch& w) { w.reserve_begins(); }, +[](PermanentWatch& w) { w.reserve_is_there(); }}) {
    step(*watch);
    EXPECT_EQ(answer(), "");
  }
  watch->progress(Phase::stage, 5, 10);
  EXPECT_THAT(sink.reported, ElementsAre(5));
  EXPECT_THAT(sink.notices, IsEmpty());
}

TEST_F(Watch, AFullPartitionIsNoMatterWhileCompactionFrees) {
  left(0);
  space().inodes_free = 0;
  EXPECT_EQ(answer(), "");
  watch->room_is_needed();
  EXPECT_EQ(answer(), "storage-full");
}

TEST_F(Watch, BeforeTheReserveAllThatTheUpdateNeedsMustBeThere) {
  watch->room_is_needed();
  left(20 * kMiB);
  EXPECT_EQ(answer(), "");
  // One block below. The fall itself is far too small to matter.
  left(20 * kMiB - 4096);
  EXPECT_EQ(answer(), "storage-full");
}

TEST_F(Watch, OurOwnWritingOfTheReserveIsNoStorm) {
  watch->room_is_needed();
  left(20 * kMiB);
  EXPECT_EQ(answer(), "");
  watch->reserve_begins();
  left(2 * kMiB);  // 18 MiB within 20 ms
  EXPECT_EQ(answer(PermanentWatch::kLookInterval), "");
  watch->reserve_is_there();
  EXPECT_EQ(answer(PermanentWatch::kLookInterval), "");
  left(2 * kMiB - 4096);
  EXPECT_EQ(answer(PermanentWatch::kLookInterval), "storage-full");
}

TEST_F(Watch, InodesCountLikeBytes) {
  watch->reserve_is_there();
  space().inodes_free = 10;
  EXPECT_EQ(answer(), "");
  space().inodes_free = 9;
  EXPECT_EQ(answer(), "storage-full");
  EXPECT_THAT(watch->look().error().message, HasSubstr("9 files are left and 10 files are needed"));
}

TEST_F(Watch, NoFixedNumberOfInodesIsNoShortage) {
  watch->reserve_is_there();
  space().inodes = space().inodes_free = 0;
  EXPECT_EQ(answer(), "");
}

TEST_F(Watch, EndsBeforeAStormHasTakenTheLastRoom) {
  watch->reserve_is_there();
  // 1 MiB each 20 ms: 10 MiB in 200 ms.
  std::uint64_t available = 50 * kMiB;
  std::string found;
  while (available > 0 && found.empty()) {
    available -= kMiB;
    left(available);
    found = answer(PermanentWatch::kLookInterval);
  }
  EXPECT_EQ(found, "storage-full");
  EXPECT_GE(available, 10 * kMiB);
  EXPECT_LE(available, 13 * kMiB);
}

TEST_F(Watch, ABurstThatLeavesRoomIsNotTheEnd) {
  watch->reserve_is_there();
  EXPECT_EQ(answer(), "");
  left(40 * kMiB);
  EXPECT_EQ(answer(PermanentWatch::kRateWindow), "");
}

TEST_F(Watch, LogsThatGoRoundInARingAreNoFlood) {
  watch->reserve_is_there();
  // Segments of 1 MiB, written within 40 ms and deleted again: 25 MiB/s, but never more than one of them more.
  for (int i = 0; i < 200; ++i) {
    left(4 * kMiB - static_cast<std::uint64_t>(i % 3) * kMiB / 2);
    ASSERT_EQ(answer(PermanentWatch::kLookInterval), "") << i;
  }
}

TEST_F(Watch, MoreGrowthThanForecastIsSaidOnceAndNotTheEnd) {
  watch->reserve_is_there();
  EXPECT_EQ(answer(milliseconds(1000)), "");
  left(45 * kMiB);
  EXPECT_EQ(answer(milliseconds(1000)), "");
  EXPECT_THAT(sink.notices, IsEmpty());
  left(44 * kMiB);
  EXPECT_EQ(answer(milliseconds(1000)), "");
  left(43 * kMiB);
  EXPECT_EQ(answer(milliseconds(1000)), "");
  EXPECT_THAT(sink.notices, ElementsAre(HasSubstr("more than the 5120 KiB that were forecast")));
}

TEST_F(Watch, SeesARemountInEveryState) {
  space().read_only = true;
  EXPECT_EQ(answer(PermanentWatch::kLookInterval), "read-only");
}

TEST_F(Watch, OnlyNewFilesystemErrorsCount) {
  EXPECT_EQ(answer(), "");
  storage.errors_counted[kPath] = 3;
  EXPECT_EQ(answer(), "io-error");
  EXPECT_THAT(watch->look().error().message, HasSubstr("counted 1 new errors"));
}

TEST_F(Watch, AnErrorThatMadeTheFilesystemReadOnlyIsTheCause) {
  EXPECT_EQ(answer(), "");
  storage.errors_counted[kPath] = 3;
  space().read_only = true;
  EXPECT_EQ(answer(PermanentWatch::kLookInterval), "io-error");
}

TEST_F(Watch, NoCountOfErrorsIsNoError) {
  storage.errors_counted.clear();
  EXPECT_EQ(answer(), "");
}

TEST_F(Watch, LooksNoMoreOftenThanItsInterval) {
  EXPECT_EQ(answer(), "");
  space().read_only = true;
  EXPECT_EQ(answer(milliseconds(1)), "");
  EXPECT_EQ(test::error_of(watch->look()).code, Errc::read_only) << "unless it is told to";
}

TEST_F(Watch, StaysWithWhatItFound) {
  watch->reserve_is_there();
  left(0);
  watch->progress(Phase::stage, 1, 2);
  left(50 * kMiB);
  EXPECT_EQ(answer(), "storage-full");
  EXPECT_EQ(test::error_of(watch->look()).code, Errc::storage_full);
}

TEST_F(Watch, PassesAWishToStopOn) {
  sink.cancel = true;
  EXPECT_EQ(answer(), "cancelled");
}

TEST_F(Watch, ItsVerdictIsTheReasonWhateverFailedAfterIt) {
  EXPECT_EQ(watch->reason(make_error(Errc::io_error, "x")).code, Errc::io_error);
  watch->reserve_is_there();
  left(0);
  EXPECT_EQ(answer(), "storage-full");
  EXPECT_EQ(watch->reason(make_error(Errc::io_error, "x")).code, Errc::storage_full);
}

/// The real clock, a real filesystem, and nobody who asks.
TEST(WatchOnExt4, GivesTheReserveBackWhileTheWorkIsBusy) {
  if (!test::may_mount()) GTEST_SKIP() << "loop devices and mounts need root";
  test::PermanentPartition partition({.size_bytes = 16 * kMiB});
  std::filesystem::create_directories(partition / ".slotkeeper/reserve");
  test::put_file(partition / ".slotkeeper/reserve/slack", std::string(4 * kMiB, 's'));
  std::filesystem::create_directory(partition / "log");
  const auto host = io::make_posix_host();
  Sink sink;
  const auto watch = test::ok(PermanentWatch::begin(sink, partition.storage(), *host,
                                                    {.path = partition.path(),
                                                     .before_reserve = {.bytes = 4 * kMiB, .inodes = 10},
                                                     .with_reserve = {.bytes = 2 * kMiB, .inodes = 10},
                                                     .growth_bytes = 0,
                                                     .filesystem_errors = 0}));
  watch->reserve_is_there();
  host->sleep(milliseconds(50));
  EXPECT_TRUE(std::filesystem::exists(partition / ".slotkeeper/reserve/slack"));
  test::put_file(partition / "log/flood.log", std::string(10 * kMiB, 'f'));
  for (int i = 0; i < 1000 && std::filesystem::exists(partition / ".slotkeeper/reserve"); ++i) {
    host->sleep(milliseconds(5));
  }
  EXPECT_FALSE(std::filesystem::exists(partition / ".slotkeeper/reserve"));
  EXPECT_EQ(test::error_of(watch->check_cancelled()).code, Errc::storage_full);
  EXPECT_EQ(test::error_of(watch->end()).code, Errc::storage_full);
}

TEST(WatchOnExt4, LeavesTheReserveAloneWhereThereIsRoomAndOnceItHasEnded) {
  if (!test::may_mount()) GTEST_SKIP() << "loop devices and mounts need root";
  test::PermanentPartition partition({.size_bytes = 16 * kMiB});
  std::filesystem::create_directories(partition / ".slotkeeper/reserve");
  test::put_file(partition / ".slotkeeper/reserve/slack", std::string(kMiB, 's'));
  const auto host = io::make_posix_host();
  Sink sink;
  const auto watch = test::ok(PermanentWatch::begin(sink, partition.storage(), *host,
                                                    {.path = partition.path(),
                                                     .before_reserve = {.bytes = 4 * kMiB, .inodes = 10},
                                                     .with_reserve = {.bytes = 2 * kMiB, .inodes = 10},
                                                     .growth_bytes = 20 * kMiB,
                                                     .filesystem_errors = 0}));
  watch->reserve_is_there();
  test::put_file(partition / "some.conf", std::string(kMiB, 'c'));
  host->sleep(milliseconds(300));
  test::ok(watch->end());
  test::put_file(partition / "flood.log", std::string(12 * kMiB, 'f'));
  host->sleep(milliseconds(100));
  EXPECT_TRUE(std::filesystem::exists(partition / ".slotkeeper/reserve/slack"));
}

}  // namespace
}  // namespace slotkeeper
