// What happens to the permanent partition while the target is being written: the update ends at once, for the right
// reason, and has given its reserve back.
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <sys/statvfs.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/loopback/device_rig.hpp"
#include "tests/loopback/storm.hpp"

namespace slotkeeper::test {
namespace {

using testing::HasSubstr;

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20U;

class WhileStaging : public testing::Test {
 protected:
  void SetUp() override {
    if (!may_mount()) GTEST_SKIP() << "loop devices and mounts need root";
    make_device(std::chrono::milliseconds(100));
  }
  /// So slow that staging takes longer than what a test does meanwhile, however busy the machine.
  void make_device(std::chrono::milliseconds for_each_write) {
    device.reset();
    device = std::make_unique<DeviceRig>(RigSettings{.permanent_bytes = 32 * kMiB, .slow_target = for_each_write});
    device->edit_configuration("reserve = \"256 KiB\"", "reserve = \"2 MiB\"");
    before = device->protected_files();
  }

  /// Begins an install and holds it in the middle of staging.
  std::unique_ptr<Program> install_to_staging() {
    auto install = std::make_unique<Program>(device->command({"install", bundle()}));
    const bool staging = install->read_until(progress_of("stage", 1));
    install->signal(SIGSTOP);
    if (!staging) {
      install->signal(SIGCONT);
      ADD_FAILURE() << install->finish().story();
    }
    EXPECT_TRUE(reserve_is_there());
    return install;
  }
  static std::string bundle() { return Material::get().bundle("2.0.0"); }
  [[nodiscard]] bool reserve_is_there() const {
    return std::filesystem::exists(device->permanent(".slotkeeper/reserve"));
  }
  [[nodiscard]] std::uint64_t available() const {
    struct statvfs space {};
    if (::statvfs(device->permanent().c_str(), &space) != 0) throw std::runtime_error("no figures");
    return std::uint64_t{space.f_bavail} * space.f_frsize;
  }

  void expect_rolled_back(const Answer& answer, const std::string& code) {
    EXPECT_EQ(answer.exit_status, 5) << answer.story();
    EXPECT_EQ(answer.code(), code) << answer.story();
    EXPECT_EQ(answer.outcome(), "rolled-back") << answer.story();
    EXPECT_EQ(answer.text("error/phase"), "stage") << answer.story();
    EXPECT_EQ(difference(before, device->protected_files()), "");
    EXPECT_EQ(device->variable("BOOT_ORDER"), "A");
    EXPECT_EQ(device->variable("BOOT_B_LEFT"), "0");
    EXPECT_FALSE(device->comes_up('B'));
  }

  std::unique_ptr<DeviceRig> device;
  Fingerprint before;
};

TEST_F(WhileStaging, AFullPartitionEndsTheUpdate) {
  auto install = install_to_staging();
  write_file(device->permanent("log/system/flood.log"), std::string(available() - 64 * 1024, 'f'));
  install->signal(SIGCONT);
  const Answer answer = install->finish();
  expect_rolled_back(answer, "storage-full");
  EXPECT_FALSE(reserve_is_there());
  EXPECT_GT(available(), 2 * kMiB) << "the reserve was not given back";
  EXPECT_EQ(answer.text("error/detail/unit"), "bytes");
}

TEST_F(WhileStaging, NoMoreInodesEndTheUpdate) {
  auto install = install_to_staging();
  std::filesystem::create_directory(device->permanent("log/many"));
  struct statvfs space {};
  ASSERT_EQ(::statvfs(device->permanent().c_str(), &space), 0);
  for (std::uint64_t i = 0; i + 2 < space.f_ffree; ++i) {
    write_file(device->permanent("log/many/" + std::to_string(i)), "");
  }
  install->signal(SIGCONT);
  const Answer answer = install->finish();
  std::filesystem::remove_all(device->permanent("log/many"));  // nobody has to read them all
  expect_rolled_back(answer, "storage-full");
  EXPECT_EQ(answer.text("error/detail/unit"), "inodes");
  EXPECT_FALSE(reserve_is_there());
}

TEST_F(WhileStaging, GrowthWithinTheRoomIsOnlyReported) {
  auto install = install_to_staging();
  write_file(device->permanent("log/system/much.log"), std::string(3 * kMiB, 'm'));
  install->signal(SIGCONT);
  const Answer answer = install->finish();
  EXPECT_EQ(answer.exit_status, 0) << answer.story();
  EXPECT_EQ(answer.outcome(), "armed");
  EXPECT_THAT(answer.output, HasSubstr("that were forecast; there is room for it so far"));
}

TEST_F(WhileStaging, ARemountToReadOnlyEndsTheUpdate) {
  auto install = install_to_staging();
  run_tool({"mount", "-o", "remount,ro", device->permanent()});
  install->signal(SIGCONT);
  expect_rolled_back(install->finish(), "read-only");
  // Nobody can remove the reserve from a partition that is read-only; the next recovery does.
  run_tool({"mount", "-o", "remount,rw", device->permanent()});
  const Answer recovered = device->run({"recover"});
  EXPECT_EQ(recovered.exit_status, 0) << recovered.story();
  EXPECT_FALSE(reserve_is_there());
  EXPECT_EQ(difference(before, device->protected_files()), "");
}

TEST_F(WhileStaging, ANewErrorOfTheFilesystemEndsTheUpdateAndStopsTheNext) {
  auto install = install_to_staging();
  const std::string name = std::filesystem::path(device->permanent_device()).filename();
  std::ofstream("/sys/fs/ext4/" + name + "/trigger_fs_error") << "made by a test" << std::flush;
  install->signal(SIGCONT);
  const Answer answer = install->finish();
  expect_rolled_back(answer, "io-error");
  EXPECT_THAT(answer.message(), HasSubstr("counted 1 new errors"));
  EXPECT_FALSE(reserve_is_there());
  const Answer next = device->install(bundle());
  EXPECT_EQ(next.exit_status, 3) << next.story();
  EXPECT_EQ(next.code(), "storage-worn");
  EXPECT_THAT(next.message(), HasSubstr("has counted 1 errors"));
}

/// The precursor of the incident: a flood of log entries that would fill the partition.
TEST_F(WhileStaging, AFloodGetsTheReserveBeforeOneOfItsWritesFails) {
  make_device(std::chrono::milliseconds(500));
  auto install = install_to_staging();
  const std::uint64_t room = available();
  LogWriter flood(device->permanent(), "log/security/flood.log", 16 * kMiB);
  install->signal(SIGCONT);
  const Answer answer = install->finish();
  expect_rolled_back(answer, "storage-full");
  EXPECT_FALSE(reserve_is_there());
  const WriterReport report = flood.wait_for_failure();
  EXPECT_TRUE(report.failed) << "the flood goes on until the partition is full";
  EXPECT_FALSE(report.reserve_was_there_at_failure) << "a log write failed for the reserve's sake";
  EXPECT_GT(report.written_bytes, room + 2 * kMiB) << "what was in the reserve was not to be had";
}

}  // namespace
}  // namespace slotkeeper::test
