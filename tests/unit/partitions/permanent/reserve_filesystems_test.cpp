// A rollback on a partition that the trial filled to the last byte and the last inode, as root, with the power cut in
// its middle: on ext4 of every sort, and what xfs and btrfs give.
#include <algorithm>
#include <filesystem>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/fault_storage.hpp"
#include "tests/support/restore_rig.hpp"

namespace slotkeeper::permanent {
namespace {

using namespace slotkeeper::test;  // NOLINT: the words of the tests

constexpr std::uint64_t kMiB = 1u << 20;
constexpr std::uint64_t kSlackBytes = 256 * 1024;

/// More of what takes blocks and inodes of its own: attributes beside the inode, access lists, links that do not fit.
void make_hungry_tree(const std::string& root, bool large_attributes) {
  make_zoo(root);
  std::filesystem::create_directories(root + "/hungry/sub");
  for (int number = 0; number < 12; ++number) {
    const std::string path = root + "/hungry/" + std::to_string(number);
    put_file(path, noise(static_cast<std::size_t>(number) * 37, static_cast<std::uint64_t>(number)));
    for (int attribute = 0; attribute < 6; ++attribute) {
      put_attribute(path, "user.number-" + std::to_string(attribute),
                    noise(large_attributes ? 100 : 20,
                          static_cast<std::uint64_t>(number) * 10 + static_cast<std::uint64_t>(attribute)));
    }
    run_tool({"setfacl", "-m", "u:" + std::to_string(5000 + number) + ":rwx", path});
    std::filesystem::create_symlink(std::string(100 + static_cast<std::size_t>(number) * 20, 'x'), path + ".link");
    std::filesystem::create_directories(root + "/hungry/sub/" + std::to_string(number) + "/deeper");
    run_tool({"setfacl", "-d", "-m", "u:" + std::to_string(6000 + number) + ":rx",
              root + "/hungry/sub/" + std::to_string(number)});
  }
}

/// Every entry of configuration and state is changed or gone, then nothing is left free.
void ruin(const std::string& root, bool inodes_are_limited, bool metadata_too) {
  std::filesystem::create_directories(root + "/log/many");
  put_file(root + "/log/filler", "");
  std::filesystem::remove_all(root + "/hungry");
  std::filesystem::remove_all(root + "/etc/private");
  std::filesystem::remove_all(root + "/etc/deep");
  std::filesystem::remove_all(root + "/etc/shared");
  for (const char* gone : {"etc/long-link", "etc/fifo", "etc/null", "etc/socket", "etc/dangling", "state/linked-c"}) {
    std::filesystem::remove(root + "/" + gone);
  }
  put_file(root + "/etc/big", "short");
  put_file(root + "/etc/sparse", noise(1000, 9));
  for (const char* longer : {"etc/small", "etc/attributes", "etc/linked-a", "etc/empty", "etc/tool", "-first"}) {
    append_file(root + "/" + longer, "trial");
  }
  for (int byte = 1; byte < 256; ++byte) {
    if (byte != '/') append_file(root + "/etc/names/n" + static_cast<char>(byte) + "n", "trial");
  }
  append_file(root + "/state/leases.db", "trial");
  append_file(root + "/log/system.log", "entry of the trial\n");
  ::sync();
  if (inodes_are_limited) fill_inodes(root + "/log/many");
  fill_bytes(root + "/log");
  ::sync();
  if (!inodes_are_limited && metadata_too) fill_inodes(root + "/log/many");
  fill_bytes(root + "/log");  // what became free because something was written down more tightly than it was promised
  ::sync();
  ASSERT_TRUE(is_full(root + "/log/filler"));
}

struct Variant {
  const char* name;
  Ext4Options ext4;
  OtherFilesystem other;  ///< instead, where it has a name
  bool large_attributes = true;
  int cuts = 2;
  bool metadata_too = true;  ///< fill it up with empty files, too
};

const Variant kVariants[] = {
    {.name = "Ext4With1KiBBlocks", .ext4 = {.size_bytes = 16 * kMiB, .block_bytes = 1024, .inodes = 1600}, .other = {}},
    {.name = "Ext4With4KiBBlocks",
     .ext4 = {.size_bytes = 32 * kMiB, .block_bytes = 4096, .inodes = 1600},
     .other = {},
     .cuts = 5},
    {.name = "Ext4WithReservedBlocks",
     .ext4 = {.size_bytes = 32 * kMiB, .block_bytes = 4096, .inodes = 1600, .reserved_percent = 5},
     .other = {}},
    {.name = "Ext4WithSmallInodes",
     .ext4 = {.size_bytes = 16 * kMiB, .block_bytes = 1024, .inodes = 1600, .inode_bytes = 128},
     .other = {}},
    {.name = "Ext4WithInlineData",
     .ext4 =
         {.size_bytes = 32 * kMiB, .block_bytes = 4096, .inodes = 1600, .inode_bytes = 256, .features = "inline_data"},
     .other = {}},
    {.name = "Ext4WithInlineDataAndLargeInodes",
     .ext4 =
         {.size_bytes = 16 * kMiB, .block_bytes = 1024, .inodes = 1600, .inode_bytes = 512, .features = "inline_data"},
     .other = {}},
    {.name = "Ext4WithoutExtents",
     .ext4 = {.size_bytes = 16 * kMiB, .block_bytes = 1024, .inodes = 1600, .features = "^extent,^64bit"},
     .other = {}},
};

class FullPartition : public testing::TestWithParam<Variant> {
 protected:
  void SetUp() override {
    if (!may_mount()) GTEST_SKIP() << "needs root for loop devices and mounts";
  }
  static std::unique_ptr<PermanentPartition> make(const Variant& variant) {
    if (variant.other.name.empty()) return std::make_unique<PermanentPartition>(variant.ext4);
    return std::make_unique<PermanentPartition>(variant.other);
  }
};

TEST_P(FullPartition, IsRolledBackAlsoAfterAPowerCut) {
  const Variant& variant = GetParam();
  RestoreRig rig(make(variant));
  const std::string root = rig.partition().path();
  make_hungry_tree(root, variant.large_attributes);
  ASSERT_NO_FATAL_FAILURE(rig.secure(kSlackBytes));
  ASSERT_NO_FATAL_FAILURE(ruin(root, variant.other.name.empty(), variant.metadata_too));
  struct statvfs space {};
  ASSERT_EQ(::statvfs(root.c_str(), &space), 0);
  if (variant.other.name.empty()) {
    ASSERT_EQ(space.f_ffree, 0U);
  }

  const auto base = rig.partition().after_power_cut();
  const auto real = io::make_posix_storage();
  FaultStorage faults(*real);
  {
    const auto full = base->after_power_cut();
    auto counted = faults.open_directory(full->path());
    const auto report = rig.restore(*counted.assume_value());
    ASSERT_TRUE(report.has_value()) << report.assume_error().message;
    rig.restore_exactly(*full);
    EXPECT_THAT(contents_of(full->path() + "/log/system.log"), testing::HasSubstr("entry of the trial"));
  }
  const std::uint64_t calls = faults.calls();
  for (int number = 1; number <= variant.cuts; ++number) {
    const std::uint64_t cut = calls * static_cast<std::uint64_t>(number) / static_cast<std::uint64_t>(variant.cuts + 1);
    SCOPED_TRACE("power cut after call " + std::to_string(cut) + " of " + std::to_string(calls));
    const auto trial = base->after_power_cut();
    faults.reset();
    faults.cut_power_after(cut);
    if (auto cut_off = faults.open_directory(trial->path()); cut_off.has_value()) {
      ASSERT_FALSE(rig.restore(*cut_off.assume_value()).has_value());
    }
    const auto rebooted = trial->after_power_cut();
    rig.restore_exactly(*rebooted);
    EXPECT_THAT(contents_of(rebooted->path() + "/log/system.log"), testing::HasSubstr("entry of the trial"));
    if (HasFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(Ext4, FullPartition, testing::ValuesIn(kVariants),
                         [](const auto& variant) { return std::string(variant.param.name); });

const Variant kOthers[] = {
    {.name = "Xfs", .ext4 = {}, .other = {.name = "xfs", .size_bytes = 64 * kMiB, .arguments = {"--unsupported"}}},
    {.name = "BtrfsWithRoomForMetadata",
     .ext4 = {},
     .other = {.name = "btrfs", .size_bytes = 160 * kMiB},
     .metadata_too = false},
};

INSTANTIATE_TEST_SUITE_P(Others, FullPartition, testing::ValuesIn(kOthers),
                         [](const auto& variant) { return std::string(variant.param.name); });

TEST(FullBtrfs, StopsWithEveryFileWholeUntilSomethingIsDeleted) {
  if (!may_mount()) GTEST_SKIP() << "needs root for loop devices and mounts";
  // Contents and metadata share their space, so that both run out together.
  RestoreRig rig(std::make_unique<PermanentPartition>(
      OtherFilesystem{.name = "btrfs", .size_bytes = 64 * kMiB, .arguments = {"--mixed"}}));
  const std::string root = rig.partition().path();
  make_hungry_tree(root, true);
  ASSERT_NO_FATAL_FAILURE(rig.secure(kSlackBytes));
  ASSERT_NO_FATAL_FAILURE(ruin(root, false, true));
  const TreeListing trial = rig.listing(rig.partition());
  const auto refused = rig.restore();
  if (!refused.has_value()) {  // which it is depends on where the last blocks went
    EXPECT_EQ(refused.assume_error().code, Errc::restore_incomplete);
    rig.expect_old_or_restored(trial);
    std::filesystem::remove(root + "/log/filler");
    std::filesystem::remove_all(root + "/log/many");
    ::sync();
  }
  rig.restore_exactly();
  std::printf("at once: %s\n", refused.has_value() ? "yes" : "no");
}

}  // namespace
}  // namespace slotkeeper::permanent
