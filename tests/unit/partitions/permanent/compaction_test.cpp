#include "partitions/permanent/compaction.hpp"

#include <fcntl.h>
#include <filesystem>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/fault_storage.hpp"
#include "tests/support/memory_area.hpp"
#include "tests/support/permanent_partition.hpp"
#include "tests/support/tree_listing.hpp"

namespace slotkeeper::permanent {
namespace {

using namespace slotkeeper::test;  // NOLINT: the words of the tests
using testing::ElementsAre;
using testing::IsEmpty;

class CompactionTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!may_mount()) GTEST_SKIP() << "needs root for loop devices and mounts";
    use({});
  }
  void use(const Ext4Options& options) {
    partition_.reset();
    partition_ = std::make_unique<PermanentPartition>(options);
    std::filesystem::create_directories(at("spool/sub"));
  }
  Result<CompactionPlan> try_plan(io::Storage& storage, const CompactionLimits& limits = {.now = {}}) {
    SK_TRY_ASSIGN(const auto root, storage.open_directory(partition_->path()));
    SK_TRY_ASSIGN(Inventory inventory, take_inventory(*root, usual_classes(), HashScope::nothing, progress_));
    return plan_compaction(*root, std::move(inventory), usual_classes(), limits);
  }
  CompactionPlan plan(std::vector<std::pair<std::uint64_t, std::uint64_t>> keep = {}) {
    auto made = try_plan(partition_->storage(), {.now = {}, .keep = std::move(keep)});
    EXPECT_TRUE(made.has_value()) << made.assume_error().message;
    return made.has_value() ? std::move(made).assume_value() : CompactionPlan{};
  }
  CompactionReport carry_out(const CompactionPlan& plan) {
    auto report = permanent::carry_out(*partition_->open(), plan, scratch(), progress_);
    EXPECT_TRUE(report.has_value()) << report.assume_error().message;
    return report.has_value() ? std::move(report).assume_value() : CompactionReport{};
  }
  static std::vector<std::string> paths(const CompactionPlan& plan) {
    std::vector<std::string> all;
    for (const auto& action : plan.actions) all.emplace_back(plan.path(action));
    return all;
  }
  struct stat facts_of(const std::string& path) const {
    struct stat facts {};
    EXPECT_EQ(::stat(at(path).c_str(), &facts), 0) << path;
    return facts;
  }
  bool exists(const std::string& path) const { return ::access(at(path).c_str(), F_OK) == 0; }
  std::string at(const std::string& path) const { return *partition_ / path; }

  ScratchAreas scratch() { return {first_, second_}; }
  static std::vector<std::string> paths(const LeftAloneList& list) {
    std::vector<std::string> all;
    for (const auto& left : list.named()) all.push_back(left.path);
    return all;
  }

  std::unique_ptr<PermanentPartition> partition_;
  MemoryArea first_{128 * 1024};
  MemoryArea second_{128 * 1024};
  SilentProgress progress_;
};

TEST_F(CompactionTest, RemovesDisposableFilesAndNothingElse) {
  put_file(at("spool/package"), noise(50'000, 1));
  put_file(at("spool/sub/left-over"), noise(10'000, 2));
  put_file(at("spool/empty"), "");
  ASSERT_EQ(::symlink("package", at("spool/link").c_str()), 0);
  ASSERT_EQ(::mkfifo(at("spool/fifo").c_str(), 0600), 0);
  put_file(at("settings"), "config");
  std::filesystem::create_directories(at("log"));
  put_file(at("log/x"), "log");
  ::sync();
  const TreeListing before = list_tree(partition_->path(), {.times = false});
  const CompactionPlan planned = plan();
  EXPECT_EQ(difference(before, list_tree(partition_->path(), {.times = false})), "");
  EXPECT_THAT(paths(planned), ElementsAre("spool/empty", "spool/package", "spool/sub/left-over"));
  const CompactionReport report = carry_out(planned);
  EXPECT_EQ(report.removed_files, 3U);
  EXPECT_EQ(report.freed.inodes, 3U);
  EXPECT_EQ(report.freed.bytes, planned.frees.bytes);
  EXPECT_GE(report.freed.bytes, 60'000U);
  TreeListing expected = before;
  for (const std::string& path : paths(planned)) expected.erase(path);
  EXPECT_EQ(difference(expected, list_tree(partition_->path(), {.times = false})), "");
  EXPECT_THAT(plan().actions, IsEmpty());
}

TEST_F(CompactionTest, LeavesFilesThatSomebodyHasOpenAlone) {
  for (const int flags : {O_RDONLY, O_WRONLY, O_RDWR}) {
    put_file(at("spool/open"), "x");
    put_file(at("spool/closed"), "x");
    const int file = ::open(at("spool/open").c_str(), flags | O_CLOEXEC);
    ASSERT_GE(file, 0);
    const CompactionPlan planned = plan();
    EXPECT_THAT(paths(planned), ElementsAre("spool/closed"));
    EXPECT_THAT(paths(planned.left_alone), ElementsAre("spool/open"));
    carry_out(planned);
    ::close(file);
    EXPECT_TRUE(exists("spool/open"));
    EXPECT_FALSE(exists("spool/closed"));
  }
}

TEST_F(CompactionTest, LeavesFilesThatAreOpenedAfterThePlanAlone) {
  put_file(at("spool/package"), "x");
  const CompactionPlan planned = plan();
  const int file = ::open(at("spool/package").c_str(), O_RDONLY | O_CLOEXEC);
  const CompactionReport report = carry_out(planned);
  ::close(file);
  EXPECT_EQ(report.removed_files, 0U);
  EXPECT_THAT(paths(report.left_alone), ElementsAre("spool/package"));
  EXPECT_TRUE(exists("spool/package"));
}

TEST_F(CompactionTest, KeepsTheBundleByIdentity) {
  put_file(at("spool/bundle"), "x");
  put_file(at("spool/old"), "x");
  const struct stat bundle = facts_of("spool/bundle");
  const CompactionPlan planned = plan({{bundle.st_dev, bundle.st_ino}});
  EXPECT_THAT(paths(planned), ElementsAre("spool/old"));
  EXPECT_THAT(paths(planned.left_alone), IsEmpty());
}

TEST_F(CompactionTest, LeavesFilesWithSeveralNamesAlone) {
  put_file(at("settings"), "x");
  ASSERT_EQ(::link(at("settings").c_str(), at("spool/alias").c_str()), 0);
  put_file(at("spool/later"), "x");
  const CompactionPlan planned = plan();
  EXPECT_THAT(paths(planned), ElementsAre("spool/later"));
  ASSERT_EQ(::link(at("spool/later").c_str(), at("other-name").c_str()), 0);
  EXPECT_EQ(carry_out(planned).removed_files, 0U);
  EXPECT_TRUE(exists("spool/later"));
}

TEST_F(CompactionTest, LeavesWhatIsNotThePlannedFileAnyMoreAlone) {
  for (const char* path : {"grown", "grown-in-secret", "touched", "replaced", "gone", "folder", "link", "sub/x"}) {
    put_file(at(std::string("spool/") + path), "x");
  }
  const CompactionPlan planned = plan();
  append_file(at("spool/grown"), "y");
  const struct stat secret = facts_of("spool/grown-in-secret");
  append_file(at("spool/grown-in-secret"), "y");
  put_time(at("spool/grown-in-secret"), secret.st_mtim.tv_sec, secret.st_mtim.tv_nsec);
  put_time(at("spool/touched"), 5, 5);
  const struct stat original = facts_of("spool/replaced");
  put_file(at("spool/new"), "y");  // as large and as old
  put_time(at("spool/new"), original.st_mtim.tv_sec, original.st_mtim.tv_nsec);
  ASSERT_EQ(::rename(at("spool/new").c_str(), at("spool/replaced").c_str()), 0);
  ASSERT_EQ(::unlink(at("spool/gone").c_str()), 0);
  ASSERT_EQ(::unlink(at("spool/folder").c_str()), 0);
  ASSERT_EQ(::mkdir(at("spool/folder").c_str(), 0755), 0);
  put_file(at("settings"), "config");
  ASSERT_EQ(::unlink(at("spool/link").c_str()), 0);
  ASSERT_EQ(::symlink("../settings", at("spool/link").c_str()), 0);
  // A whole directory is swapped for a link that leads to configuration.
  std::filesystem::remove_all(at("spool/sub"));
  std::filesystem::create_directories(at("etc"));
  put_file(at("etc/x"), "x");
  ASSERT_EQ(::symlink("../etc", at("spool/sub").c_str()), 0);
  const CompactionReport report = carry_out(planned);
  EXPECT_EQ(report.removed_files, 0U);
  EXPECT_EQ(report.left_alone.count(), 8U);
  for (const char* path :
       {"settings", "etc/x", "spool/grown", "spool/grown-in-secret", "spool/touched", "spool/replaced"}) {
    EXPECT_TRUE(exists(path)) << path;
  }
}

TEST_F(CompactionTest, WorksWithNeitherAByteNorAnInodeFree) {
  use({.size_bytes = 4u << 20, .inodes = 128});
  put_file(at("spool/package"), noise(300'000, 1));
  put_file(at("spool/sub/another"), noise(300'000, 2));
  std::filesystem::create_directories(at("log/flood"));
  put_file(at("log/flood/filler"), "");
  fill_inodes(at("log/flood"));
  fill_bytes(at("log/flood"));
  ::sync();
  struct statvfs space {};
  ASSERT_EQ(::statvfs(partition_->path().c_str(), &space), 0);
  ASSERT_EQ(space.f_ffree, 0U);
  ASSERT_LT(space.f_bavail, 4U);
  const CompactionReport report = carry_out(plan());
  EXPECT_EQ(report.removed_files, 2U);
  EXPECT_GE(report.freed.bytes, 600'000U);
  put_file(at("log/again"), "there is room again");
}

TEST_F(CompactionTest, RemovalsAreDurableWhenItReturns) {
  put_file(at("spool/package"), "x");
  put_file(at("spool/sub/another"), "x");
  ::sync();
  carry_out(plan());
  const auto later = partition_->after_power_cut();
  EXPECT_NE(::access((*later / "spool/package").c_str(), F_OK), 0);
  EXPECT_NE(::access((*later / "spool/sub/another").c_str(), F_OK), 0);
}

TEST_F(CompactionTest, AnErrorOfAnyCallIsReported) {
  FaultStorage faults(partition_->storage());
  const auto refill = [&] {
    put_file(at("spool/package"), "x");
    put_file(at("spool/sub/another"), "x");
    put_file(at("settings"), "config");
  };
  for (const bool while_planning : {true, false}) {
    for (std::uint64_t nth = 1;; ++nth) {
      refill();
      const CompactionPlan planned = plan();
      faults.reset();
      auto root = faults.open_directory(partition_->path());
      ASSERT_TRUE(root.has_value());
      faults.reset();
      faults.set({.file = {}, .operation = {}, .nth = nth, .os_errno = EIO});
      const bool failed = while_planning
                              ? !try_plan(faults).has_value()
                              : !permanent::carry_out(*root.assume_value(), planned, scratch(), progress_).has_value();
      const bool met = faults.faults_met() > 0;
      EXPECT_EQ(failed, met) << nth;
      EXPECT_TRUE(exists("settings"));
      if (!met) {
        EXPECT_GT(nth, 4U);
        break;
      }
    }
  }
}

TEST_F(CompactionTest, EndsWhenCancelled) {
  class Cancelled final : public ProgressSink {
    void progress(Phase, std::uint64_t, std::uint64_t) override {}
    void notice(std::string_view) override {}
    [[nodiscard]] bool cancel_requested() const override { return true; }
  } cancelled;
  put_file(at("spool/package"), "x");
  const auto report = permanent::carry_out(*partition_->open(), plan(), scratch(), cancelled);
  ASSERT_FALSE(report.has_value());
  EXPECT_EQ(report.assume_error().code, Errc::cancelled);
  EXPECT_TRUE(exists("spool/package"));
}

}  // namespace
}  // namespace slotkeeper::permanent
