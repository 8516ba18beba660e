// What a trial may do to the permanent partition besides editing: move, split and compress its logs, protect files,
// mount over them.
#include <filesystem>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "partitions/permanent/trial_logs.hpp"
#include "tests/support/crash_stride.hpp"
#include "tests/support/fault_storage.hpp"
#include "tests/support/restore_rig.hpp"

namespace slotkeeper::permanent {
namespace {

using namespace slotkeeper::test;  // NOLINT: the words of the tests
using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::UnorderedElementsAre;

TEST(TrialLogs, KnowsWhatRotationAndCompressionPutBehindAName) {
  EXPECT_EQ(without_rotation("a/x.log"), "a/x.log");
  EXPECT_EQ(without_rotation("a/x.log.1"), "a/x.log");
  EXPECT_EQ(without_rotation("a/x.log.zst"), "a/x.log");
  EXPECT_EQ(without_rotation("a/x.log.12.gz"), "a/x.log");
  EXPECT_EQ(without_rotation("a/x.log-20261126"), "a/x.log");
  EXPECT_EQ(without_rotation("a/x.log-20261126.xz"), "a/x.log");
  EXPECT_EQ(without_rotation("a/x.log.2026-11-26"), "a/x.log");
  EXPECT_EQ(without_rotation("a/x1"), "a/x1");
  EXPECT_EQ(without_rotation("1"), "1");
  EXPECT_EQ(without_rotation("-"), "-");
  EXPECT_EQ(without_rotation(""), "");
}

class OddTrial : public testing::Test {
 protected:
  void SetUp() override {
    if (!may_mount()) GTEST_SKIP() << "needs root for loop devices and mounts";
    use({});
  }
  void use(const Ext4Options& options) {
    rig = std::make_unique<RestoreRig>(std::make_unique<PermanentPartition>(options));
    make_zoo(rig->partition().path());
    rig->secure(128 * 1024);
  }
  [[nodiscard]] std::string at(const std::string& path) const { return rig->at(path); }
  /// Contents of every file below .slotkeeper/kept.
  [[nodiscard]] static std::vector<std::string> kept(const std::string& root) {
    std::vector<std::string> contents;
    if (!std::filesystem::exists(root + "/.slotkeeper/kept")) return contents;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root + "/.slotkeeper/kept")) {
      if (entry.is_regular_file()) contents.push_back(contents_of(entry.path()));
    }
    return contents;
  }
  [[nodiscard]] std::vector<std::string> kept() const { return kept(rig->partition().path()); }
  /// The new firmware calls this a log, too.
  void trial_logs_at(const std::string& pattern) {
    rig->trial_classes = rig->classes;
    rig->trial_classes->rules.insert(rig->trial_classes->rules.begin(),
                                     {.name = "new", .kind = ClassKind::log, .match = {pattern}, .keep_days = {}});
  }

  std::unique_ptr<RestoreRig> rig;
};

TEST_F(OddTrial, LogsInAPlaceThatTheOriginalCallsConfigurationAreKept) {
  trial_logs_at("journal/**");
  std::filesystem::create_directories(at("journal/2026/11"));
  put_file(at("journal/2026/11/26"), "entry 1\n");
  put_file(at("journal/2026/11/27"), "entry 2\n");
  put_file(at("journal/current"), "entry 3\n");
  ASSERT_EQ(::symlink("current", at("journal/latest").c_str()), 0);
  const RestoreReport report = rig->restore_exactly();
  EXPECT_THAT(kept(), UnorderedElementsAre("entry 1\n", "entry 2\n", "entry 3\n"));
  EXPECT_EQ(contents_of(at(".slotkeeper/kept/1-journal/2026/11/26")), "entry 1\n");
  EXPECT_THAT(report.kept.named, UnorderedElementsAre("journal (moved to .slotkeeper/kept/1-journal)"));
  EXPECT_THAT(report.removed.named, UnorderedElementsAre("journal/latest"));
}

TEST_F(OddTrial, SettingsBesideSuchLogsGo) {
  trial_logs_at("app/**/*.txt");
  std::filesystem::create_directories(at("app/logs"));
  std::filesystem::create_directories(at("app/settings/empty"));
  put_file(at("app/logs/1.txt"), "entry 1\n");
  put_file(at("app/settings/a.conf"), "of the trial\n");
  put_file(at("etc/shared/b.conf"), "of the trial\n");
  rig->restore_exactly();
  EXPECT_THAT(kept(), UnorderedElementsAre("entry 1\n"));
}

TEST_F(OddTrial, AConfigFileThatBecameALogIsRestoredAndTheLogKept) {
  trial_logs_at("etc/small");
  put_file(at("etc/small"), "entry of the trial\n");
  const RestoreReport report = rig->restore_exactly();
  EXPECT_THAT(kept(), UnorderedElementsAre("entry of the trial\n"));
  EXPECT_THAT(report.kept.named,
              UnorderedElementsAre(HasSubstr("etc/small (its log is now .slotkeeper/kept/1-small)")));
  EXPECT_THAT(report.replaced.named, Contains("etc/small"));
}

TEST_F(OddTrial, ADirectoryThatBecameALogFileIsRestoredAndTheLogKept) {
  trial_logs_at("etc/private");
  std::filesystem::remove_all(at("etc/private"));
  put_file(at("etc/private"), "entry of the trial\n");
  rig->restore_exactly();
  EXPECT_THAT(kept(), UnorderedElementsAre("entry of the trial\n"));
}

TEST_F(OddTrial, ALogFileThatBecameADirectoryOfLogsIsKept) {
  // "etc/trace.log" is a log by its name; by the table alone what is in a directory of that name would be
  // configuration.
  ASSERT_EQ(::unlink(at("etc/trace.log").c_str()), 0);
  std::filesystem::create_directories(at("etc/trace.log/archive"));
  put_file(at("etc/trace.log/current"), "entry 2\n");
  put_file(at("etc/trace.log/archive/0001"), "entry 1\n");
  const RestoreReport report = rig->restore_exactly();
  EXPECT_THAT(kept(), UnorderedElementsAre("entry 1\n", "entry 2\n"));
  EXPECT_THAT(report.removed.named, IsEmpty());
}

TEST_F(OddTrial, RotatedAndCompressedLogsUnderOtherNamesAreKept) {
  put_file(at("etc/trace.log.1"), "entry 1\n");
  put_file(at("etc/trace.log.2.zst"), "entry 0\n");
  put_file(at("log/system.log.1.zst"), "entry of the system log\n");
  put_file(at("etc/settings.1"), "no log\n");
  const RestoreReport report = rig->restore_exactly();
  EXPECT_THAT(kept(), UnorderedElementsAre("entry 1\n", "entry 0\n"));
  EXPECT_EQ(contents_of(at("log/system.log.1.zst")), "entry of the system log\n");
  EXPECT_THAT(report.removed.named, UnorderedElementsAre("etc/settings.1"));
}

TEST_F(OddTrial, AConfigFileThatBecameALinkIntoTheLogsLeavesTheLogAlone) {
  put_file(at("log/moved"), "entry of the trial\n");
  ASSERT_EQ(::unlink(at("etc/small").c_str()), 0);
  ASSERT_EQ(::symlink("../log/moved", at("etc/small").c_str()), 0);
  ASSERT_EQ(::unlink(at("etc/tool").c_str()), 0);
  ASSERT_EQ(::symlink("../log", at("etc/tool").c_str()), 0);
  rig->restore_exactly();
  EXPECT_EQ(contents_of(at("log/moved")), "entry of the trial\n");
}

TEST_F(OddTrial, KeepsLogsWithNeitherAByteNorAnInodeFree) {
  use({.size_bytes = 12u << 20, .inodes = 1024});
  trial_logs_at("journal/**");
  std::filesystem::create_directories(at("journal"));
  put_file(at("journal/current"), "entry\n");
  std::filesystem::remove_all(at("etc/private"));
  put_file(at("log/filler"), "");
  std::filesystem::create_directories(at("log/many"));
  fill_inodes(at("log/many"));
  fill_bytes(at("log"));
  ::sync();
  struct statvfs space {};
  ASSERT_EQ(::statvfs(rig->partition().path().c_str(), &space), 0);
  ASSERT_EQ(space.f_ffree, 0U);
  ASSERT_TRUE(is_full(at("log/filler")));
  rig->restore_exactly();
  EXPECT_THAT(kept(), UnorderedElementsAre("entry\n"));
}

TEST_F(OddTrial, NoCutLosesALogThatWasSetAside) {
  rig = std::make_unique<RestoreRig>(std::make_unique<PermanentPartition>(Ext4Options{.size_bytes = 2u << 20}));
  std::filesystem::create_directories(at("etc"));
  put_file(at("etc/small"), "address\n");
  put_file(at("etc/other"), "other\n");
  rig->secure(16 * 1024);
  trial_logs_at("journal/**");
  rig->trial_classes->rules.front().match.emplace_back("etc/small");
  std::filesystem::create_directories(at("journal"));
  put_file(at("journal/current"), "entry 1\n");
  put_file(at("etc/small"), "entry 2\n");
  ::sync();
  const auto base = rig->partition().after_power_cut();
  const auto count = [](const std::string& root, const std::string& text) {
    int found = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root)) {
      if (entry.is_regular_file() && contents_of(entry.path()) == text) ++found;
    }
    return found;
  };
  const auto real = io::make_posix_storage();
  FaultStorage faults(*real);
  for (std::uint64_t cut = 30;; cut += 2 * crash_stride()) {  // before that the partition is only looked at
    const auto trial = base->after_power_cut();
    faults.reset();
    faults.cut_power_after(cut);
    bool finished = false;
    if (auto root = faults.open_directory(trial->path()); root.has_value()) {
      finished = rig->restore(*root.assume_value()).has_value();
    }
    const auto rebooted = trial->after_power_cut();
    EXPECT_GE(count(rebooted->path(), "entry 1\n"), 1) << cut;
    EXPECT_GE(count(rebooted->path(), "entry 2\n"), 1) << cut;
    rig->restore_exactly(*rebooted);
    EXPECT_THAT(kept(rebooted->path()), UnorderedElementsAre("entry 1\n", "entry 2\n")) << cut;
    if (finished || HasFailure()) break;
  }
  EXPECT_GT(faults.calls(), 80U);
}

// ---- protected entries ----------------------------------------------------------------------------------------------

TEST_F(OddTrial, ImmutableAndAppendOnlyEntriesAreRestoredAllTheSame) {
  append_file(at("etc/small"), "trial");
  append_file(at("etc/big"), "trial");
  ASSERT_EQ(::unlink(at("etc/private/key").c_str()), 0);
  std::filesystem::create_directories(at("etc/new/deep"));
  put_file(at("etc/new/deep/file"), "trial");
  ASSERT_EQ(::unlink(at("etc/dangling").c_str()), 0);
  ASSERT_EQ(::chmod(at("etc/shared").c_str(), 0700), 0);
  append_file(at("etc/linked-a"), "trial");
  run_tool({"chattr", "+i", at("etc/small"), at("etc/private"), at("etc/new/deep/file"), at("etc/new/deep"),
            at("etc/shared"), at("etc/linked-b")});
  run_tool({"chattr", "+a", at("etc/big"), at("etc/new")});
  run_tool({"chattr", "+i", at("etc")});
  rig->restore_exactly();
  EXPECT_THAT(rig->progress.notices, Contains(HasSubstr("etc/small was protected against changes")));
  EXPECT_THAT(run_tool({"lsattr", "-d", at("etc"), at("etc/small"), at("etc/big")}), Not(HasSubstr("-i-")));
}

TEST_F(OddTrial, AWholePartitionMadeImmutableIsRestoredAndReleased) {
  append_file(at("etc/small"), "trial");
  append_file(at("state/leases.db"), "trial");
  ASSERT_EQ(::unlink(at("etc/fifo").c_str()), 0);
  std::filesystem::remove_all(at("etc/deep"));
  // chattr does not open fifos, links and devices; what it cannot protect does not matter here.
  ASSERT_EQ(std::system(("chattr -R -f +i '" + rig->partition().path() + "' 2>/dev/null; true").c_str()), 0);
  ASSERT_NE(::unlink(at("etc/small").c_str()), 0);
  rig->restore_exactly();
  const auto released = release_reserve(*rig->partition().open());
  ASSERT_TRUE(released.has_value()) << released.assume_error().message;
  EXPECT_TRUE(std::filesystem::is_empty(at(".slotkeeper")));
}

// ---- mounts ---------------------------------------------------------------------------------------------------------

TEST_F(OddTrial, AMountOverConfigurationIsNamedBeforeAnythingIsTouched) {
  append_file(at("etc/small"), "trial");
  append_file(at("etc/private/key"), "trial");
  const TreeListing trial = list_tree(rig->partition().path(), {.inode_changes = true});
  {
    const PermanentPartition other;
    const MountedFilesystem mounted(other.path(), at("etc/private"), "bind");
    const auto refused = rig->restore();
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.assume_error().code, Errc::restore_incomplete);
    EXPECT_THAT(refused.assume_error().message, HasSubstr("etc/private: something is mounted over it"));
  }
  EXPECT_EQ(difference(trial, list_tree(rig->partition().path(), {.inode_changes = true})), "");
  rig->restore_exactly();
}

TEST_F(OddTrial, AMountOverAnEmptyDirectoryIsWhatThatDirectoryIsFor) {
  std::filesystem::create_directories(at("etc/mount-point"));
  rig->secure(128 * 1024);
  append_file(at("etc/small"), "trial");
  {
    const PermanentPartition other;
    const MountedFilesystem mounted(other.path(), at("etc/mount-point"), "bind");
    const auto report = rig->restore();
    ASSERT_TRUE(report.has_value()) << report.assume_error().message;
    EXPECT_THAT(report.assume_value().replaced.named, UnorderedElementsAre("etc/small"));
  }
  rig->restore_exactly();
}

}  // namespace
}  // namespace slotkeeper::permanent
