// The kernel's /sys is played by a folder; what this machine has no disk for is written there as the kernel writes it.
#include "partitions/io/posix_disk_health.hpp"

#include <filesystem>
#include <fstream>
#include <sys/mount.h>
#include <sys/sysmacros.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/comes_true.hpp"
#include "tests/support/loop_device.hpp"
#include "tests/support/temporary_directory.hpp"
#include "tests/support/unwrap.hpp"

namespace slotkeeper::io {
namespace {

namespace fs = std::filesystem;
using test::comes_true;
using test::error_of;
using test::ok;
using testing::ElementsAre;
using testing::IsEmpty;

class DiskHealth : public testing::Test {
 protected:
  void attribute(const std::string& path, const std::string& text) const {
    fs::create_directories(fs::path(sys_ / path).parent_path());
    std::ofstream(sys_ / path) << text;
  }
  /// Number of a device whose folder stands at `path` below /sys/devices.
  std::uint64_t device(const std::string& path, unsigned int major_number, unsigned int minor_number) const {
    const std::string number = std::to_string(major_number) + ":" + std::to_string(minor_number);
    fs::create_directories(sys_ / "dev/block");
    fs::create_directories(sys_ / ("devices/" + path));
    fs::create_directory_symlink("../../devices/" + path, sys_ / ("dev/block/" + number));
    attribute("devices/" + path + "/ro", "0\n");
    return makedev(major_number, minor_number);
  }
  /// An eMMC with one partition; returns the partition.
  std::uint64_t emmc_partition() const {
    device(kCard, 179, 0);
    attribute(kCardFolder + "/device/life_time", "0x01 0x03\n");
    attribute(kCardFolder + "/device/pre_eol_info", "0x01\n");
    const std::uint64_t partition = device(kCard + "/mmcblk0p3", 179, 3);
    attribute(kCardFolder + "/mmcblk0p3/partition", "3\n");
    return partition;
  }
  [[nodiscard]] StorageHealth health(std::uint64_t number) const {
    return ok(health_of_device(*storage_, sys_.path(), number));
  }

  const std::string kCard = "platform/mmc0/mmc0:0001/block/mmcblk0";
  const std::string kCardFolder = "devices/" + kCard;
  test::TemporaryDirectory sys_;
  std::unique_ptr<Storage> storage_ = make_posix_storage();
};

TEST_F(DiskHealth, OfAPartitionIsThatOfItsDiskTheWorseMemoryCounts) {
  const StorageHealth found = health(emmc_partition());
  ASSERT_EQ(found.disks.size(), 1U);
  EXPECT_EQ(found.disks[0].disk, "mmcblk0");
  EXPECT_EQ(found.disks[0].life_time, 3U);
  EXPECT_EQ(found.disks[0].pre_eol, 1U);
  EXPECT_THAT(found.read_only, IsEmpty());
}

TEST_F(DiskHealth, ReadsHexadecimalBeyondNine) {
  const std::uint64_t partition = emmc_partition();
  attribute(kCardFolder + "/device/life_time", "0x0b 0x0A\n");
  EXPECT_EQ(health(partition).disks[0].life_time, 11U);
}

TEST_F(DiskHealth, ZeroMeansNotDefined) {
  const std::uint64_t partition = emmc_partition();
  attribute(kCardFolder + "/device/life_time", "0x00 0x00\n");
  attribute(kCardFolder + "/device/pre_eol_info", "0x00\n");
  EXPECT_EQ(health(partition).disks[0].life_time, std::nullopt);
  EXPECT_EQ(health(partition).disks[0].pre_eol, std::nullopt);
}

TEST_F(DiskHealth, ADiskWithoutFiguresIsListedWithoutThem) {
  const StorageHealth found = health(device("pci/ata1/block/sda", 8, 0));
  ASSERT_EQ(found.disks.size(), 1U);
  EXPECT_EQ(found.disks[0].disk, "sda");
  EXPECT_EQ(found.disks[0].life_time, std::nullopt);
  EXPECT_EQ(found.disks[0].pre_eol, std::nullopt);
}

TEST_F(DiskHealth, RefusesFiguresThatAreNone) {
  const std::uint64_t partition = emmc_partition();
  attribute(kCardFolder + "/device/life_time", "0x01 worn\n");
  const Error error = error_of(health_of_device(*storage_, sys_.path(), partition));
  EXPECT_EQ(error.code, Errc::io_error);
  EXPECT_NE(error.message.find("life_time"), std::string::npos) << error.message;
}

TEST_F(DiskHealth, NamesPartitionsAndDisksThatAreReadOnly) {
  const std::uint64_t partition = emmc_partition();
  attribute(kCardFolder + "/ro", "1\n");
  EXPECT_THAT(health(partition).read_only, ElementsAre("mmcblk0"));
  attribute(kCardFolder + "/mmcblk0p3/ro", "1\n");
  EXPECT_THAT(health(partition).read_only, ElementsAre("mmcblk0p3", "mmcblk0"));
}

TEST_F(DiskHealth, LooksThroughStackedDevicesAndListsEachDiskOnce) {
  emmc_partition();
  device("virtual/block/dm-0", 253, 0);
  device("virtual/block/dm-1", 253, 1);
  for (const char* top : {"dm-0", "dm-1"}) {
    fs::create_directories(sys_ / ("devices/virtual/block/" + std::string(top) + "/slaves"));
  }
  fs::create_directory_symlink("../../../../" + kCard + "/mmcblk0p3",
                               sys_ / "devices/virtual/block/dm-0/slaves/mmcblk0p3");
  fs::create_directory_symlink("../../../../" + kCard, sys_ / "devices/virtual/block/dm-1/slaves/mmcblk0");
  fs::create_directory_symlink("../../dm-0", sys_ / "devices/virtual/block/dm-1/slaves/dm-0");
  const StorageHealth found = health(makedev(253, 1));
  ASSERT_EQ(found.disks.size(), 1U);
  EXPECT_EQ(found.disks[0].disk, "mmcblk0");
}

TEST_F(DiskHealth, ADeviceThatSysfsDoesNotKnowTellsNothing) {
  EXPECT_THAT(health(makedev(7, 200)).disks, IsEmpty());
  EXPECT_EQ(ok(bytes_written_to_device(*storage_, sys_.path(), makedev(7, 200))), std::nullopt);
}

TEST_F(DiskHealth, CountsBytesWrittenInSectorsOf512) {
  const std::uint64_t partition = emmc_partition();
  attribute(kCardFolder + "/mmcblk0p3/stat", "  100  0  800  5  40  9  2048  77  0  5  82  0 0 0 0 0 0\n");
  EXPECT_EQ(ok(bytes_written_to_device(*storage_, sys_.path(), partition)), 2048U * 512U);
  attribute(kCardFolder + "/mmcblk0p3/stat", "100 0 800\n");
  EXPECT_EQ(error_of(bytes_written_to_device(*storage_, sys_.path(), partition)).code, Errc::io_error);
}

class RealHealth : public testing::Test {
 protected:
  void SetUp() override {
    if (!test::may_mount()) GTEST_SKIP() << "needs root for loop devices";
    test::make_ext4(folder_ / "image", 4U << 20U);
    loop_ = std::make_unique<test::LoopDevice>(folder_ / "image");
    mounted_ = std::make_unique<test::MountedFilesystem>(loop_->path(), folder_ / "mounted");
  }
  test::TemporaryDirectory folder_;
  std::unique_ptr<test::LoopDevice> loop_;
  std::unique_ptr<test::MountedFilesystem> mounted_;
  std::unique_ptr<Storage> storage_ = make_posix_storage();
};

TEST_F(RealHealth, SeesARemountAndAReadOnlyDevice) {
  EXPECT_THAT(ok(storage_->health_of(mounted_->path())).read_only, IsEmpty());
  test::run_tool({"mount", "-o", "remount,ro", mounted_->path()});
  EXPECT_THAT(ok(storage_->health_of(mounted_->path())).read_only, ElementsAre("ext4 at " + mounted_->path()));
  test::run_tool({"blockdev", "--setro", loop_->path()});
  EXPECT_THAT(ok(storage_->health_of(loop_->path())).read_only, ElementsAre(fs::path(loop_->path()).filename()));
  test::run_tool({"blockdev", "--setrw", loop_->path()});
}

TEST_F(RealHealth, CountsErrorsThatTheFilesystemMet) {
  EXPECT_EQ(ok(storage_->filesystem_errors(mounted_->path())), 0U);
  std::ofstream("/sys/fs/ext4/" + fs::path(loop_->path()).filename().native() + "/trigger_fs_error") << "made to rise";
  // ext4 counts in the background.
  EXPECT_TRUE(comes_true([&] { return ok(storage_->filesystem_errors(mounted_->path())) == 1U; }));
}

TEST_F(RealHealth, SeesWhatWasWrittenToTheDeviceAndNotWhatIsStillInTheCache) {
  const auto before = ok(storage_->bytes_written(mounted_->path()));
  ASSERT_TRUE(before);
  test::run_tool({"dd", "if=/dev/zero", "of=" + mounted_->path() + "/file", "bs=64K", "count=16", "conv=fsync"});
  const auto after = ok(storage_->bytes_written(mounted_->path()));
  EXPECT_GE(*after - *before, 1U << 20U);
  EXPECT_LT(*after - *before, 2U << 20U);
  EXPECT_EQ(ok(storage_->bytes_written(loop_->path())), after);
}

TEST_F(RealHealth, AFilesystemInMemoryTellsNothing) {
  fs::create_directory(folder_ / "memory");
  ASSERT_EQ(::mount("slotkeeper-test", (folder_ / "memory").c_str(), "tmpfs", 0, "size=1m"), 0);
  const auto health = storage_->health_of(folder_ / "memory");
  const auto written = storage_->bytes_written(folder_ / "memory");
  ASSERT_EQ(::umount((folder_ / "memory").c_str()), 0);
  EXPECT_THAT(ok(health).disks, IsEmpty());
  EXPECT_THAT(ok(health).read_only, IsEmpty());
  EXPECT_EQ(ok(written), std::nullopt);
}

}  // namespace
}  // namespace slotkeeper::io
