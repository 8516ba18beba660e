#include "partitions/permanent/reserve.hpp"

#include <filesystem>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/memory_area.hpp"
#include "tests/support/permanent_partition.hpp"
#include "tests/support/tree_listing.hpp"

namespace slotkeeper::permanent {
namespace {

using namespace slotkeeper::test;  // NOLINT: the words of the tests

class ReserveTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!may_mount()) GTEST_SKIP() << "needs root for loop devices and mounts";
    use({});
  }
  void use(const Ext4Options& options) {
    partition_.reset();
    partition_ = std::make_unique<PermanentPartition>(options);
    ASSERT_TRUE(make_own_directory(*partition_->open()).has_value());
  }
  void snapshot() {
    const auto facts = take_snapshot(
        *partition_->open(), usual_classes(), area_, [](const SnapshotFacts&) { return ""; }, progress_);
    ASSERT_TRUE(facts.has_value()) << facts.assume_error().message;
  }
  Result<ReserveFacts> try_make(std::uint64_t slack_bytes = 100'000) {
    return make_reserve(*partition_->open(), area_, slack_bytes, progress_);
  }
  ReserveFacts make(std::uint64_t slack_bytes = 100'000) {
    const auto made = try_make(slack_bytes);
    EXPECT_TRUE(made.has_value()) << made.assume_error().message;
    return made.has_value() ? made.assume_value() : ReserveFacts{};
  }
  bool is_whole() { return reserve_is_whole(*partition_->open(), area_).assume_value(); }
  struct statvfs space() const {
    struct statvfs facts {};
    EXPECT_EQ(::statvfs(partition_->path().c_str(), &facts), 0);
    return facts;
  }
  std::string at(const std::string& path) const { return *partition_ / path; }

  std::unique_ptr<PermanentPartition> partition_;
  MemoryArea area_{16 << 20};
  SilentProgress progress_;
};

TEST_F(ReserveTest, OwnDirectoryIsMadeOnce) {
  struct stat facts {};
  ASSERT_EQ(::stat(at(".slotkeeper").c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode, S_IFDIR | 0700U);
  const TreeListing before = list_tree(partition_->path(), {.inode_changes = true});
  EXPECT_TRUE(make_own_directory(*partition_->open()).has_value());
  EXPECT_EQ(difference(before, list_tree(partition_->path(), {.inode_changes = true})), "");
}

TEST_F(ReserveTest, AFileInThePlaceOfTheOwnDirectoryIsRefused) {
  ASSERT_EQ(::rmdir(at(".slotkeeper").c_str()), 0);
  put_file(at(".slotkeeper"), "x");
  EXPECT_EQ(make_own_directory(*partition_->open()).assume_error().code, Errc::config);
}

TEST_F(ReserveTest, TakesNoMoreThanTheForecastSays) {
  make_zoo(partition_->path());
  snapshot();
  ::sync();
  const auto inventory = take_inventory(*partition_->open(), usual_classes(), HashScope::nothing, progress_);
  const Amount forecast = rollback_reserve_of(inventory.assume_value(), 1024);
  const struct statvfs before = space();
  const ReserveFacts facts = make(100'000);
  const struct statvfs after = space();
  const std::uint64_t bytes = (before.f_bfree - after.f_bfree) * before.f_frsize;
  EXPECT_LE(bytes, forecast.bytes + 100'000 + 1024);
  EXPECT_GE(bytes, facts.bytes);
  EXPECT_LE(before.f_ffree - after.f_ffree, forecast.inodes);
  EXPECT_GE(bytes + bytes / 2, forecast.bytes);  // and the forecast is no wild guess
  EXPECT_TRUE(is_whole());
}

TEST_F(ReserveTest, IsRepeatableAndKeepsWhatIsThere) {
  make_zoo(partition_->path());
  snapshot();
  make();
  const TreeListing before = list_tree(at(".slotkeeper"), {.inode_changes = true});
  make();
  EXPECT_EQ(difference(before, list_tree(at(".slotkeeper"), {.inode_changes = true})), "");
}

TEST_F(ReserveTest, FollowsAnotherSnapshot) {
  make_zoo(partition_->path());
  snapshot();
  make();
  put_file(at("etc/big"), noise(500'000, 1));
  put_file(at("etc/a-new-one"), noise(70'000, 1));
  ASSERT_EQ(::unlink(at("etc/names/nan").c_str()), 0);
  snapshot();
  EXPECT_FALSE(is_whole());
  make();
  EXPECT_TRUE(is_whole());
  // As if it had been made for this snapshot alone.
  const ListingOptions sizes{.takes = [](const std::string& path) { return path != "."; }, .times = false};
  const TreeListing followed = list_tree(at(".slotkeeper/reserve"), sizes);
  ASSERT_TRUE(release_reserve(*partition_->open()).has_value());
  make();
  EXPECT_EQ(difference(followed, list_tree(at(".slotkeeper/reserve"), sizes)), "");
}

TEST_F(ReserveTest, EveryMissingOrHollowFileShows) {
  for (const char* folder : {"etc", "etc/sub"}) std::filesystem::create_directories(at(folder));
  put_file(at("etc/a"), noise(5000, 1));
  put_file(at("etc/b"), "");
  snapshot();
  make();
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(at(".slotkeeper/reserve")))
    names.push_back(entry.path());
  EXPECT_EQ(names.size(), 6U);  // "." and two folders, two files, slack
  for (const std::string& name : names) {
    ASSERT_EQ(::unlink(name.c_str()), 0);
    EXPECT_FALSE(is_whole()) << name;
    make();
    EXPECT_TRUE(is_whole()) << name;
    struct stat facts {};
    ASSERT_EQ(::stat(name.c_str(), &facts), 0);
    if (facts.st_size == 0) continue;
    ASSERT_EQ(::truncate(name.c_str(), 0), 0);
    EXPECT_FALSE(is_whole()) << name;
    ASSERT_EQ(::truncate(name.c_str(), facts.st_size), 0);  // the size, but no blocks
    EXPECT_FALSE(is_whole()) << name;
    make();
    EXPECT_TRUE(is_whole()) << name;
  }
}

TEST_F(ReserveTest, StorageFullIsToldAndReleaseGivesEverythingBack) {
  use({.size_bytes = 4u << 20, .inodes = 256});
  std::filesystem::create_directories(at("etc"));
  put_file(at("etc/noise"), noise(1'500'000, 1));
  ::sync();
  const struct statvfs before = space();
  const TreeListing config = list_tree(partition_->path());
  snapshot();
  const auto refused = try_make(2 << 20);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.assume_error().code, Errc::storage_full);
  EXPECT_FALSE(is_whole());
  ASSERT_TRUE(release_reserve(*partition_->open()).has_value());
  ::sync();
  EXPECT_EQ(space().f_bfree, before.f_bfree);
  EXPECT_EQ(space().f_ffree, before.f_ffree);
  EXPECT_EQ(difference(config, list_tree(partition_->path(),
                                         {.takes = [](const std::string& path) { return path != ".slotkeeper"; }})),
            "missing .slotkeeper\n");
}

TEST_F(ReserveTest, WhatAnotherSnapshotNeededGivesWayWhenSpaceIsShort) {
  use({.size_bytes = 8u << 20});
  std::filesystem::create_directories(at("etc"));
  put_file(at("etc/noise"), noise(2'000'000, 1));
  snapshot();
  make(1000);
  put_file(at("etc/noise"), noise(2'500'000, 1));
  snapshot();
  std::filesystem::create_directories(at("log"));
  put_file(at("log/filler"), "");
  ASSERT_EQ(::truncate(at("log/filler").c_str(), 0), 0);
  // Too little for both reserves side by side.
  while (space().f_bavail * space().f_frsize > 1'500'000) append_file(at("log/filler"), std::string(100'000, 'x'));
  make(1000);
  EXPECT_TRUE(is_whole());
}

TEST_F(ReserveTest, ReleaseWithoutAReserveDoesNothing) {
  const TreeListing before = list_tree(partition_->path(), {.inode_changes = true});
  EXPECT_TRUE(release_reserve(*partition_->open()).has_value());
  EXPECT_EQ(difference(before, list_tree(partition_->path(), {.inode_changes = true})), "");
}

TEST_F(ReserveTest, WithoutASnapshotThereIsNone) { EXPECT_EQ(try_make().assume_error().code, Errc::state_store); }

}  // namespace
}  // namespace slotkeeper::permanent
