// Power cuts, I/O errors and a full filesystem at every call of reserve and restore.
#include <filesystem>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "partitions/permanent/reserve.hpp"
#include "partitions/permanent/restore.hpp"
#include "tests/support/crash_stride.hpp"
#include "tests/support/fault_storage.hpp"
#include "tests/support/memory_area.hpp"
#include "tests/support/permanent_partition.hpp"
#include "tests/support/tree_listing.hpp"

namespace slotkeeper::permanent {
namespace {

using namespace slotkeeper::test;  // NOLINT: the words of the tests

constexpr std::uint64_t kSlackBytes = 16 * 1024;

/// A partition in memory: what is tested is the order of our calls, and syncs cost nothing here.
class MemoryFilesystem {
 public:
  MemoryFilesystem() {
    if (::mount("none", folder_.path().c_str(), "tmpfs", 0, "size=16m,mode=755") != 0)
      throw std::runtime_error("mount");
  }
  MemoryFilesystem(const MemoryFilesystem&) = delete;
  MemoryFilesystem& operator=(const MemoryFilesystem&) = delete;
  ~MemoryFilesystem() { ::umount2(folder_.path().c_str(), MNT_DETACH); }
  [[nodiscard]] const std::string& path() const { return folder_.path(); }

 private:
  TemporaryDirectory folder_;
};

class RestoreFault : public testing::Test {
 protected:
  void SetUp() override {
    if (!may_mount()) GTEST_SKIP() << "needs root for mounts";
    prepare();
  }
  virtual std::string make_filesystem() {
    filesystem_ = std::make_unique<MemoryFilesystem>();
    return filesystem_->path();
  }

  void prepare() {
    root_ = make_filesystem();
    make_originals();
    ASSERT_TRUE(make_own_directory(*open(*real_)).has_value());
    auto facts = take_snapshot(
        *open(*real_), classes_, area_, [](const SnapshotFacts&) { return "{}"; }, progress_);
    ASSERT_TRUE(facts.has_value()) << facts.assume_error().message;
    facts_ = facts.assume_value();
    before_ = listing(true);
  }

  void make_originals() {
    for (const char* folder : {"etc", "etc/gone", "state", "log"}) std::filesystem::create_directories(at(folder));
    put_file(at("etc/changed"), "original");
    put_file(at("etc/mode"), "same contents");
    put_file(at("etc/gone/file"), "deleted by the trial");
    put_file(at("etc/first"), "linked");
    ASSERT_EQ(::link(at("etc/first").c_str(), at("etc/second").c_str()), 0);
    ASSERT_EQ(::symlink("target", at("etc/link").c_str()), 0);
    put_file(at("etc/becomes-folder"), "a file");
    put_file(at("state/db"), noise(9000, 3));
    put_attribute(at("etc/changed"), "trusted.a", "1");
    put_file(at("log/x.log"), "1\n");
  }

  /// What a trial may do to them; on top of the originals.
  void make_trial() {
    put_file(at("etc/changed"), "changed by the trial");
    put_attribute(at("etc/changed"), "trusted.a", "2");
    ASSERT_EQ(::chmod(at("etc/mode").c_str(), 0600), 0);
    ASSERT_EQ(::chown(at("etc/mode").c_str(), 5, 6), 0);
    std::filesystem::remove_all(at("etc/gone"));
    put_file(at("etc/first"), "linked and changed");
    ASSERT_EQ(::unlink(at("etc/link").c_str()), 0);
    ASSERT_EQ(::symlink("elsewhere", at("etc/link").c_str()), 0);
    ASSERT_EQ(::unlink(at("etc/becomes-folder").c_str()), 0);
    std::filesystem::create_directories(at("etc/becomes-folder"));
    put_file(at("etc/becomes-folder/x.log"), "a log of the trial\n");
    put_file(at("etc/becomes-folder/new"), "new");
    put_file(at("etc/new"), "new");
    put_file(at("state/db"), noise(100, 4));
    put_file(at("log/x.log"), "1\n2\n");
    trial_ = listing(false);
  }

  std::unique_ptr<io::Directory> open(io::Storage& storage) {
    auto opened = storage.open_directory(root_);
    EXPECT_TRUE(opened.has_value());
    return std::move(opened).assume_value();
  }
  Result<RestoreReport> restore(io::Storage& storage) {
    return restore_snapshot(*open(storage), classes_, area_, facts_, progress_);
  }
  void reserve() {
    const auto made = make_reserve(*open(*real_), area_, kSlackBytes, progress_);
    ASSERT_TRUE(made.has_value()) << made.assume_error().message;
  }
  [[nodiscard]] TreeListing listing(bool links) const {
    return list_tree(root_, {.takes = is_restored, .links = links});
  }
  std::string at(const std::string& path) const { return root_ + "/" + path; }

  /// Every configuration file is complete: as the trial left it or as the snapshot has it. One that only one of them
  /// knows may be missing.
  void expect_old_or_restored(const std::string& where) {
    const TreeListing now = listing(false);
    const TreeListing originals = [&] {
      TreeListing lines = before_;
      for (auto& [path, line] : lines) line = line.substr(0, line.find(" same-as="));
      return lines;
    }();
    std::map<std::string, int> paths;
    for (const TreeListing* side : {&originals, static_cast<const TreeListing*>(&trial_)}) {
      for (const auto& [path, line] : *side) ++paths[path];
    }
    for (const auto& [path, line] : now) EXPECT_TRUE(paths.contains(path)) << where << ": " << path << " came up";
    for (const auto& [path, sides] : paths) {
      const auto original = originals.find(path);
      const auto trial = trial_.find(path);
      const auto found = now.find(path);
      if (found == now.end()) {
        const bool was_folder = trial != trial_.end() && trial->second.starts_with("mode=4");
        EXPECT_TRUE(sides == 1 || was_folder) << where << ": " << path << " is missing";
        continue;
      }
      if (found->second.starts_with("mode=4")) continue;  // times of a folder change with what is in it
      const bool complete = (original != originals.end() && found->second == original->second) ||
                            (trial != trial_.end() && found->second == trial->second);
      EXPECT_TRUE(complete) << where << ": " << path << " is neither: " << found->second;
    }
    expect_logs(where);
  }

  void expect_logs(const std::string& where) {
    EXPECT_EQ(contents_of(at("log/x.log")), "1\n2\n") << where;
    int copies = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root_)) {
      if (entry.path().filename() == "x.log" && contents_of(entry.path()) == "a log of the trial\n") ++copies;
    }
    EXPECT_EQ(copies, 1) << where;
  }

  void expect_restored(const std::string& where) {
    const auto finished = restore(*real_);
    ASSERT_TRUE(finished.has_value()) << where << ": " << finished.assume_error().message;
    EXPECT_EQ(difference(before_, listing(true)), "") << where;
    expect_logs(where);
    const auto again = restore(*real_);
    ASSERT_TRUE(again.has_value());
    EXPECT_FALSE(again.assume_value().changed) << where;
    ASSERT_TRUE(release_reserve(*open(*real_)).has_value());
    std::filesystem::remove_all(at(".slotkeeper/kept"));
    put_time(root_, 0, 0);
    ASSERT_TRUE(restore(*real_).has_value());
  }

  std::unique_ptr<io::Storage> real_ = io::make_posix_storage();
  std::unique_ptr<MemoryFilesystem> filesystem_;
  std::string root_;
  MemoryArea area_{1 << 20};
  SilentProgress progress_;
  ClassTable classes_ = usual_classes();
  SnapshotFacts facts_;
  TreeListing before_;
  TreeListing trial_;
};

TEST_F(RestoreFault, PowerCutAfterEveryCall) {
  FaultStorage faults(*real_);
  for (std::uint64_t cut = 1;; cut += crash_stride()) {
    const std::string where = "cut after call " + std::to_string(cut);
    reserve();
    make_trial();
    faults.reset();
    faults.cut_power_after(cut);
    const auto outcome = restore(faults);
    if (faults.faults_met() == 0) {
      EXPECT_TRUE(outcome.has_value());
      EXPECT_GT(cut, 200U);  // else this swept over next to nothing
      std::uint64_t syncs = 0;
      for (const auto& [site, calls] : faults.calls_by_site()) {
        if (site.operation == "sync_filesystem") syncs += calls;
      }
      EXPECT_EQ(syncs,
                4U);  // when there is room, when all is built, when all is in place, when directories are settled
      break;
    }
    ASSERT_FALSE(outcome.has_value()) << where;
    expect_old_or_restored(where);
    expect_restored(where);
    if (HasFailure()) break;
  }
}

TEST_F(RestoreFault, PowerCutInARestoreThatContinuesOne) {
  FaultStorage faults(*real_);
  for (std::uint64_t cut = 7;; cut += 7) {
    const std::string where = "second cut after call " + std::to_string(cut);
    reserve();
    make_trial();
    faults.reset();
    faults.cut_power_after(cut * 3 / 2);
    if (restore(faults).has_value()) break;
    faults.reset();
    faults.cut_power_after(cut);
    if (!restore(faults).has_value()) expect_old_or_restored(where);
    expect_restored(where);
    if (HasFailure()) break;
  }
}

TEST_F(RestoreFault, AnErrorOfAnyCallIsReportedAndNothingIsLost) {
  for (const int os_errno : {EIO, ENOSPC}) {
    FaultStorage faults(*real_);
    for (std::uint64_t nth = 1;; nth += crash_stride()) {
      const std::string where = "errno " + std::to_string(os_errno) + " at call " + std::to_string(nth);
      reserve();
      make_trial();
      faults.reset();
      auto root = open(faults);
      faults.reset();
      faults.set({.file = {}, .operation = {}, .nth = nth, .os_errno = os_errno});
      const auto outcome = restore_snapshot(*root, classes_, area_, facts_, progress_);
      if (faults.faults_met() == 0) {
        EXPECT_GT(nth, 200U);
        expect_restored(where);
        break;
      }
      ASSERT_FALSE(outcome.has_value()) << where;
      EXPECT_EQ(outcome.assume_error().code, Errc::restore_incomplete) << where;
      EXPECT_EQ(outcome.assume_error().details.back().name, "cause");
      expect_old_or_restored(where);
      expect_restored(where);
      if (HasFailure()) return;
    }
  }
}

TEST_F(RestoreFault, AReplacementThatReadsBackDifferentlyIsNeverPutIntoPlace) {
  FaultStorage faults(*real_);
  int before_any_rename = 0;
  int after_the_last_one = 0;
  for (std::uint64_t nth = 1;; ++nth) {
    const std::string where = "flipped bit in read " + std::to_string(nth);
    reserve();
    make_trial();
    faults.reset();
    faults.flip_bit_in_read(nth, 12345);
    const auto outcome = restore(faults);
    const bool met = faults.faults_met() > 0;
    if (met && !outcome.has_value()) {
      EXPECT_EQ(std::get<std::string>(outcome.assume_error().details.back().value), "readback-mismatch") << where;
      expect_old_or_restored(where);
      if (difference(trial_, listing(false)).empty()) ++before_any_rename;
      if (difference(before_, listing(true)).empty()) ++after_the_last_one;
    }
    expect_restored(where);
    if (!met || HasFailure()) break;
  }
  EXPECT_EQ(before_any_rename, 6);   // one for each file that was built
  EXPECT_GE(after_the_last_one, 6);  // the restore verifies itself
}

/// The same on real ext4, and the power goes for good: what was not synced is lost.
class RestoreCrash : public RestoreFault {
 protected:
  std::string make_filesystem() override {
    partition_ = std::make_unique<PermanentPartition>(Ext4Options{.size_bytes = 2u << 20, .inodes = 128});
    return partition_->path();
  }
  /// Looks at the partition as the next boot finds it, with `check`.
  void after_power_cut(const std::function<void()>& check) {
    const auto copy = partition_->after_power_cut();
    const std::string original = std::exchange(root_, copy->path());
    check();
    root_ = original;
  }
  std::unique_ptr<PermanentPartition> partition_;
};

TEST_F(RestoreCrash, PowerCutLosesNothingThatCounts) {
  const std::uint64_t step = 5 * crash_stride();  // about 60 crash states
  FaultStorage faults(*real_);
  for (std::uint64_t cut = step;; cut += step) {
    const std::string where = "power gone after call " + std::to_string(cut);
    reserve();
    make_trial();
    ::sync();
    faults.reset();
    faults.cut_power_after(cut);
    const auto outcome = restore(faults);
    const bool finished = faults.faults_met() == 0;
    EXPECT_EQ(outcome.has_value(), finished);
    after_power_cut([&] {
      if (finished) {
        EXPECT_EQ(difference(before_, listing(true)), "") << where;
      } else {
        expect_old_or_restored(where);
      }
      expect_restored(where);
    });
    expect_restored(where);
    if (finished || HasFailure()) break;
  }
}

TEST_F(RestoreCrash, AReserveIsWholeAfterAPowerCut) {
  reserve();
  after_power_cut([&] { EXPECT_TRUE(reserve_is_whole(*open(*real_), area_).assume_value()); });
  ASSERT_TRUE(release_reserve(*open(*real_)).has_value());
  after_power_cut([&] { EXPECT_TRUE(std::filesystem::is_empty(at(".slotkeeper"))); });
}

TEST_F(RestoreFault, PowerCutAfterEveryCallOfTheReserve) {
  FaultStorage faults(*real_);
  for (std::uint64_t cut = 1;; ++cut) {
    ASSERT_TRUE(release_reserve(*open(*real_)).has_value());
    faults.reset();
    faults.cut_power_after(cut);
    const auto made = make_reserve(*open(faults), area_, kSlackBytes, progress_);
    if (faults.faults_met() == 0) {
      EXPECT_TRUE(made.has_value());
      EXPECT_GT(cut, 30U);
      break;
    }
    ASSERT_FALSE(made.has_value());
    reserve();
    EXPECT_TRUE(reserve_is_whole(*open(*real_), area_).assume_value()) << cut;
  }
}

TEST_F(RestoreFault, AnErrorOfAnyCallOfTheReserveIsReported) {
  FaultStorage faults(*real_);
  for (std::uint64_t nth = 1;; ++nth) {
    ASSERT_TRUE(release_reserve(*open(*real_)).has_value());
    auto root = open(faults);
    faults.reset();
    faults.set({.file = {}, .operation = {}, .nth = nth, .os_errno = EIO});
    const auto made = make_reserve(*root, area_, kSlackBytes, progress_);
    if (faults.faults_met() == 0) break;
    EXPECT_FALSE(made.has_value()) << nth;
  }
}

TEST_F(RestoreFault, PowerCutAfterEveryCallOfTheRelease) {
  FaultStorage faults(*real_);
  for (std::uint64_t cut = 1;; ++cut) {
    reserve();
    faults.reset();
    faults.cut_power_after(cut);
    const auto released = release_reserve(*open(faults));
    ASSERT_TRUE(release_reserve(*open(*real_)).has_value());
    EXPECT_TRUE(std::filesystem::is_empty(at(".slotkeeper")));
    if (faults.faults_met() == 0) {
      EXPECT_TRUE(released.has_value());
      break;
    }
    EXPECT_FALSE(released.has_value());
  }
}

}  // namespace
}  // namespace slotkeeper::permanent
