// The main job on a device that starts by GRUB: the real program with a grubenv on an ext4 boot partition. The boot
// script is played with grub-editenv; what a real GRUB does with it is tests/vm/grub.
#include <fstream>
#include <map>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/loopback/device_rig.hpp"

namespace slotkeeper::test {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr std::uint64_t kBootBytes = 8ull << 20;

class GrubDevice : public testing::Test {
 protected:
  void SetUp() override {
    if (!may_mount()) GTEST_SKIP() << "loop devices and mounts need root";
    device = std::make_unique<DeviceRig>(RigSettings{.provisioned = false});
    make_ext4(device->path("boot.img"), kBootBytes);
    boot_loop = std::make_unique<LoopDevice>(device->path("boot.img"));
    boot_mount = std::make_unique<MountedFilesystem>(boot_loop->path(), device->path("boot"));
    device->edit_configuration("backend = \"uboot\"", "backend = \"grub\"\ngrubenv = \"" + grubenv() + "\"");
  }

  [[nodiscard]] std::string grubenv() const { return device->path("boot/grubenv"); }
  void provision() {
    const Answer answer = device->run({"provision"});
    ASSERT_EQ(answer.exit_status, 0) << answer.story();
  }
  /// As a script that counts up to `attempts` leaves it.
  void tell_of_script(int attempts) const { set("SLOTKEEPER_SCRIPT", std::to_string(attempts)); }
  void set(const std::string& name, const std::string& value) const {
    run_tool({"grub-editenv", grubenv(), "set", name + "=" + value});
  }
  [[nodiscard]] std::map<std::string, std::string> environment() const {
    std::map<std::string, std::string> variables;
    std::istringstream lines(run_tool({"grub-editenv", grubenv(), "list"}));
    for (std::string line; std::getline(lines, line);) {
      variables[line.substr(0, line.find('='))] = line.substr(line.find('=') + 1);
    }
    return variables;
  }
  [[nodiscard]] std::string variable(const std::string& name) const {
    const auto variables = environment();
    const auto found = variables.find(name);
    return found == variables.end() ? "(unset)" : found->second;
  }
  /// Power off and on. `counted`: a try of the slot that is started is counted, as for one that is not confirmed.
  void boot(char slot, bool counted) {
    device->unmount_permanent();
    device->mount_permanent();
    device->booted = slot;
    if (!counted) return;
    const std::string name = std::string(1, slot) + "_TRY";
    set(name, std::to_string(std::stoi(variable(name)) + 1));
  }
  void lose_environment() const { write_file(grubenv(), std::string(1024, '\0')); }
  [[nodiscard]] Answer run(const std::vector<std::string>& arguments) const { return device->run(arguments); }
  Answer expect_outcome(const std::vector<std::string>& arguments, const std::string& outcome) {
    Answer answer = run(arguments);
    EXPECT_EQ(answer.exit_status, 0) << answer.story();
    EXPECT_EQ(answer.outcome(), outcome) << answer.story();
    return answer;
  }
  void install(const std::string& version = "2.0.0") {
    expect_outcome({"install", Material::get().bundle(version)}, "armed");
  }

  std::unique_ptr<DeviceRig> device;
  std::unique_ptr<LoopDevice> boot_loop;
  std::unique_ptr<MountedFilesystem> boot_mount;
};

TEST_F(GrubDevice, ProvisionMakesTheEnvironmentAndStatusSaysWhatItCannotPromise) {
  ASSERT_NO_FATAL_FAILURE(provision());
  EXPECT_EQ(environment(), (std::map<std::string, std::string>{
                               {"ORDER", "A"}, {"A_OK", "1"}, {"A_TRY", "0"}, {"B_OK", "0"}, {"B_TRY", "1"}}));
  Answer status = expect_outcome({"status"}, "ok");
  EXPECT_EQ(status.text("slots/A/tries_left"), "1");
  EXPECT_THAT(status.text("weaker"), HasSubstr("gets one try"));
  EXPECT_THAT(status.text("weaker"), HasSubstr("single copy"));
  tell_of_script(3);
  status = expect_outcome({"status"}, "ok");
  EXPECT_EQ(status.text("slots/A/tries_left"), "3");
  EXPECT_THAT(status.text("weaker"), Not(HasSubstr("gets one try")));
  EXPECT_THAT(status.text("weaker"), HasSubstr("single copy"));
  expect_outcome({"recover"}, "nothing-to-do");
}

TEST_F(GrubDevice, ProvisionKeepsWhatOthersHaveInTheEnvironment) {
  run_tool({"grub-editenv", grubenv(), "create"});
  set("saved_entry", "gnulinux");
  ASSERT_NO_FATAL_FAILURE(provision());
  EXPECT_EQ(variable("saved_entry"), "gnulinux");
  EXPECT_EQ(variable("ORDER"), "A");
}

TEST_F(GrubDevice, InstallsTriesAndConfirms) {
  ASSERT_NO_FATAL_FAILURE(provision());
  tell_of_script(3);
  install();
  EXPECT_EQ(variable("ORDER"), "B A");
  for (const std::string name : {"A_OK", "B_OK"}) EXPECT_EQ(variable(name), "1");
  for (const std::string name : {"A_TRY", "B_TRY"}) EXPECT_EQ(variable(name), "0");
  EXPECT_THAT(variable("SLOTKEEPER_TX"), testing::MatchesRegex("[0-9a-f]{16}:trial"));
  EXPECT_EQ(expect_outcome({"status"}, "ok").text("slots/B/tries_left"), "3");
  expect_outcome({"recover"}, "nothing-to-do");

  boot('B', true);
  expect_outcome({"recover"}, "ok");
  EXPECT_EQ(expect_outcome({"status"}, "ok").text("slots/B/tries_left"), "2");
  expect_outcome({"confirm"}, "confirmed");
  EXPECT_EQ(variable("ORDER"), "B A");
  EXPECT_EQ(variable("B_TRY"), "0");
  EXPECT_THAT(variable("SLOTKEEPER_TX"), testing::MatchesRegex("[0-9a-f]{16}:good"));
  EXPECT_EQ(variable("SLOTKEEPER_SCRIPT"), "3");
  const std::string before = contents_of(grubenv());
  expect_outcome({"recover"}, "nothing-to-do");
  EXPECT_EQ(contents_of(grubenv()), before);

  install("3.0.0");
  boot('A', true);
  expect_outcome({"recover"}, "ok");
  expect_outcome({"confirm"}, "confirmed");
  EXPECT_EQ(variable("ORDER"), "A B");
}

TEST_F(GrubDevice, ATrialThatUsesUpItsTriesIsRolledBack) {
  ASSERT_NO_FATAL_FAILURE(provision());
  tell_of_script(3);
  install();
  for (int i = 0; i < 3; ++i) boot('B', true);
  EXPECT_EQ(variable("B_TRY"), "3");
  boot('A', false);
  const Answer recovered = expect_outcome({"recover"}, "rolled-back");
  EXPECT_EQ(recovered.text("cause/code"), "health") << recovered.story();
  EXPECT_EQ(variable("ORDER"), "A");
  EXPECT_EQ(variable("B_OK"), "0");
  EXPECT_EQ(variable("SLOTKEEPER_TX"), "(unset)");
  expect_outcome({"recover"}, "nothing-to-do");
}

TEST_F(GrubDevice, AScriptThatCountsEveryBootIsFollowedByARefillOfTheConfirmedSlot) {
  ASSERT_NO_FATAL_FAILURE(provision());
  boot('A', true);
  EXPECT_EQ(variable("A_TRY"), "1");
  expect_outcome({"recover"}, "ok");
  EXPECT_EQ(variable("A_TRY"), "0");
  expect_outcome({"recover"}, "nothing-to-do");
}

TEST_F(GrubDevice, ALostEnvironmentAtRestIsMadeAnewByRecover) {
  ASSERT_NO_FATAL_FAILURE(provision());
  for (const std::string& contents : {std::string(1024, '\0'), std::string(), std::string("#")}) {
    write_file(grubenv(), contents);
    const Answer status = run({"status"});
    EXPECT_EQ(status.exit_status, 2) << status.story();
    EXPECT_EQ(status.code(), "boot-environment");
    EXPECT_THAT(status.message(), HasSubstr("recover"));
    const Answer recovered = expect_outcome({"recover"}, "ok");
    EXPECT_THAT(recovered.output, HasSubstr("the boot environment is lost"));
    EXPECT_EQ(variable("ORDER"), "A");
    EXPECT_EQ(variable("A_OK"), "1");
    expect_outcome({"recover"}, "nothing-to-do");
  }
}

TEST_F(GrubDevice, AnEnvironmentLostWhileArmedOrOnTrialEndsOnTheOriginal) {
  ASSERT_NO_FATAL_FAILURE(provision());
  tell_of_script(3);
  install();
  lose_environment();
  boot('A', false);  // the last confirmed slot
  expect_outcome({"recover"}, "rolled-back");
  EXPECT_EQ(variable("ORDER"), "A");
  expect_outcome({"recover"}, "nothing-to-do");

  tell_of_script(3);
  install();
  boot('B', true);
  expect_outcome({"recover"}, "ok");
  lose_environment();
  expect_outcome({"recover"}, "rolled-back");  // armed with the original, a restart is needed
  EXPECT_EQ(variable("ORDER"), "A");
  boot('A', false);
  expect_outcome({"recover"}, "rolled-back");
  EXPECT_EQ(variable("ORDER"), "A");
  expect_outcome({"recover"}, "nothing-to-do");
}

TEST_F(GrubDevice, AMalformedPartIsMendedByRecover) {
  ASSERT_NO_FATAL_FAILURE(provision());
  std::string bytes = contents_of(grubenv());
  bytes.replace(512, 512, std::string(512, '\0'));
  write_file(grubenv(), bytes);
  EXPECT_THAT(expect_outcome({"status"}, "ok").text("weaker"), HasSubstr("damaged"));
  expect_outcome({"recover"}, "ok");
  EXPECT_THAT(expect_outcome({"status"}, "ok").text("weaker"), Not(HasSubstr("'slotkeeper recover' rewrites it")));
  expect_outcome({"recover"}, "nothing-to-do");
}

TEST_F(GrubDevice, ABlockWithoutRoomIsRefusedBeforeAnythingIsWritten) {
  ASSERT_NO_FATAL_FAILURE(provision());
  const std::string slot = device->slot_hash('B');
  std::string text =
      "# GRUB Environment Block\nblob=" + std::string(485, 'x') + "\nORDER=A\nA_OK=1\nA_TRY=0\nB_OK=0\nB_TRY=1\n";
  text.resize(1024, '#');
  write_file(grubenv(), text);
  for (const std::string command : {"preflight", "install"}) {
    const Answer answer = run({command, Material::get().bundle("2.0.0")});
    EXPECT_EQ(answer.exit_status, 2) << answer.story();
    EXPECT_EQ(answer.code(), "boot-environment") << answer.story();
    EXPECT_THAT(answer.message(), HasSubstr("no room"));
  }
  EXPECT_THAT(expect_outcome({"status"}, "ok").text("weaker"), HasSubstr("no update can be installed"));
  expect_outcome({"recover"}, "nothing-to-do");
  EXPECT_EQ(contents_of(grubenv()), text);
  EXPECT_EQ(device->slot_hash('B'), slot);
}

TEST_F(GrubDevice, AFilesystemInMemoryIsRefused) {
  device->edit_configuration(grubenv(), "/dev/shm/grubenv");
  const Answer answer = run({"provision"});
  EXPECT_EQ(answer.exit_status, 2) << answer.story();
  EXPECT_EQ(answer.code(), "config") << answer.story();
  EXPECT_THAT(answer.message(), HasSubstr("tmpfs"));
}

}  // namespace
}  // namespace slotkeeper::test
