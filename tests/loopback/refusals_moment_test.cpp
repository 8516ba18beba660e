// Exit 3: postponed by a gate; 6: not now; 8: no source.
#include <fcntl.h>
#include <fstream>
#include <sys/file.h>
#include <unistd.h>

#include <gmock/gmock.h>

#include "tests/loopback/refusals.hpp"

namespace slotkeeper::test {
namespace {

using testing::HasSubstr;

INSTANTIATE_TEST_SUITE_P(
    Gate, Refuses,
    testing::Values(Refusal{"FillLevel",
                            [](DeviceRig& device) {
                              device.fill_permanent(61);
                              return install_good();
                            },
                            3,
                            "fill-level",
                            "54",
                            {}},
                    Refusal{"FillLevelBeforeAnythingElseIsBad",  // a bundle that is refused goes before a gate
                            [](DeviceRig& device) {
                              device.fill_permanent(61);
                              return signed_by(Signer::unknown)(device);
                            },
                            4,
                            "untrusted",
                            ".",
                            {}},
                    Refusal{"NoSpaceGoesFirst",
                            [](DeviceRig& device) {
                              device.fill_permanent(97);
                              return install_good();
                            },
                            3,
                            "no-space",
                            ".",
                            {}},
                    Refusal{"DamagedFallback",
                            [](DeviceRig& device) {
                              std::fstream slot(device.slot_device('A'),
                                                std::ios::binary | std::ios::in | std::ios::out);
                              slot.seekp(5 << 20);
                              slot << "damage";
                              return install_good();
                            },
                            3,
                            "fallback-damaged",
                            "rootfs",
                            {}}),
    name_of_refusal);

TEST(RefusesGate, LeavesDisposableFilesThatSomebodyHasOpen) {
  if (!may_mount()) GTEST_SKIP() << "loop devices and mounts need root";
  DeviceRig device;
  device.add_disposable("firmware-0.9.skb", 2 << 20);
  device.fill_permanent(61);
  const int held = ::open(device.permanent("download/firmware-0.9.skb").c_str(), O_RDONLY | O_CLOEXEC);
  const Fingerprint before = device.fingerprint();
  const Answer answer = device.run(install_good());
  expect_refusal(answer, 3, "fill-level", ".");
  expect_unchanged(before, device, 3);
  ::close(held);
  EXPECT_EQ(device.run(install_good()).outcome(), "armed");
}

INSTANTIATE_TEST_SUITE_P(
    Moment, Refuses,
    testing::Values(
        Refusal{"ProvisionTwice", with_command({"provision"}), 6, "wrong-state", "--force", {}},
        Refusal{"NothingToRollBack", with_command({"rollback"}), 6, "wrong-state", ".", {}},
        Refusal{"NothingPreviousToReturnTo", with_command({"rollback", "--to-previous"}), 6, "wrong-state", ".", {}},
        Refusal{"UnknownSlotActive", with_command({"mark", "B", "active"}), 6, "wrong-state", "B", {}},
        Refusal{"OnlySlotBad", with_command({"mark", "A", "bad"}), 6, "wrong-state", "only", {}},
        Refusal{"BlankSlotGood", with_command({"mark", "B", "good"}), 6, "wrong-state", "no complete firmware", {}},
        Refusal{"MarkWhileArmed",
                [](DeviceRig& device) {
                  if (device.run(install_good()).outcome() != "armed") std::abort();
                  return std::vector<std::string>{"mark", "B", "bad"};
                },
                6,
                "wrong-state",
                "armed",
                {}},
        Refusal{"CompactWhileArmed",
                [](DeviceRig& device) {
                  if (device.run(install_good()).outcome() != "armed") std::abort();
                  return std::vector<std::string>{"compact"};
                },
                6,
                "wrong-state",
                ".",
                {}},
        Refusal{"MissingBundle",
                with_command({"install", "/nonexistent/update.skb"}),
                8,
                "source-unreachable",
                "/nonexistent/update.skb",
                {}},
        Refusal{"NobodyListens",
                with_command({"install", "http://127.0.0.1:9/update.skb"}),
                8,
                "source-unreachable",
                "no connection to 127.0.0.1.*check the network",
                {}},
        Refusal{"FolderAsBundle", with_command({"install", "/"}), 8, "source-unreachable", ".", {}}),
    name_of_refusal);

TEST(RefusesMoment, AMountedTarget) {
  if (!may_mount()) GTEST_SKIP() << "loop devices and mounts need root";
  DeviceRig device;
  run_tool({"dd", "if=" + Material::get().image("3.0.0"), "of=" + device.slot_device('B'), "bs=1M", "status=none"});
  const MountedFilesystem mounted(device.slot_device('B'), device.path("mounted"), "ro");
  const Fingerprint before = device.fingerprint();
  const Answer answer = device.run(install_good());
  expect_refusal(answer, 6, "wrong-state", "mounted");
  EXPECT_THAT(answer.message(), HasSubstr(device.slot_device('B')));
  expect_unchanged(before, device, 6);
}

TEST(RefusesMoment, ATargetThatIsThePermanentPartition) {
  if (!may_mount()) GTEST_SKIP() << "loop devices and mounts need root";
  DeviceRig device;
  device.edit_configuration("rootfs = \"" + device.slot_device('B') + "\"",
                            "rootfs = \"" + device.permanent_device() + "\"");
  const Fingerprint before = device.fingerprint();
  const Answer answer = device.run(install_good());
  EXPECT_NE(answer.exit_status, 0) << answer.story();
  expect_unchanged(before, device, 6);
}

TEST(RefusesMoment, ATargetThatIsTheBootedSlot) {
  if (!may_mount()) GTEST_SKIP() << "loop devices and mounts need root";
  DeviceRig device;
  device.edit_configuration("rootfs = \"" + device.slot_device('B') + "\"",
                            "rootfs = \"" + device.slot_device('A') + "\"");
  const Fingerprint before = device.fingerprint();
  const Answer answer = device.run(install_good());
  EXPECT_NE(answer.exit_status, 0) << answer.story();
  expect_unchanged(before, device, 6);
}

}  // namespace
}  // namespace slotkeeper::test
