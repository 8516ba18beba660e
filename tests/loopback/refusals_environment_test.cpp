// Exit 2: usage, configuration, environment, and what is not supported yet.
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "tests/loopback/refusals.hpp"

namespace slotkeeper::test {
namespace {

INSTANTIATE_TEST_SUITE_P(
    Environment, Refuses,
    testing::Values(
        Refusal{"UnknownCommand", with_command({"explode"}), 2, "usage", "explode", {}},
        Refusal{"MissingArgument", with_command({"install"}), 2, "usage", ".", {}},
        Refusal{"UnknownOption", with_command({"status", "--frobnicate"}), 2, "usage", "frobnicate", {}},
        Refusal{"UnknownKey",
                with_configuration("[state]", "[state]\nstroe = \"x\""),
                2,
                "config",
                "system.toml:5.*stroe",
                {}},
        Refusal{"BrokenToml", with_configuration("[state]", "[state"), 2, "config", "system.toml:4", {}},
        Refusal{"MissingConfiguration",
                [](DeviceRig& device) {
                  std::filesystem::remove(device.path("system.toml"));
                  return install_good();
                },
                2,
                "config",
                "system.toml",
                {}},
        Refusal{"UnmountedPermanentPartition",
                [](DeviceRig& device) {
                  device.unmount_permanent();
                  return install_good();
                },
                2,
                "config",
                "mounted",
                {}},
        Refusal{
            "MissingPermanentPartition", with_configuration("/permanent\"", "/nowhere\""), 2, "config", "nowhere", {}},
        Refusal{"EmptyHealthDirectory",
                [](DeviceRig& device) {
                  std::filesystem::remove(device.path("health.d/10-configuration"));
                  return install_good();
                },
                2,
                "config",
                "health",
                {}},
        Refusal{"HealthCheckOfAnotherOwner",
                [](DeviceRig& device) {
                  if (::chown(device.path("health.d/10-configuration").c_str(), 1000, 1000) != 0) std::abort();
                  return install_good();
                },
                2,
                "config",
                "10-configuration.*root",
                {}},
        Refusal{"HealthCheckWritableByAll",
                [](DeviceRig& device) {
                  std::filesystem::permissions(device.path("health.d/10-configuration"), std::filesystem::perms(0777));
                  return install_good();
                },
                2,
                "config",
                "10-configuration",
                {}},
        Refusal{"NoSuchToken",
                [](DeviceRig& device) {
                  // The engine for PKCS#11 leaks where it finds nothing.
                  ::setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
                  write_file(device.path("m.toml"),
                             "version = \"1\"\ncompatible = \"x\"\n[[image]]\nvolume = \"rootfs\"\n"
                             "file = \"" +
                                 Material::get().image("2.0.0") + "\"\n");
                  return std::vector<std::string>{"bundle",     "create",
                                                  "--manifest", device.path("m.toml"),
                                                  "--cert",     Material::get().certificate(Signer::good),
                                                  "--key",      "pkcs11:object=signer",
                                                  "--output",   device.path("out.skb")};
                },
                2,
                "config",
                "PKCS#11",
                {}},
        Refusal{"MissingTrustAnchors",
                [](DeviceRig& device) {
                  std::filesystem::remove(device.path("trust.pem"));
                  return install_good();
                },
                2,
                "config",
                "trust",
                {}},
        Refusal{"NotProvisioned",
                [](DeviceRig&) { return install_good(); },
                2,
                "not-provisioned",
                ".",
                {.provisioned = false}},
        Refusal{"GarbageStateStore",
                [](DeviceRig& device) {
                  write_file(device.store(), std::string(8 << 20, 'g'));
                  return install_good();
                },
                2,
                "state-store",
                "state.store",
                {}},
        Refusal{"BootEnvironmentDamagedTwice",
                [](DeviceRig& device) {
                  device.damage_environment_copy(0);
                  device.damage_environment_copy(1);
                  return install_good();
                },
                2,
                "boot-environment",
                ".",
                {}},
        Refusal{"UnknownSlot",
                [](DeviceRig& device) {
                  device.booted = 0;
                  return install_good();
                },
                2,
                "unknown-slot",
                ".",
                {}},
        Refusal{"SlotC",
                [](DeviceRig& device) {
                  device.booted = 'C';
                  return std::vector<std::string>{"status"};
                },
                2,
                "usage",
                "C",
                {}}),
    name_of_refusal);

/// A kernel command line that contradicts --booted-slot, in a mount namespace of its own.
TEST(RefusesEnvironment, AKernelCommandLineThatContradictsTheOption) {
  if (!may_mount()) GTEST_SKIP() << "loop devices and mounts need root";
  DeviceRig device;
  write_file(device.path("cmdline"), "console=ttyS0 slotkeeper.slot=B quiet\n");
  std::vector<std::string> command = {"unshare",
                                      "--mount",
                                      "sh",
                                      "-c",
                                      "mount --bind \"$1\" /proc/cmdline && shift && exec \"$@\"",
                                      "sh",
                                      device.path("cmdline")};
  const auto words = device.command(install_good());
  command.insert(command.end(), words.begin(), words.end());
  const Fingerprint before = device.fingerprint();
  const Answer answer = run_program(command);
  expect_refusal(answer, 2, "unknown-slot", "A.*B|B.*A");
  expect_unchanged(before, device, 2);
}

INSTANTIATE_TEST_SUITE_P(
    Quarantine, Refuses,
    testing::Values(
        Refusal{
            "ClearOfNoId", with_command({"quarantine", "clear", "2.0.0"}), 2, "usage", "beginning of a manifest", {}},
        Refusal{"ClearOfTooFewDigits", with_command({"quarantine", "clear", "abc"}), 2, "usage", "at least 8", {}}),
    name_of_refusal);

INSTANTIATE_TEST_SUITE_P(NotYet, Refuses,
                         testing::Values(Refusal{"EventHook",
                                                 [](DeviceRig& device) {
                                                   write_file(device.path("hooks.d/event"), "#!/bin/sh\n", 0755);
                                                   return install_good();
                                                 },
                                                 2,
                                                 "not-supported-yet",
                                                 "event",
                                                 {}}),
                         name_of_refusal);

}  // namespace
}  // namespace slotkeeper::test
