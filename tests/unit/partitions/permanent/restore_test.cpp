#include "partitions/permanent/restore.hpp"

#include <algorithm>
#include <filesystem>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "partitions/permanent/reserve.hpp"
#include "tests/support/memory_area.hpp"
#include "tests/support/permanent_partition.hpp"
#include "tests/support/tree_listing.hpp"

namespace slotkeeper::permanent {
namespace {

using namespace slotkeeper::test;  // NOLINT: the words of the tests
using testing::AllOf;
using testing::AnyOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

/// One area, but once another: for the reading with this number, from 1 on.
class ChangingArea final : public StoreArea {
 public:
  ChangingArea(StoreArea& usual, StoreArea& other, int nth) : usual_(usual), other_(other), nth_(nth) {}
  [[nodiscard]] std::uint64_t capacity_bytes() const override { return usual_.capacity_bytes(); }
  [[nodiscard]] Result<void> unseal() override { return make_error(Errc::internal, "only to be read"); }
  [[nodiscard]] Result<void> write_at(std::uint64_t, io::ConstBytes) override { return unseal(); }
  [[nodiscard]] Result<void> seal(const AreaSeal&) override { return unseal(); }
  [[nodiscard]] Result<std::optional<AreaSeal>> read_seal() override {
    ++reading_;
    return now().read_seal();
  }
  [[nodiscard]] Result<std::size_t> read_at(std::uint64_t offset, io::Bytes into) override {
    return now().read_at(offset, into);
  }
  [[nodiscard]] int readings() const { return reading_; }

 private:
  StoreArea& now() { return reading_ == nth_ ? other_ : usual_; }
  StoreArea& usual_;
  StoreArea& other_;
  int nth_;
  int reading_ = 0;
};

class RestoreTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!may_mount()) GTEST_SKIP() << "needs root for loop devices and mounts";
    use(Ext4Options{});
  }
  void use(const Ext4Options& options) {
    partition_.reset();
    partition_ = std::make_unique<PermanentPartition>(options);
    auto made = make_own_directory(*partition_->open());
    ASSERT_TRUE(made.has_value());
  }
  /// Snapshot and reserve, as an update has them when the trial begins.
  void secure(std::uint64_t slack_bytes = 64 * 1024) {
    auto facts = take_snapshot(
        *partition_->open(), classes_, area_, [](const SnapshotFacts&) { return "{}"; }, progress_);
    ASSERT_TRUE(facts.has_value()) << facts.assume_error().message;
    facts_ = facts.assume_value();
    before_ = listing();
    auto reserve = make_reserve(*partition_->open(), area_, slack_bytes, progress_);
    ASSERT_TRUE(reserve.has_value()) << reserve.assume_error().message;
  }
  Result<RestoreReport> try_restore(StoreArea& area) {
    return restore_snapshot(*partition_->open(), classes_, area, facts_, progress_);
  }
  Result<RestoreReport> try_restore() { return try_restore(area_); }
  RestoreReport restore() {
    auto report = try_restore();
    EXPECT_TRUE(report.has_value()) << report.assume_error().message;
    return report.has_value() ? report.assume_value() : RestoreReport{};
  }
  /// Restores and shows that the result is exact, and that a second run writes nothing.
  RestoreReport restore_exactly() {
    const RestoreReport report = restore();
    EXPECT_EQ(difference(before_, listing()), "");
    const TreeListing once = list_tree(partition_->path(), {.inode_changes = true});
    const RestoreReport again = restore();
    EXPECT_FALSE(again.changed);
    EXPECT_EQ(difference(once, list_tree(partition_->path(), {.inode_changes = true})), "");
    return report;
  }
  TreeListing listing() const { return list_tree(partition_->path(), {.takes = is_restored}); }
  std::string at(const std::string& path) const { return *partition_ / path; }

  std::unique_ptr<PermanentPartition> partition_;
  MemoryArea area_{16 << 20};
  SilentProgress progress_;
  ClassTable classes_ = usual_classes();
  SnapshotFacts facts_;
  TreeListing before_;
};

TEST_F(RestoreTest, WhenNothingDiffersNoByteIsWritten) {
  make_zoo(partition_->path());
  secure();
  const TreeListing everything = list_tree(partition_->path(), {.inode_changes = true});
  const RestoreReport report = restore();
  EXPECT_FALSE(report.changed);
  EXPECT_THAT(report.replaced.named, IsEmpty());
  EXPECT_EQ(difference(everything, list_tree(partition_->path(), {.inode_changes = true})), "");
}

TEST_F(RestoreTest, RevertsEveryChangeOfContentsAndAttributes) {
  make_zoo(partition_->path());
  secure();
  append_file(at("etc/small"), "trial");
  put_file(at("etc/big"), noise(2'000'000, 77));
  put_file(at("etc/sparse"), "");
  ASSERT_EQ(::chmod(at("etc/private/key").c_str(), 0644), 0);
  ASSERT_EQ(::lchown(at("etc/tool").c_str(), 1, 1), 0);  // takes the set-id bits, too
  put_time(at("etc/empty"), 1, 1);
  put_attribute(at("etc/attributes"), "user.origin", "trial");
  put_attribute(at("etc/attributes"), "user.new", "trial");
  drop_attribute(at("etc/attributes"), "trusted.seal");
  run_tool({"setfacl", "-b", at("etc/shared/inherited")});
  run_tool({"setfacl", "-m", "u:1:rwx", at("etc/tool")});
  append_file(at("state/leases.db"), "trial");
  ASSERT_EQ(::lchown(at("etc/dangling").c_str(), 0, 0), 0);
  ASSERT_EQ(::chmod(at("etc/fifo").c_str(), 0666), 0);
  EXPECT_NE(difference(before_, listing()), "");
  const RestoreReport report = restore_exactly();
  EXPECT_TRUE(report.changed);
  EXPECT_THAT(
      report.replaced.named,
      UnorderedElementsAre("etc/small", "etc/big", "etc/sparse", "etc/private/key", "etc/tool", "etc/empty",
                           "etc/attributes", "etc/shared/inherited", "state/leases.db", "etc/dangling", "etc/fifo"));
  EXPECT_THAT(report.removed.named, IsEmpty());
}

TEST_F(RestoreTest, RevertsAttributesOfDirectories) {
  make_zoo(partition_->path());
  secure();
  ASSERT_EQ(::chmod(at("etc/shared").c_str(), 0700), 0);
  run_tool({"setfacl", "-k", at("etc/shared")});
  ASSERT_EQ(::chown(at("etc/private").c_str(), 5, 5), 0);
  put_attribute(at("etc/private"), "user.directory", "no");
  put_time(at("etc/deep"), 7, 7);
  put_time(partition_->path(), 8, 8);
  ASSERT_EQ(::chmod(partition_->path().c_str(), 0711), 0);
  restore_exactly();
}

TEST_F(RestoreTest, BringsBackWhatWasDeleted) {
  make_zoo(partition_->path());
  secure();
  std::filesystem::remove_all(at("etc"));
  std::filesystem::remove_all(at("state"));
  ASSERT_EQ(::unlink(at("-first").c_str()), 0);
  const TreeListing left = listing();
  const auto deleted = std::ranges::count_if(before_, [&](const auto& line) { return !left.contains(line.first); });
  const RestoreReport report = restore_exactly();
  EXPECT_THAT(report.replaced.named, AllOf(Contains("etc"), Contains("etc/deep/level-0/level-1")));
  EXPECT_EQ(report.replaced.count, static_cast<std::size_t>(deleted));
}

TEST_F(RestoreTest, BringsBackAllOfManyAndNamesTheFirst) {
  constexpr int kFiles = 250;
  const auto file = [&](const std::string& name, int number) {
    return at("etc/many/") + name + std::to_string(number);
  };
  std::filesystem::create_directories(at("etc/many"));
  for (int i = 0; i < kFiles; ++i) put_file(file("option-", i), "value " + std::to_string(i));
  secure();
  for (int i = 0; i < kFiles; ++i) put_file(file("option-", i), "of the trial");
  const RestoreReport rewritten = restore_exactly();
  EXPECT_EQ(rewritten.replaced.count, std::size_t{kFiles});
  EXPECT_EQ(rewritten.replaced.named.size(), 100U);
  EXPECT_EQ(rewritten.removed.count, 0U);
  for (int i = 0; i < kFiles; ++i) {
    ASSERT_EQ(::unlink(file("option-", i).c_str()), 0);
    put_file(file(i % 2 == 0 ? "choice-" : "setting-", i), "of the trial");
  }
  const RestoreReport made_anew = restore_exactly();
  EXPECT_EQ(made_anew.replaced.count, std::size_t{kFiles});
  EXPECT_EQ(made_anew.removed.count, std::size_t{kFiles});
  EXPECT_EQ(made_anew.removed.named.size(), 100U);
}

TEST_F(RestoreTest, RemovesWhatIsNewButNoLog) {
  make_zoo(partition_->path());
  secure();
  std::filesystem::create_directories(at("etc/new/tree"));
  put_file(at("etc/new/tree/file"), "x");
  put_file(at("state/new"), "x");
  ASSERT_EQ(::symlink("x", at("etc/new/link").c_str()), 0);
  ASSERT_EQ(::mkfifo(at("etc/new/fifo").c_str(), 0600), 0);
  put_file(at("log/new"), "stays");
  put_file(at("spool/new"), "stays");
  append_file(at("log/system.log"), "log 2\n");
  append_file(at("etc/trace.log"), "trace 2\n");
  append_file(at("log/security/audit"), "audit 2\n");
  const RestoreReport report = restore_exactly();
  EXPECT_THAT(report.removed.named, UnorderedElementsAre("etc/new", "etc/new/tree", "etc/new/tree/file", "etc/new/link",
                                                         "etc/new/fifo", "state/new"));
  EXPECT_EQ(contents_of(at("log/new")), "stays");
  EXPECT_EQ(contents_of(at("spool/new")), "stays");
  EXPECT_EQ(contents_of(at("log/system.log")), "log 1\nlog 2\n");
  EXPECT_EQ(contents_of(at("etc/trace.log")), "trace 1\ntrace 2\n");
  EXPECT_EQ(contents_of(at("log/security/audit")), "audit 1\naudit 2\n");
}

TEST_F(RestoreTest, NewDirectoryWithALogInItStays) {
  make_zoo(partition_->path());
  secure();
  std::filesystem::create_directories(at("etc/service/sub"));
  put_file(at("etc/service/settings"), "goes");
  put_file(at("etc/service/sub/run.log"), "stays");
  const RestoreReport report = restore();
  EXPECT_THAT(report.kept.named, UnorderedElementsAre("etc/service", "etc/service/sub"));
  EXPECT_THAT(report.removed.named, ElementsAre("etc/service/settings"));
  EXPECT_EQ(contents_of(at("etc/service/sub/run.log")), "stays");
  const TreeListing once = list_tree(partition_->path(), {.inode_changes = true});
  EXPECT_FALSE(restore().changed);
  EXPECT_EQ(difference(once, list_tree(partition_->path(), {.inode_changes = true})), "");
}

TEST_F(RestoreTest, TypesThatChangedPlaces) {
  make_zoo(partition_->path());
  secure();
  const auto replace = [&](const std::string& path) { std::filesystem::remove_all(at(path)); };
  replace("etc/small");
  std::filesystem::create_directories(at("etc/small/inside"));
  put_file(at("etc/small/inside/file"), "x");
  replace("etc/private");
  put_file(at("etc/private"), "a file now");
  replace("etc/dangling");
  put_file(at("etc/dangling"), "a file now");
  replace("etc/fifo");
  ASSERT_EQ(::symlink("/etc", at("etc/fifo").c_str()), 0);
  replace("etc/deep");
  ASSERT_EQ(::symlink("/etc", at("etc/deep").c_str()), 0);
  replace("etc/null");
  std::filesystem::create_directories(at("etc/null"));
  restore_exactly();
}

TEST_F(RestoreTest, LogsInADirectoryThatStandsInTheWayAreMovedAside) {
  make_zoo(partition_->path());
  secure();
  ASSERT_EQ(::unlink(at("etc/small").c_str()), 0);
  std::filesystem::create_directories(at("etc/small"));
  put_file(at("etc/small/trial.log"), "an entry of the trial");
  put_file(at("etc/small/settings"), "goes");
  const RestoreReport report = restore_exactly();
  EXPECT_THAT(report.kept.named, ElementsAre(HasSubstr("etc/small (moved to .slotkeeper/kept/1-small)")));
  EXPECT_EQ(contents_of(at(".slotkeeper/kept/1-small/trial.log")), "an entry of the trial");
  EXPECT_FALSE(std::filesystem::exists(at(".slotkeeper/kept/1-small/settings")));
  ASSERT_TRUE(release_reserve(*partition_->open()).has_value());
  EXPECT_EQ(contents_of(at(".slotkeeper/kept/1-small/trial.log")), "an entry of the trial");
}

TEST_F(RestoreTest, DirectoryOnTheWayToStateIsMadeAgainWithItsAttributes) {
  classes_.rules.insert(classes_.rules.begin(),
                        {.name = "cursor", .kind = ClassKind::state, .match = {"log/sub/cursor"}, .keep_days = {}});
  std::filesystem::create_directories(at("log/sub"));
  ASSERT_EQ(::chmod(at("log/sub").c_str(), 0710), 0);
  ASSERT_EQ(::chown(at("log/sub").c_str(), 11, 12), 0);
  put_file(at("log/sub/cursor"), "17");
  put_file(at("log/sub/x"), "log");
  secure();
  std::filesystem::remove_all(at("log"));
  put_file(at("log"), "a log file where the directory was");
  const RestoreReport report = restore();
  EXPECT_EQ(contents_of(at("log/sub/cursor")), "17");
  struct stat facts {};
  ASSERT_EQ(::stat(at("log/sub").c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 07777, 0710U);
  EXPECT_EQ(facts.st_uid, 11U);
  EXPECT_EQ(facts.st_gid, 12U);
  EXPECT_EQ(contents_of(at(".slotkeeper/kept/1-log")), "a log file where the directory was");
  EXPECT_THAT(report.kept.named, ElementsAre(HasSubstr("log (moved to")));
  EXPECT_FALSE(restore().changed);
}

TEST_F(RestoreTest, HardLinksAreMadeAndBroken) {
  make_zoo(partition_->path());
  secure();
  ASSERT_EQ(::unlink(at("etc/linked-b").c_str()), 0);
  put_file(at("etc/linked-b"), "no longer the same file");
  restore_exactly();
  append_file(at("state/linked-c"), "all three change");
  restore_exactly();
  ASSERT_EQ(::link(at("etc/linked-a").c_str(), at("etc/another").c_str()), 0);
  restore_exactly();
  // What were two files becomes one.
  ASSERT_EQ(::unlink(at("etc/tool").c_str()), 0);
  ASSERT_EQ(::link(at("etc/small").c_str(), at("etc/tool").c_str()), 0);
  restore_exactly();
  // The first name goes, and the others with it in spirit.
  ASSERT_EQ(::unlink(at("etc/linked-a").c_str()), 0);
  restore_exactly();
}

TEST_F(RestoreTest, ALogThatWasLinkedToAConfigFileIsCutLoose) {
  make_zoo(partition_->path());
  secure();
  ASSERT_EQ(::link(at("etc/small").c_str(), at("log/alias").c_str()), 0);
  restore_exactly();
  append_file(at("log/alias"), "a later entry");
  EXPECT_EQ(difference(before_, listing()), "");
  EXPECT_THAT(contents_of(at("log/alias")), HasSubstr("a later entry"));
}

TEST_F(RestoreTest, SoIsAFileWithSeveralNamesButNotOneThatALogWasLinkedToBefore) {
  make_zoo(partition_->path());
  ASSERT_EQ(::link(at("etc/small").c_str(), at("log/known").c_str()), 0);
  secure();
  EXPECT_FALSE(restore().changed);
  ASSERT_EQ(::link(at("etc/linked-b").c_str(), at("log/alias").c_str()), 0);
  const RestoreReport report = restore();
  EXPECT_THAT(report.replaced.named, UnorderedElementsAre("etc/linked-a", "etc/linked-b", "state/linked-c"));
  append_file(at("log/alias"), "a later entry");
  EXPECT_EQ(difference(before_, listing()), "");
  EXPECT_TRUE(std::filesystem::equivalent(at("etc/small"), at("log/known")));
  ASSERT_EQ(::link(at("etc/small").c_str(), at("log/another").c_str()), 0);
  EXPECT_THAT(restore().replaced.named, ElementsAre("etc/small"));
  EXPECT_FALSE(std::filesystem::equivalent(at("etc/small"), at("log/another")));
}

TEST_F(RestoreTest, WhatLiesBelowAMountPointIsLeftAlone) {
  std::filesystem::create_directories(at("etc/mounted/below"));
  put_file(at("etc/mounted/below/file"), "hidden by the mount while the snapshot is taken");
  put_file(at("etc/x"), "x");
  {
    const PermanentPartition other;
    const MountedFilesystem mounted(other.path(), at("etc/mounted"), "bind");
    secure();
  }
  put_file(at("etc/x"), "trial");
  const RestoreReport report = restore();
  EXPECT_THAT(report.replaced.named, ElementsAre("etc/x"));
  EXPECT_THAT(report.removed.named, IsEmpty());
  EXPECT_EQ(contents_of(at("etc/x")), "x");
  EXPECT_EQ(contents_of(at("etc/mounted/below/file")), "hidden by the mount while the snapshot is taken");
}

TEST_F(RestoreTest, SucceedsOnAPartitionWithNeitherAByteNorAnInodeFree) {
  for (const bool inodes_too : {false, true}) {
    use({.size_bytes = 12u << 20, .inodes = 1024});
    make_zoo(partition_->path());
    secure(128 * 1024);
    // The trial turns everything over, then fills what is left.
    std::filesystem::create_directories(at("log/flood"));
    put_file(at("log/flood/filler"), "");
    std::filesystem::create_directories(at("log/many"));
    std::filesystem::remove_all(at("etc/private"));
    std::filesystem::remove_all(at("etc/deep"));
    std::filesystem::remove_all(at("etc/shared"));
    ASSERT_EQ(::unlink(at("etc/long-link").c_str()), 0);
    ASSERT_EQ(::unlink(at("etc/block").c_str()), 0);
    put_file(at("etc/big"), "short");
    append_file(at("etc/small"), "trial");
    append_file(at("etc/attributes"), "trial");
    append_file(at("etc/linked-a"), "trial");
    for (int byte = 1; byte < 256; ++byte) {
      if (byte != '/') append_file(at("etc/names/n") + static_cast<char>(byte) + "n", "trial");
    }
    append_file(at("state/leases.db"), "trial");
    if (inodes_too) fill_inodes(at("log/many"));
    fill_bytes(at("log/flood"));
    ::sync();
    struct statvfs space {};
    ASSERT_EQ(::statvfs(partition_->path().c_str(), &space), 0);
    EXPECT_EQ(space.f_ffree == 0, inodes_too);
    ASSERT_LT(space.f_bavail, 4U);
    restore_exactly();
  }
}

TEST_F(RestoreTest, WithoutAReserveItWorksWhileThereIsRoom) {
  make_zoo(partition_->path());
  secure();
  ASSERT_TRUE(release_reserve(*partition_->open()).has_value());
  append_file(at("etc/small"), "trial");
  ASSERT_EQ(::unlink(at("etc/fifo").c_str()), 0);
  restore_exactly();
}

TEST_F(RestoreTest, WithoutAReserveAndRoomItIsIncompleteAndNothingIsTouched) {
  make_zoo(partition_->path());
  secure();
  ASSERT_TRUE(release_reserve(*partition_->open()).has_value());
  append_file(at("etc/small"), "trial");
  append_file(at("etc/big"), "trial");
  const TreeListing trial = listing();
  std::filesystem::create_directories(at("log/flood"));
  fill_bytes(at("log/flood"));
  const auto refused = try_restore();
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.assume_error().code, Errc::restore_incomplete);
  EXPECT_EQ(std::get<std::string>(refused.assume_error().details.at(0).value), "storage-full");
  EXPECT_EQ(difference(trial, listing()), "");
  std::filesystem::remove_all(at("log/flood"));
  restore_exactly();
}

TEST_F(RestoreTest, RefusesASnapshotThatIsNotTheRecordedOne) {
  make_zoo(partition_->path());
  secure();
  append_file(at("etc/small"), "trial");
  const TreeListing trial = list_tree(partition_->path(), {.inode_changes = true});
  facts_.protected_root.bytes[0] ^= std::byte{1};
  EXPECT_EQ(try_restore().assume_error().code, Errc::readback_mismatch);
  facts_.protected_root.bytes[0] ^= std::byte{1};
  area_.flip_bit_at(area_.length() / 2);
  EXPECT_THAT(try_restore().assume_error().code, AnyOf(Errc::state_store, Errc::readback_mismatch));
  EXPECT_EQ(difference(trial, list_tree(partition_->path(), {.inode_changes = true})), "");
}

TEST_F(RestoreTest, ASnapshotThatReadsDifferentlyLaterIsNeverPutIntoPlace) {
  std::filesystem::create_directories(at("etc"));
  for (const char* name : {"etc/a", "etc/b", "etc/c"}) put_file(at(name), "original");
  secure();
  for (const char* name : {"etc/a", "etc/b", "etc/c"}) put_file(at(name), "of the trial");
  // The same entries with other contents, and other entries.
  MemoryArea contents(1 << 20);
  MemoryArea names(1 << 20);
  const auto take = [&](StoreArea& area) {
    const auto describe = [](const SnapshotFacts&) { return "{}"; };
    ASSERT_TRUE(take_snapshot(*partition_->open(), classes_, area, describe, progress_).has_value());
  };
  take(contents);
  ASSERT_EQ(::rename(at("etc/b").c_str(), at("etc/bb").c_str()), 0);
  take(names);
  ASSERT_EQ(::rename(at("etc/bb").c_str(), at("etc/b").c_str()), 0);
  const TreeListing trial = listing();
  for (MemoryArea* other : {&contents, &names}) {
    // To compare, to build, to verify what was built; the last one verifies what was put into place.
    for (int nth = 1; nth <= 3; ++nth) {
      ChangingArea area(area_, *other, nth);
      const auto refused = try_restore(area);
      ASSERT_FALSE(refused.has_value()) << nth;
      EXPECT_EQ(area.readings(), nth == 1 ? 1 : 3);
      EXPECT_EQ(refused.assume_error().code, nth == 1 ? Errc::readback_mismatch : Errc::restore_incomplete);
      EXPECT_EQ(difference(trial, listing()), "") << nth;
    }
  }
  ChangingArea area(area_, contents, 4);
  EXPECT_EQ(try_restore(area).assume_error().code, Errc::restore_incomplete);
  restore_exactly();
}

TEST_F(RestoreTest, RefusesAClassTableThatDoesNotFit) {
  make_zoo(partition_->path());
  secure();
  append_file(at("etc/small"), "trial");
  classes_.rules.insert(classes_.rules.begin(),
                        {.name = "x", .kind = ClassKind::log, .match = {"etc/small"}, .keep_days = {}});
  const auto refused = try_restore();
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.assume_error().code, Errc::restore_incomplete);
  EXPECT_THAT(refused.assume_error().message, HasSubstr("etc/small"));
}

TEST_F(RestoreTest, LeavesNothingBehindOnceTheReserveIsReleased) {
  make_zoo(partition_->path());
  secure();
  std::filesystem::remove_all(at("etc"));
  restore_exactly();
  ASSERT_TRUE(release_reserve(*partition_->open()).has_value());
  EXPECT_TRUE(std::filesystem::is_empty(at(".slotkeeper")));
}

}  // namespace
}  // namespace slotkeeper::permanent
