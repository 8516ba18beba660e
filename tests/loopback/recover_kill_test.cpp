// `recover` restores a partition that the trial filled to the last byte, and is killed at random moments, with the
// power going in half of the cases; the next `recover` brings the rest.
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/loopback/device_rig.hpp"
#include "tests/support/permanent_partition.hpp"

namespace slotkeeper::test {
namespace {

using Clock = std::chrono::steady_clock;

unsigned int kills() {
  const char* value = std::getenv("SLOTKEEPER_KILLS");
  return value == nullptr ? 35 : static_cast<unsigned int>(std::max(1L, std::stol(value)));
}

class KilledRecover : public testing::TestWithParam<unsigned int> {
 protected:
  void SetUp() override {
    if (!may_mount()) GTEST_SKIP() << "loop devices and mounts need root";
    device = std::make_unique<DeviceRig>();
  }

  /// The device on which the original runs again after a trial that changed everything and left nothing free.
  void prepare() {
    for (int number = 0; number < 40; ++number) {
      write_file(device->permanent("services/" + std::to_string(number)), std::string(200 + 97u * number, 's'));
    }
    original = device->protected_files();
    ASSERT_EQ(device->install(Material::get().bundle("2.0.0")).outcome(), "armed");
    ASSERT_EQ(device->boot(), 'B');
    ASSERT_EQ(device->run({"recover"}).exit_status, 0);
    for (int number = 0; number < 40; ++number) {
      write_file(device->permanent("services/" + std::to_string(number)), "of the trial\n");
    }
    std::filesystem::remove_all(device->permanent("terminals"));
    std::filesystem::remove(device->permanent("time-source"));
    write_file(device->permanent("network/interfaces.conf"), "of the trial\n", 0666);
    write_file(device->permanent("invented.conf"), "of the trial\n");
    append_file(device->permanent("log/security/security.log"), "entry of the trial\n");
    std::filesystem::create_directory(device->permanent("log/flood"));
    ASSERT_EQ(device->run({"rollback"}).exit_status, 0);
    write_file(device->permanent("log/flood/filler"), "");
    std::filesystem::create_directory(device->permanent("log/many"));
    fill_inodes(device->permanent("log/many"));
    fill_bytes(device->permanent("log/flood"));
    ASSERT_TRUE(is_full(device->permanent("log/flood/filler")));
    log = contents_of(device->permanent("log/security/security.log"));
    ASSERT_EQ(device->boot(), 'A');
    device->unmount_permanent();
    for (const char* name : {"permanent.img", "state.store", "uboot.env"}) {
      std::filesystem::copy_file(device->path(name), device->path(std::string("saved-") + name));
    }
    device->mount_permanent();
  }

  void put_image(const std::string& image, const std::string& name) const {
    run_tool(
        {"dd", "if=" + device->path(image), "of=" + device->path(name), "conv=notrunc,fsync", "bs=1M", "status=none"});
  }
  void mount_image(const std::string& image) const {
    device->unmount_permanent();
    put_image(image, "permanent.img");
    run_tool({"blockdev", "--flushbufs", device->permanent_device()});
    device->mount_permanent();
  }

  void expect_restored() const {
    const Answer finished = device->run({"recover"});
    ASSERT_EQ(finished.exit_status, 0) << finished.story();
    EXPECT_EQ(difference(original, device->protected_files()), "");
    EXPECT_EQ(contents_of(device->permanent("log/security/security.log")), log);
    EXPECT_TRUE(std::filesystem::is_empty(device->permanent(".slotkeeper")));
    EXPECT_EQ(device->run({"recover"}).outcome(), "nothing-to-do");
  }

  std::unique_ptr<DeviceRig> device;
  Fingerprint original;
  std::string log;
};

TEST_P(KilledRecover, IsContinuedByTheNextOne) {
  ASSERT_NO_FATAL_FAILURE(prepare());
  const auto start = Clock::now();
  ASSERT_NO_FATAL_FAILURE(expect_restored());
  const auto whole = (Clock::now() - start) * 2 / 3;  // two runs, of which the second has little to do

  std::mt19937 random(GetParam());
  unsigned int killed = 0;
  for (unsigned int round = 0; round < kills(); ++round) {
    const auto delay = std::chrono::duration_cast<std::chrono::microseconds>(whole) * (random() % 1000) / 1000;
    const bool power_goes = random() % 2 == 0;
    SCOPED_TRACE("seed " + std::to_string(GetParam()) + ", round " + std::to_string(round) + ", killed after " +
                 std::to_string(delay.count()) + " us" + (power_goes ? ", power cut" : ""));
    put_image("saved-state.store", "state.store");
    put_image("saved-uboot.env", "uboot.env");
    mount_image("saved-permanent.img");
    Program recover(device->command({"recover"}));
    std::this_thread::sleep_for(delay);
    recover.signal(SIGKILL);
    if (power_goes) std::filesystem::copy_file(device->path("permanent.img"), device->path("cut.img"));
    if (recover.finish().exit_status == 128 + SIGKILL) ++killed;
    if (power_goes) {
      mount_image("cut.img");
      std::filesystem::remove(device->path("cut.img"));
    }
    ASSERT_NO_FATAL_FAILURE(expect_restored());
    if (HasFailure()) return;
  }
  EXPECT_GE(killed, kills() / 4) << "nearly all were over before they could be killed";
  std::printf("seed %u: %u of %u runs were killed\n", GetParam(), killed, kills());
}

INSTANTIATE_TEST_SUITE_P(Seeds, KilledRecover, testing::Values(20261126U, 54U));

}  // namespace
}  // namespace slotkeeper::test
