// An update on a machine with a real bootloader that goes well, and the firmwares that do not come up: a panic, a hang,
// no /sbin/init, a failed health check, one that nobody confirms. Each of them has changed the configuration by then,
// where it got that far.
#include <chrono>
#include <cstdio>

#include <gmock/gmock.h>

#include "tests/support/fault_disk/image_files.hpp"
#include "tests/support/loop_device.hpp"
#include "tests/support/temporary_directory.hpp"
#include "tests/vm/final_check.hpp"
#include "tests/vm/machine_session.hpp"
#include "tests/vm/material.hpp"

namespace slotkeeper::test {
namespace {

constexpr std::size_t kAttempts = 2;  // as system.toml has it

class Update : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (!may_mount()) GTEST_SKIP() << "needs root";
  }
  void TearDown() override { tell_case(GetParam()); }
};

TEST_P(Update, IsTriedConfirmedAndStays) {
  const Material& material = Material::of(GetParam());
  const TemporaryDirectory folder;
  const std::string disk = folder / "disk";
  copy_image(material.disk(DiskState::provisioned), disk);
  MachineSession session(material, {.file = disk});
  ASSERT_EQ(session.wait_until_ready(), 'A');
  session.must(install_command("3.5.1"));
  EXPECT_EQ(session.last_result().at("outcome"), "armed");
  session.must(edit_command(kPermanentPath));
  session.restart();
  ASSERT_EQ(session.wait_until_ready(), 'B');
  EXPECT_EQ(session.last_result().at("outcome"), "confirmed");

  // It stays, and is not counted any more.
  session.restart();
  ASSERT_EQ(session.wait_until_ready(), 'B');
  session.must("slotkeeper --json status");
  const nlohmann::json status = session.last_result();
  EXPECT_EQ(status.at("transaction"), nullptr);
  EXPECT_EQ(status.at("slots").at("B").at("version"), "3.5.1");
  EXPECT_EQ(status.at("slots").at("B").at("tries_left"), kAttempts);
  session.must("slotkeeper --json verify");
  session.power_off();
  const Violations violations = check_device(material, {.disk = disk,
                                                        .configuration_of = DiskState::armed_good,
                                                        .runs = 'B',
                                                        .version = "3.5.1",
                                                        .other_version = "3.5.0",
                                                        .log_lines = session.acknowledged()});
  EXPECT_TRUE(violations.empty()) << describe(violations) << session.machine().story();
}

struct Broken {
  const char* name;
  const char* version;
  const char* seen;           ///< on the console when it is tried
  std::size_t boots_min = 1;  ///< of the trial, as the bootloader starts them
};
constexpr Broken kBroken[] = {
    {"Panics", "3.6.1", "sysrq triggered crash", kAttempts},
    {"Hangs", "3.6.2", "SK: hangs", kAttempts},
    {"WithoutInit", "3.6.3", "Attempted to kill init", kAttempts},
    {"Unhealthy", "3.6.4", "\"command\":\"confirm\",\"outcome\":\"failed\"", 1},
    {"Unconfirmed", "3.6.5", "SK: waits for a confirmation that nobody gives", 1},
};

class BrokenFirmware : public testing::TestWithParam<std::tuple<const char*, Broken>> {
 protected:
  void SetUp() override {
    if (!may_mount()) GTEST_SKIP() << "needs root";
  }
  void TearDown() override { tell_case(std::get<0>(GetParam())); }
};

TEST_P(BrokenFirmware, TheOriginalComesBackWithItsConfiguration) {
  const Material& material = Material::of(std::get<0>(GetParam()));
  const Broken& broken = std::get<1>(GetParam());
  const TemporaryDirectory folder;
  const std::string disk = folder / "disk";
  copy_image(material.disk(DiskState::provisioned), disk);
  MachineSession session(material, {.file = disk});
  ASSERT_EQ(session.wait_until_ready(), 'A');
  session.must(install_command(broken.version));
  session.must(edit_command(kPermanentPath));
  session.restart();
  ASSERT_EQ(session.wait_until_ready(), 'A') << session.machine().story();
  EXPECT_GE(session.machine().count_of(broken.seen), broken.boots_min) << session.machine().story();
  const std::size_t boots = session.machine().count_of("Slotkeeper: starting slot B");
  EXPECT_LE(boots, kAttempts) << "the bootloader started it more often than it may";

  session.must("slotkeeper --json status");
  const nlohmann::json status = session.last_result();
  EXPECT_EQ(status.at("transaction"), nullptr);
  EXPECT_EQ(status.at("slots").at("A").at("health"), "good");
  EXPECT_EQ(status.at("slots").at("A").at("primary"), true);
  EXPECT_EQ(status.at("slots").at("B").at("health"), "bad");
  session.must("slotkeeper --json history");
  EXPECT_EQ(session.last_result().at("transactions").at(0).at("outcome"), "rolled-back");
  session.power_off();
  const Violations violations = check_device(material, {.disk = disk,
                                                        .configuration_of = DiskState::armed_unhealthy,
                                                        .runs = 'A',
                                                        .version = "3.5.0",
                                                        .log_lines = session.acknowledged()});
  EXPECT_TRUE(violations.empty()) << describe(violations) << session.machine().story();
}

std::string broken_name(const testing::TestParamInfo<std::tuple<const char*, Broken>>& info) {
  return std::get<1>(info.param).name;
}

// A bootloader is a folder of tests/vm/bootloaders, and its lines here, in disk_error_test.cpp and in
// power_cut_test.cpp. tests/vm/CMakeLists.txt says which of them are run by tests/run, the rest is for tests/run --long
// vm.
INSTANTIATE_TEST_SUITE_P(Uboot, Update, testing::Values("uboot"), [](const auto&) { return "Good"; });
INSTANTIATE_TEST_SUITE_P(Uboot, BrokenFirmware, testing::Combine(testing::Values("uboot"), testing::ValuesIn(kBroken)),
                         broken_name);
INSTANTIATE_TEST_SUITE_P(Grub, Update, testing::Values("grub"), [](const auto&) { return "Good"; });
INSTANTIATE_TEST_SUITE_P(Grub, BrokenFirmware, testing::Combine(testing::Values("grub"), testing::ValuesIn(kBroken)),
                         broken_name);
INSTANTIATE_TEST_SUITE_P(SystemdBoot, Update, testing::Values("systemd-boot"), [](const auto&) { return "Good"; });
INSTANTIATE_TEST_SUITE_P(SystemdBoot, BrokenFirmware,
                         testing::Combine(testing::Values("systemd-boot"), testing::ValuesIn(kBroken)), broken_name);

}  // namespace
}  // namespace slotkeeper::test
