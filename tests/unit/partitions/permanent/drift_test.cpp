#include "partitions/permanent/drift.hpp"

#include <cstdio>
#include <ctime>
#include <filesystem>
#include <functional>
#include <sys/stat.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "partitions/io/host.hpp"
#include "tests/support/memory_area.hpp"
#include "tests/support/permanent_partition.hpp"

namespace slotkeeper::permanent {
namespace {

using namespace slotkeeper::test;  // NOLINT: the words of the tests
using testing::ElementsAre;
using testing::IsEmpty;

const std::function<bool()> kAlways = [] { return true; };

class DriftTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!may_mount()) GTEST_SKIP() << "needs root for loop devices and mounts";
    partition_ = std::make_unique<PermanentPartition>();
    std::filesystem::create_directories(*partition_ / "net/vpn");
    std::filesystem::create_directories(*partition_ / "log");
    std::filesystem::create_directories(*partition_ / "state");
    put_file(*partition_ / "net/if.conf", "address = 1\n");
    put_file(*partition_ / "net/vpn/key", "secret\n");
    put_file(*partition_ / "log/system", "line\n");
    put_file(*partition_ / "state/lease", "lease\n");
    put_attribute(*partition_ / "net", "user.a", "1");
    std::filesystem::create_symlink("if.conf", *partition_ / "net/now");
  }
  /// `now`: seconds that the look believes to have passed since the files were written.
  DriftWatch watch(std::int64_t seconds_later = 0) {
    io::TimeStamp now = io::make_posix_host()->now();
    now.seconds += seconds_later;
    SilentProgress silent;
    return DriftWatch::begin(*partition_->open(), classes_, now, silent).assume_value();
  }
  QuickLook look(const DriftWatch& watch, const std::function<bool()>& may_go_on = kAlways) {
    auto looked = watch.look_again(*partition_->open(), may_go_on);
    EXPECT_TRUE(looked.has_value()) << looked.assume_error().message;
    return looked.has_value() ? looked.assume_value() : QuickLook{};
  }
  std::vector<std::string> drift_of(const std::function<void()>& change, std::int64_t seconds_later = 60) {
    const DriftWatch before = watch(seconds_later);
    change();
    const QuickLook after = look(before);
    EXPECT_TRUE(after.complete);
    return after.paths;
  }

  ClassTable classes_ = usual_classes();
  std::unique_ptr<PermanentPartition> partition_;
};

TEST_F(DriftTest, NothingChangedIsNoDriftAndReadsNothingAgain) {
  const DriftWatch before = watch(60);
  const QuickLook after = look(before);
  EXPECT_TRUE(after.complete);
  EXPECT_THAT(after.paths, IsEmpty());
  EXPECT_EQ(after.reread_bytes, 0u);
  EXPECT_EQ(after.entries, 6u);  // ".", net, net/if.conf, net/now, net/vpn, net/vpn/key
}

TEST_F(DriftTest, FindsEveryChange) {
  const auto& p = *partition_;
  EXPECT_THAT(drift_of([&] { put_file(p / "net/if.conf", "address = 2\n"); }), ElementsAre("net/if.conf"));
  EXPECT_THAT(drift_of([&] { append_file(p / "net/vpn/key", "x"); }), ElementsAre("net/vpn/key"));
  EXPECT_THAT(drift_of([&] { ASSERT_EQ(chmod((p / "net/if.conf").c_str(), 0600), 0); }), ElementsAre("net/if.conf"));
  EXPECT_THAT(drift_of([&] { ASSERT_EQ(chown((p / "net/vpn").c_str(), 7, 7), 0); }), ElementsAre("net/vpn"));
  EXPECT_THAT(drift_of([&] { put_attribute(p / "net", "user.a", "2"); }), ElementsAre("net"));
  EXPECT_THAT(drift_of([&] { put_attribute(p / "net/if.conf", "user.b", "1"); }), ElementsAre("net/if.conf"));
  EXPECT_THAT(drift_of([&] { put_file(p / "net/new", ""); }), ElementsAre("net/new"));
  EXPECT_THAT(drift_of([&] { std::filesystem::create_directory(p / "log/../etc"); }), ElementsAre("etc"));
  EXPECT_THAT(drift_of([&] { std::filesystem::remove(p / "net/new"); }), ElementsAre("net/new"));
  EXPECT_THAT(drift_of([&] { std::filesystem::rename(p / "net/if.conf", p / "net/if2"); }),
              ElementsAre("net/if.conf", "net/if2"));
  EXPECT_THAT(drift_of([&] {
                std::filesystem::remove(p / "net/now");
                std::filesystem::create_symlink("if2", p / "net/now");
              }),
              ElementsAre("net/now"));
}

TEST_F(DriftTest, StateLogsAndReadingAreNoDrift) {
  EXPECT_THAT(drift_of([&] {
                append_file(*partition_ / "log/system", "more\n");
                put_file(*partition_ / "log/new", "x");
                std::filesystem::create_directories(*partition_ / "log/a/b");
                put_file(*partition_ / "state/lease", "other");
                put_file(*partition_ / "state/new", "other");
                std::filesystem::remove(*partition_ / "state/lease");
                static_cast<void>(contents_of(*partition_ / "net/if.conf"));
              }),
              IsEmpty());
}

TEST_F(DriftTest, ALogInAConfigDirectoryIsNoDrift) {
  EXPECT_THAT(drift_of([&] { put_file(*partition_ / "net/trace.log", "x"); }), IsEmpty());
}

/// Whatever the clock of the filesystem hides: here a change whose times are put back.
TEST_F(DriftTest, ReadsAgainWhatWasWrittenShortlyBefore) {
  const DriftWatch before = watch();
  const QuickLook same = look(before);
  EXPECT_THAT(same.paths, IsEmpty());
  EXPECT_EQ(same.reread_bytes, 19u);
  put_file(*partition_ / "net/if.conf", "address = 2\n");
  EXPECT_THAT(look(before).paths, ElementsAre("net/if.conf"));
}

TEST_F(DriftTest, StopsWhenItIsToldTo) {
  for (int i = 0; i < 200; ++i) put_file(*partition_ / ("net/" + std::to_string(i)), "x");
  const DriftWatch before = watch(60);
  int questions = 0;
  const QuickLook stopped = look(before, [&] { return ++questions < 2; });
  EXPECT_FALSE(stopped.complete);
  EXPECT_LT(stopped.entries, 100u);
  EXPECT_THAT(stopped.paths, IsEmpty()) << "what was not looked at is not missing";
}

TEST_F(DriftTest, StopsBeforeItReadsTooMuch) {
  put_file(*partition_ / "net/big", noise(5 << 20, 1));
  const DriftWatch before = watch();
  EXPECT_TRUE(look(before).complete);
  for (const char* name : {"net/big2", "net/big3"}) {
    std::filesystem::copy(*partition_ / "net/big", *partition_ / name);
  }
  append_file(*partition_ / "net/big", noise(2 << 20, 2));
  const DriftWatch larger = watch();
  EXPECT_FALSE(look(larger).complete);
}

/// What must fit into the two seconds of a freeze, in the time of one processor, so that a busy machine does not count.
TEST_F(DriftTest, LooksAtTwentyThousandFilesWithinAFreeze) {
  constexpr int kFiles = 20'000;
  partition_ = std::make_unique<PermanentPartition>(Ext4Options{.size_bytes = 64 << 20, .inodes = 2 * kFiles});
  for (int i = 0; i < kFiles; ++i) {
    const std::string folder = *partition_ / ("module-" + std::to_string(i / 200));
    if (i % 200 == 0) std::filesystem::create_directory(folder);
    put_file(folder + "/setting-" + std::to_string(i) + ".conf", "value\n");
  }
  const DriftWatch before = watch(60);
  const auto cpu = [] {
    struct timespec time {};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
  };
  const double begin = cpu();
  const QuickLook after = look(before);
  const double took = cpu() - begin;
  EXPECT_TRUE(after.complete);
  EXPECT_THAT(after.paths, IsEmpty());
  EXPECT_EQ(after.entries, kFiles + kFiles / 200 + 1u);
  std::printf("%d files: %.0f ms\n", kFiles, took * 1000);
#if !defined(__SANITIZE_ADDRESS__)
  EXPECT_LT(took, 1.5);
#endif
}

TEST_F(DriftTest, NamesWhatIsUnlikeTheSnapshot) {
  MemoryArea area(8 << 20);
  SilentProgress silent;
  const auto taken = take_snapshot(
      *partition_->open(), classes_, area, [](const SnapshotFacts&) { return "{}"; }, silent);
  ASSERT_TRUE(taken.has_value());
  const auto unlike = [&] { return paths_unlike_snapshot(area, watch().inventory(), 3).assume_value(); };
  EXPECT_THAT(unlike(), IsEmpty());
  put_file(*partition_ / "log/system", "other");
  put_file(*partition_ / "state/lease", "other");
  EXPECT_THAT(unlike(), IsEmpty());
  put_file(*partition_ / "a", "first");
  put_file(*partition_ / "net/if.conf", "address = 2\n");
  EXPECT_THAT(unlike(), ElementsAre("a", "net/if.conf"));
  std::filesystem::remove_all(*partition_ / "net/vpn");
  EXPECT_THAT(unlike(), ElementsAre("a", "net/if.conf", "net/vpn")) << "and no more than asked for";
}

}  // namespace
}  // namespace slotkeeper::permanent
