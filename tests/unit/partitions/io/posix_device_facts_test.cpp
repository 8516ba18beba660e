#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <fstream>
#include <optional>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "partitions/io/storage.hpp"
#include "tests/support/comes_true.hpp"
#include "tests/support/loop_device.hpp"
#include "tests/support/temporary_directory.hpp"
#include "tests/support/unwrap.hpp"

namespace slotkeeper::io {
namespace {

using test::comes_true;
using test::error_of;
using test::LoopDevice;
using test::MountedFilesystem;
using test::ok;
using test::TemporaryDirectory;

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20U;

class DeviceFacts : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!test::may_mount()) GTEST_SKIP() << "needs root for loop devices";
  }
  std::string image(const std::string& name) {
    test::make_ext4(folder_ / name, 4 * kMiB);
    return folder_ / name;
  }
  bool lists(const DeviceIdentity& identity, const std::string& member) {
    return std::find(identity.backing.begin(), identity.backing.end(), member) != identity.backing.end();
  }
  TemporaryDirectory folder_;
  std::unique_ptr<Storage> storage_ = make_posix_storage();
};

TEST_F(DeviceFacts, IdentifiesAFileAndTheLoopDevicesOverIt) {
  const std::string file = image("image");
  const LoopDevice first(file);
  const LoopDevice second(file);
  const LoopDevice other(image("other"));
  const DeviceIdentity file_identity = ok(storage_->identify(file));
  const DeviceIdentity first_identity = ok(storage_->identify(first.path()));
  EXPECT_FALSE(file_identity.is_block_device);
  EXPECT_EQ(file_identity.file_inode, ok(storage_->status_of(file)).inode);
  EXPECT_TRUE(first_identity.is_block_device);
  EXPECT_EQ(first_identity.device, ok(storage_->status_of(first.path())).node_device);
  EXPECT_EQ(first_identity.backing.size(), 2U);
  EXPECT_TRUE(first_identity.overlaps(file_identity));
  EXPECT_TRUE(first_identity.overlaps(ok(storage_->identify(second.path()))));
  EXPECT_FALSE(first_identity.overlaps(ok(storage_->identify(other.path()))));
  EXPECT_FALSE(file_identity.overlaps(ok(storage_->identify(folder_ / "other"))));
  ASSERT_EQ(::symlink(first.path().c_str(), (folder_ / "label").c_str()), 0);
  EXPECT_EQ(ok(storage_->identify(folder_ / "label")).device, first_identity.device);
}

TEST_F(DeviceFacts, FindsTheFileBelowALoopDeviceAfterItWasRenamed) {
  const std::string file = image("image");
  const LoopDevice loop(file);
  ASSERT_EQ(::rename(file.c_str(), (folder_ / "renamed").c_str()), 0);
  EXPECT_TRUE(ok(storage_->identify(loop.path())).overlaps(ok(storage_->identify(folder_ / "renamed"))));
}

TEST_F(DeviceFacts, IdentifiesADirectoryByItsFilesystem) {
  const std::string file = image("image");
  const LoopDevice loop(file);
  const MountedFilesystem mounted(loop.path(), folder_ / "mounted");
  const DeviceIdentity identity = ok(storage_->identify(mounted.path()));
  EXPECT_EQ(identity.device, ok(storage_->identify(loop.path())).device);
  EXPECT_TRUE(identity.overlaps(ok(storage_->identify(file))));
  EXPECT_EQ(error_of(storage_->identify(folder_ / "absent")).os_errno, ENOENT);
  EXPECT_EQ(error_of(storage_->identify("/dev/null")).os_errno, EINVAL);
}

TEST_F(DeviceFacts, LooksThroughAnOverlay) {
  const LoopDevice lower(image("lower"));
  const LoopDevice upper(image("upper"));
  const MountedFilesystem lower_mounted(lower.path(), folder_ / "l,o:w");
  const MountedFilesystem upper_mounted(upper.path(), folder_ / "up");
  for (const char* name : {"/up/u", "/up/w", "/top"}) ASSERT_EQ(::mkdir((folder_.path() + name).c_str(), 0755), 0);
  const std::string options =
      "lowerdir=" + (folder_ / "l\\,o\\:w") + ",upperdir=" + (folder_ / "up/u") + ",workdir=" + (folder_ / "up/w");
  ASSERT_EQ(::mount("overlay", (folder_ / "top").c_str(), "overlay", 0, options.c_str()), 0);
  const auto identity = storage_->identify(folder_ / "top");
  ASSERT_EQ(::umount((folder_ / "top").c_str()), 0);
  const DeviceIdentity found = ok(identity);
  EXPECT_TRUE(found.overlaps(ok(storage_->identify(lower.path()))));
  EXPECT_TRUE(found.overlaps(ok(storage_->identify(upper.path()))));
  EXPECT_EQ(found.device, ok(storage_->identify(lower.path())).device);
}

TEST_F(DeviceFacts, KeepsPartitionsOfOneDiskApart) {
  test::make_file(folder_ / "disk", 8 * kMiB);
  const LoopDevice loop(folder_ / "disk", true);
  // Told to the kernel directly, since not every kernel reads partition tables; start and length in sectors.
  test::run_tool({"addpart", loop.path(), "1", "2048", "4096"});
  test::run_tool({"addpart", loop.path(), "2", "6144", "4096"});
  const std::string first = loop.path() + "p1";
  const std::string second = loop.path() + "p2";
  EXPECT_EQ(ok(storage_->identify(first)).backing.size(), 1U);
  EXPECT_FALSE(ok(storage_->identify(first)).overlaps(ok(storage_->identify(second))));
  test::run_tool({"mkfs.ext4", "-q", "-F", first});
  const MountedFilesystem mounted(first, folder_ / "mounted");
  EXPECT_EQ(ok(storage_->holder_of(first)), "mounted at " + mounted.path());
  EXPECT_EQ(ok(storage_->holder_of(second)), "");
  const std::string of_disk = ok(storage_->holder_of(loop.path()));
  EXPECT_NE(of_disk.find("mounted at " + mounted.path()), std::string::npos) << of_disk;
  EXPECT_NE(ok(storage_->holder_of(folder_ / "disk")), "");
}

TEST_F(DeviceFacts, NamesWhoeverHoldsADeviceOrItsFile) {
  const std::string file = image("image");
  const LoopDevice loop(file);
  const LoopDevice twin(file);
  EXPECT_EQ(ok(storage_->holder_of(loop.path())), "");
  EXPECT_EQ(ok(storage_->holder_of(file)), "");
  {
    const MountedFilesystem mounted(loop.path(), folder_ / "a folder");
    EXPECT_EQ(ok(storage_->holder_of(loop.path())), "mounted at " + mounted.path());
    EXPECT_NE(ok(storage_->holder_of(file)).find("mounted at " + mounted.path()), std::string::npos);
    EXPECT_NE(ok(storage_->holder_of(twin.path())).find("mounted at " + mounted.path()), std::string::npos);
  }
  EXPECT_EQ(ok(storage_->holder_of(twin.path())), "");
  EXPECT_EQ(error_of(storage_->holder_of(folder_.path())).os_errno, EINVAL);
}

TEST_F(DeviceFacts, AnExclusiveOpenExcludesOthersAndIsNoticed) {
  const LoopDevice loop(image("image"));
  OpenMode exclusive = OpenMode::read_write();
  exclusive.exclusive = true;
  const auto held = ok(storage_->open_file(loop.path(), exclusive));
  EXPECT_EQ(error_of(storage_->open_file(loop.path(), exclusive)).os_errno, EBUSY);
  EXPECT_EQ(ok(storage_->holder_of(loop.path())), "held by another program or driver");
  ok(held->close());
  EXPECT_EQ(ok(storage_->holder_of(loop.path())), "");
  const MountedFilesystem mounted(loop.path(), folder_ / "mounted");
  const Error error = error_of(storage_->open_file(loop.path(), exclusive));
  EXPECT_EQ(error.code, Errc::io_error);
  EXPECT_EQ(error.os_errno, EBUSY);
}

TEST_F(DeviceFacts, ListsMounts) {
  const LoopDevice loop(image("image"));
  const MountedFilesystem mounted(loop.path(), folder_ / "back\\slash and blank", "ro");
  const std::vector<Mount> mounts = ok(storage_->mounts());
  const auto found = std::find_if(mounts.begin(), mounts.end(),
                                  [&](const Mount& mount) { return mount.mount_point == mounted.path(); });
  ASSERT_NE(found, mounts.end());
  EXPECT_EQ(found->filesystem, "ext4");
  EXPECT_EQ(found->source, loop.path());
  EXPECT_TRUE(found->read_only);
  EXPECT_EQ(found->device, ok(storage_->identify(loop.path())).device);
}

TEST_F(DeviceFacts, CountsTheErrorsOfAFilesystem) {
  const LoopDevice loop(image("image"));
  const MountedFilesystem mounted(loop.path(), folder_ / "mounted", "errors=continue");
  EXPECT_EQ(ok(storage_->filesystem_errors(mounted.path())), std::optional<std::uint64_t>(0));
  EXPECT_EQ(ok(storage_->filesystem_errors("/proc")), std::nullopt);
  const std::string name = loop.path().substr(5);
  const std::string trigger = "/sys/fs/ext4/" + name + "/trigger_fs_error";
  std::ofstream(trigger) << "a test";
  // ext4 counts in the background.
  EXPECT_TRUE(comes_true([&] { return ok(storage_->filesystem_errors(mounted.path())) == 1U; }));
}

TEST_F(DeviceFacts, FindsTheDeviceOfTheRoot) {
  struct stat root {};
  ASSERT_EQ(::stat("/", &root), 0);
  const DeviceIdentity identity = ok(storage_->root_device());
  if (identity.is_block_device && root.st_dev > 255) {
    EXPECT_EQ(identity.device, root.st_dev);
  }
  EXPECT_EQ(identity.is_block_device, !identity.backing.empty());
}

TEST_F(DeviceFacts, NamesTheProcessThatHoldsALockAndNotTheOneThatWaits) {
  const std::string path = folder_ / "lock";
  const auto file = ok(storage_->open_file(path, OpenMode::create_new(0600)));
  EXPECT_EQ(ok(storage_->lock_holder(path)), std::nullopt);
  ASSERT_TRUE(ok(file->try_lock(LockKind::shared)));
  EXPECT_EQ(ok(storage_->lock_holder(path)), std::nullopt) << "a shared lock is not an exclusive one";
  ASSERT_TRUE(ok(file->try_lock(LockKind::exclusive)));
  EXPECT_EQ(ok(storage_->lock_holder(path)), ::getpid());
  EXPECT_EQ(error_of(storage_->lock_holder(folder_ / "absent")).os_errno, ENOENT);
}

}  // namespace
}  // namespace slotkeeper::io
