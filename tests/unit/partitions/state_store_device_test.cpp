// The state store on what carries it: new files, devices, real ones too.
#include <cstdlib>
#include <fstream>
#include <unistd.h>

#include <gtest/gtest.h>

#include "partitions/state_store.hpp"
#include "tests/support/loop_device.hpp"
#include "tests/support/memory_storage.hpp"
#include "tests/support/temporary_directory.hpp"

namespace slotkeeper {
namespace {

constexpr std::uint64_t kSize = 4 << 20;
constexpr std::string_view kIdentifier = "3f6c1a52-0f7e-4b1c-9a55-8d6f0f1f2a10";
const std::string kPath = "/store";
using test::MemoryStorage;

TEST(StateStoreDevice, IsUsedAsLargeAsItIs) {
  MemoryStorage storage;
  storage.add_device("/dev/store", 5 * kSize + 512);
  storage.node("/dev/store").contents.assign(5 * kSize + 512, std::byte{0xAA});
  storage.add_symlink("/dev/disk/by-partlabel/store", "/dev/store");
  ASSERT_TRUE(StateStore::format(storage, "/dev/disk/by-partlabel/store", kSize, kIdentifier).has_value());
  const auto opened = StateStore::open(storage, "/dev/disk/by-partlabel/store", StateStore::Access::write);
  ASSERT_TRUE(opened.has_value()) << opened.error().message;
  EXPECT_GT(opened.value()->area(AreaKind::snapshot_first).capacity_bytes(), kSize);
}

TEST(StateStoreDevice, RefusesALinkToAFileAndAHeldDevice) {
  MemoryStorage storage;
  ASSERT_TRUE(StateStore::format(storage, kPath, kSize, kIdentifier).has_value());
  storage.add_symlink("/link", kPath);
  EXPECT_EQ(StateStore::open(storage, "/link", StateStore::Access::read).error().code, Errc::state_store);
  EXPECT_EQ(StateStore::format(storage, "/link", kSize, kIdentifier).error().code, Errc::state_store);
  storage.add_device("/dev/store", kSize);
  storage.holders["/dev/store"] = "mounted at /mnt";
  EXPECT_EQ(StateStore::format(storage, "/dev/store", kSize, kIdentifier).error().code, Errc::busy);
}

TEST(StateStoreFormat, RefusesASizeBelowTheLeastAndMakesNoFile) {
  MemoryStorage storage;
  EXPECT_EQ(StateStore::format(storage, kPath, kStoreSizeMinBytes - 4096, kIdentifier).error().code, Errc::config);
  EXPECT_FALSE(storage.exists(kPath));
  storage.add_device("/dev/small", kStoreSizeMinBytes - 512);
  EXPECT_EQ(StateStore::format(storage, "/dev/small", kSize, kIdentifier).error().code, Errc::config);
}

TEST(StateStoreFormat, EveryFailedSyncIsReported) {
  MemoryStorage counting;
  ASSERT_TRUE(StateStore::format(counting, kPath, kSize, kIdentifier).has_value());
  const std::uint64_t syncs = counting.syncs();
  ASSERT_GT(syncs, 5U);
  for (std::uint64_t failing = 1; failing <= syncs; ++failing) {
    MemoryStorage storage;
    storage.plan_faults({.fail_sync = failing});
    const auto result = StateStore::format(storage, kPath, kSize, kIdentifier);
    ASSERT_FALSE(result.has_value()) << "sync " << failing;
    EXPECT_EQ(result.error().code, Errc::sync_failed) << "sync " << failing;
  }
}

TEST(StateStoreOnRealFile, IsWrittenInFullAndReadByTheUbootTools) {
  const test::TemporaryDirectory folder;
  const auto storage = io::make_posix_storage();
  const std::string path = folder / "store";
  ASSERT_TRUE(StateStore::format(*storage, path, kSize, kIdentifier).has_value());
  const auto status = storage->status_of(path).value();
  EXPECT_EQ(status.size_bytes, kSize);
  EXPECT_GE(status.allocated_bytes, kSize) << "holes would have to be filled during an update";
  EXPECT_EQ(status.mode, 0600U);
  {
    auto opened = StateStore::open(*storage, path, StateStore::Access::write);
    ASSERT_TRUE(opened.has_value()) << opened.error().message;
    StateStore& store = *opened.value();
    ASSERT_TRUE(store.write_record(RecordKind::transaction, R"({"state":"armed"})").has_value());
    ASSERT_TRUE(store.append_history("history").has_value());
    ASSERT_TRUE(store.append_event("event").has_value());
    ASSERT_TRUE(store.write_last_confirmed(SlotId::b).has_value());
    EXPECT_EQ(StateStore::open(*storage, path, StateStore::Access::write).error().code, Errc::busy);
    ASSERT_TRUE(store.close().has_value());
  }
  const auto opened = StateStore::open(*storage, path, StateStore::Access::read);
  ASSERT_TRUE(opened.has_value());
  EXPECT_EQ(opened.value()->read_record(RecordKind::transaction).value()->payload, R"({"state":"armed"})");
  EXPECT_EQ(opened.value()->read_last_confirmed().value(), SlotId::b);

  // The U-Boot tools, where they are installed, read the sector as one environment of 512 bytes.
  if (std::system("command -v fw_printenv > /dev/null") != 0) return;
  std::ofstream(folder / "fw_env.config") << path << " 0x1000 0x200\n";
  const std::string command = "fw_printenv -c " + (folder / "fw_env.config") + " -n slotkeeper_confirmed > " +
                              (folder / "answer") + " 2>/dev/null";
  ASSERT_EQ(std::system(command.c_str()), 0);
  std::string answer;
  std::ifstream(folder / "answer") >> answer;
  EXPECT_EQ(answer, "B");
}

TEST(StateStoreOnLoopDevice, IsFormattedOpenedAndRefusedWhileMounted) {
  if (!test::may_mount()) GTEST_SKIP() << "needs root for loop devices";
  const test::TemporaryDirectory folder;
  test::make_ext4(folder / "disk", kSize);
  const test::LoopDevice device(folder / "disk");
  const auto storage = io::make_posix_storage();
  {
    const test::MountedFilesystem mounted(device.path(), folder / "mnt");
    EXPECT_EQ(StateStore::format(*storage, device.path(), 0, kIdentifier).error().code, Errc::busy);
  }
  EXPECT_EQ(StateStore::open(*storage, device.path(), StateStore::Access::read).error().code, Errc::state_store);
  const auto formatted = StateStore::format(*storage, device.path(), 0, kIdentifier);
  ASSERT_TRUE(formatted.has_value()) << formatted.error().message;
  ASSERT_EQ(::symlink(device.path().c_str(), (folder / "by-label").c_str()), 0);
  const auto opened = StateStore::open(*storage, folder / "by-label", StateStore::Access::write);
  ASSERT_TRUE(opened.has_value()) << opened.error().message;
  ASSERT_TRUE(opened.value()->write_record(RecordKind::facts, "{}").has_value());
  EXPECT_EQ(opened.value()->read_record(RecordKind::facts).value()->payload, "{}");
  EXPECT_EQ(StateStore::open(*storage, device.path(), StateStore::Access::write).error().code, Errc::busy);
  EXPECT_TRUE(opened.value()->close().has_value());
}

TEST(StateStoreOnRealFile, ALinkToAFileIsRefused) {
  const test::TemporaryDirectory folder;
  const auto storage = io::make_posix_storage();
  ASSERT_TRUE(StateStore::format(*storage, folder / "store", kSize, kIdentifier).has_value());
  ASSERT_EQ(::symlink((folder / "store").c_str(), (folder / "link").c_str()), 0);
  EXPECT_EQ(StateStore::open(*storage, folder / "link", StateStore::Access::read).error().code, Errc::state_store);
  EXPECT_EQ(StateStore::open(*storage, folder.path(), StateStore::Access::read).error().code, Errc::state_store);
}

}  // namespace
}  // namespace slotkeeper
