// The main job on real devices: install, trial, confirm, and every way back.
#include <csignal>
#include <filesystem>
#include <fstream>
#include <sys/stat.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/loopback/device_rig.hpp"

namespace slotkeeper::test {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

class MainJob : public testing::Test {
 protected:
  void SetUp() override {
    if (!may_mount()) GTEST_SKIP() << "loop devices and mounts need root";
    device = std::make_unique<DeviceRig>();
  }

  static std::string bundle(const std::string& version) { return Material::get().bundle(version); }

  /// Installs a version and expects it to be armed.
  void arm(const std::string& version) {
    const Answer answer = device->install(bundle(version));
    ASSERT_EQ(answer.exit_status, 0) << answer.story();
    ASSERT_EQ(answer.outcome(), "armed") << answer.story();
  }

  /// Installs a version, boots it, recovers.
  void begin_trial(const std::string& version) {
    ASSERT_NO_FATAL_FAILURE(arm(version));
    const char original = device->booted;
    ASSERT_NE(device->boot(), original);
    const Answer answer = device->run({"recover"});
    ASSERT_EQ(answer.exit_status, 0) << answer.story();
  }

  void confirm() {
    const Answer answer = device->run({"confirm"});
    ASSERT_EQ(answer.exit_status, 0) << answer.story();
    ASSERT_EQ(answer.outcome(), "confirmed") << answer.story();
  }

  /// `recover` once more changes no byte.
  void expect_recover_at_rest() {
    const Fingerprint before = device->fingerprint();
    const Answer again = device->run({"recover"});
    EXPECT_EQ(again.exit_status, 0) << again.story();
    EXPECT_EQ(again.outcome(), "nothing-to-do") << again.story();
    EXPECT_EQ(difference(before, device->fingerprint()), "");
  }

  /// Slot A runs, is first and alone may start; slot B cannot come up; nothing is open.
  void expect_original_at_rest() {
    EXPECT_EQ(device->variable("BOOT_ORDER"), "A");
    EXPECT_EQ(device->variable("BOOT_A_LEFT"), "3");
    EXPECT_EQ(device->variable("BOOT_B_LEFT"), "0");
    EXPECT_EQ(device->variable("SLOTKEEPER_TX"), "(unset)");
    const Answer status = device->run({"status"});
    EXPECT_EQ(status.exit_status, 0) << status.story();
    EXPECT_EQ(status.text("transaction"), "");
    EXPECT_EQ(status.text("slots/B/health"), "bad") << status.story();
    EXPECT_FALSE(std::filesystem::exists(device->permanent(".slotkeeper/reserve"))) << "the reserve was not released";
  }

  std::unique_ptr<DeviceRig> device;
};

TEST_F(MainJob, ArmsTheOtherSlotAndTouchesNeitherTheBootedOneNorTheConfiguration) {
  const Fingerprint before = device->fingerprint();
  const Answer answer = device->install(bundle("2.0.0"));
  ASSERT_EQ(answer.exit_status, 0) << answer.story();
  EXPECT_EQ(answer.outcome(), "armed");
  EXPECT_TRUE(answer.at("error").is_null());
  EXPECT_EQ(answer.text("command"), "install");
  EXPECT_EQ(answer.text("transaction").size(), 36u);
  EXPECT_TRUE(device->holds('B', "2.0.0"));
  EXPECT_EQ(device->variable("BOOT_ORDER"), "B A");
  EXPECT_EQ(device->variable("BOOT_A_LEFT"), "3");
  EXPECT_EQ(device->variable("BOOT_B_LEFT"), "3");
  EXPECT_THAT(device->variable("SLOTKEEPER_TX"), testing::MatchesRegex("[0-9a-f]{16}:trial"));
  EXPECT_TRUE(device->environment_copy_is_valid(0) && device->environment_copy_is_valid(1));
  EXPECT_EQ(device->variable("serial#"), "K-000417") << "a variable of others was lost";
  EXPECT_EQ(difference(without(before, {"slot B", "environment", "store", "permanent ./.slotkeeper"}),
                       without(device->fingerprint(), {"slot B", "environment", "store", "permanent ./.slotkeeper"})),
            "");
}

TEST_F(MainJob, StaysArmedUntilTheRestart) {
  ASSERT_NO_FATAL_FAILURE(arm("2.0.0"));
  ASSERT_NO_FATAL_FAILURE(expect_recover_at_rest());
  EXPECT_EQ(device->variable("BOOT_ORDER"), "B A");
  const Answer again = device->install(bundle("3.0.0"));
  EXPECT_EQ(again.exit_status, 6) << again.story();
  EXPECT_EQ(again.code(), "wrong-state");
}

TEST_F(MainJob, ConfirmsAHealthyTrial) {
  const Fingerprint original = device->protected_files();
  ASSERT_NO_FATAL_FAILURE(begin_trial("2.0.0"));
  Answer status = device->run({"status"});
  EXPECT_EQ(status.text("transaction/state"), "trial") << status.story();
  EXPECT_EQ(status.text("transaction/target"), "B");
  ASSERT_NO_FATAL_FAILURE(confirm());
  EXPECT_THAT(device->variable("SLOTKEEPER_TX"), testing::MatchesRegex("[0-9a-f]{16}:good"));
  EXPECT_EQ(device->variable("BOOT_B_LEFT"), "3");
  EXPECT_EQ(device->boot(), 'B');
  const Answer recovered = device->run({"recover"});
  EXPECT_EQ(recovered.exit_status, 0) << recovered.story();
  EXPECT_EQ(device->variable("BOOT_B_LEFT"), "3") << "the counter was not refilled";
  ASSERT_NO_FATAL_FAILURE(expect_recover_at_rest());
  status = device->run({"status"});
  EXPECT_EQ(status.text("transaction"), "");
  EXPECT_EQ(status.text("slots/B/version"), "2.0.0") << status.story();
  EXPECT_EQ(status.text("slots/B/health"), "good");
  EXPECT_EQ(status.text("slots/B/primary"), "true");
  EXPECT_EQ(difference(original, device->protected_files()), "");
  EXPECT_FALSE(std::filesystem::exists(device->permanent(".slotkeeper/reserve")));
}

TEST_F(MainJob, InstallsTheNextVersionIntoTheFirstSlot) {
  ASSERT_NO_FATAL_FAILURE(begin_trial("2.0.0"));
  ASSERT_NO_FATAL_FAILURE(confirm());
  ASSERT_NO_FATAL_FAILURE(begin_trial("3.0.0"));
  EXPECT_EQ(device->booted, 'A');
  ASSERT_NO_FATAL_FAILURE(confirm());
  EXPECT_TRUE(device->holds('A', "3.0.0"));
  EXPECT_TRUE(device->holds('B', "2.0.0"));
  const Answer history = device->run({"history"});
  ASSERT_EQ(history.exit_status, 0) << history.story();
  EXPECT_LT(history.output.find("\"to\":\"3.0.0\""), history.output.find("\"to\":\"2.0.0\"")) << "newest first";
}

TEST_F(MainJob, HasNothingToDoForTheFirmwareThatRuns) {
  ASSERT_NO_FATAL_FAILURE(begin_trial("2.0.0"));
  ASSERT_NO_FATAL_FAILURE(confirm());
  const Fingerprint before = device->fingerprint();
  const Answer answer = device->install(bundle("2.0.0"));
  EXPECT_EQ(answer.exit_status, 0) << answer.story();
  EXPECT_EQ(answer.outcome(), "nothing-to-do");
  EXPECT_EQ(difference(before, device->fingerprint()), "");
  const Answer forced = device->run({"install", bundle("2.0.0"), "--force"});
  EXPECT_EQ(forced.outcome(), "armed") << forced.story();
}

TEST_F(MainJob, AsksTheHookForTheReboot) {
  const Answer answer = device->run({"install", bundle("2.0.0"), "--reboot"});
  ASSERT_EQ(answer.exit_status, 0) << answer.story();
  EXPECT_EQ(contents_of(device->path("reboots")), "reboot\n");
}

TEST_F(MainJob, ReclaimsDisposableFilesFirst) {
  device->add_disposable("firmware-0.9.skb", 3 << 20);
  device->fill_permanent(61);
  const Fingerprint original = device->protected_files();
  ASSERT_NO_FATAL_FAILURE(arm("2.0.0"));
  EXPECT_FALSE(std::filesystem::exists(device->permanent("download/firmware-0.9.skb")));
  EXPECT_EQ(difference(original, device->protected_files()), "");
}

TEST_F(MainJob, NeverReclaimsTheBundleThatItInstalls) {
  std::filesystem::copy_file(bundle("2.0.0"), device->permanent("download/update.skb"));
  const Answer answer = device->install(device->permanent("download/update.skb"));
  EXPECT_TRUE(std::filesystem::exists(device->permanent("download/update.skb"))) << answer.story();
}

TEST_F(MainJob, ReportsProgressOfLongWorkAndTheResultLast) {
  const Answer answer = device->install(bundle("2.0.0"));
  ASSERT_FALSE(answer.events.empty()) << answer.story();
  for (const std::string phase : {"preflight", "stage", "check"}) {
    EXPECT_THAT(answer.output, HasSubstr("\"phase\":\"" + phase + "\"")) << "no progress in that phase";
  }
  std::size_t lines = 0;
  for (const char byte : answer.output) lines += byte == '\n' ? 1 : 0;
  EXPECT_EQ(lines, answer.events.size()) << "a line on standard output is not JSON:\n" << answer.output;
  for (const Json& event : answer.events) {
    ASSERT_NE(event.find("event"), nullptr);
    ASSERT_NE(event.find("time"), nullptr);
    EXPECT_THAT(*event.find("time")->as_string(), testing::MatchesRegex("[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z"));
  }
}

// ---- back again
// ------------------------------------------------------------------------------------------------------

TEST_F(MainJob, FallsBackFromFirmwareThatNeverComesUp) {
  const Fingerprint original = device->protected_files();
  const std::string slot_a = device->slot_hash('A');
  ASSERT_NO_FATAL_FAILURE(arm("9.0.0"));
  EXPECT_EQ(device->boot(), 'A') << "the bootloader uses up the tries and falls back";
  const Answer answer = device->run({"recover"});
  EXPECT_EQ(answer.exit_status, 0) << answer.story();
  EXPECT_EQ(answer.outcome(), "rolled-back");
  EXPECT_NE(answer.text("cause/code"), "") << answer.story();
  expect_original_at_rest();
  EXPECT_EQ(device->slot_hash('A'), slot_a);
  EXPECT_EQ(difference(original, device->protected_files()), "");
  ASSERT_NO_FATAL_FAILURE(expect_recover_at_rest());
}

TEST_F(MainJob, RollsBackWhenOneTryOfTheTargetIsUsedAndTheOriginalRuns) {
  ASSERT_NO_FATAL_FAILURE(arm("2.0.0"));
  ASSERT_EQ(device->bootloader_takes(), 'B');  // and never gets anywhere; an operator starts A by hand
  const Answer answer = device->run({"recover"});
  EXPECT_EQ(answer.outcome(), "rolled-back") << answer.story();
  expect_original_at_rest();
}

TEST_F(MainJob, RestoresTheConfigurationExactlyAndKeepsNewerLogs) {
  const Fingerprint original = device->protected_files();
  ASSERT_NO_FATAL_FAILURE(begin_trial("2.0.0"));
  // A migration of the new firmware: changes, adds, removes, turns links into files, changes owners and modes.
  write_file(device->permanent("network/interfaces.conf"), "lan0 inet6 auto\n", 0666);
  write_file(device->permanent("network/new.conf"), "made by 2.0.0\n");
  std::filesystem::create_directories(device->permanent("migrated/deep/down"));
  write_file(device->permanent("migrated/deep/down/file"), "x");
  std::filesystem::remove(device->permanent("services/ntp.conf"));
  std::filesystem::remove(device->permanent("time-source"));
  write_file(device->permanent("time-source"), "now a file\n");
  std::filesystem::remove_all(device->permanent("terminals"));
  write_file(device->permanent("state/dhcp.leases"), "none\n");
  const std::string log = contents_of(device->permanent("log/security/security.log")) + "line of the trial\n";
  write_file(device->permanent("log/security/security.log"), log, 0640);

  const Answer asked = device->run({"rollback"});
  EXPECT_EQ(asked.exit_status, 0) << asked.story();
  EXPECT_EQ(asked.outcome(), "rolled-back");
  EXPECT_EQ(asked.text("reboot_needed"), "true") << asked.story();
  ASSERT_EQ(device->boot(), 'A');
  const Answer restored = device->run({"recover"});
  EXPECT_EQ(restored.exit_status, 0) << restored.story();
  EXPECT_EQ(restored.outcome(), "rolled-back");
  EXPECT_EQ(difference(original, device->protected_files()), "");
  EXPECT_EQ(contents_of(device->permanent("log/security/security.log")), log);
  expect_original_at_rest();
  ASSERT_NO_FATAL_FAILURE(expect_recover_at_rest());
}

TEST_F(MainJob, RestoresWhatTheOriginalWroteLast) {
  ASSERT_NO_FATAL_FAILURE(arm("2.0.0"));
  write_file(device->permanent("network/interfaces.conf"), "written while armed\n");
  write_file(device->permanent("network/late.conf"), "written while armed\n", 0600);
  const Fingerprint last = device->protected_files();
  ASSERT_EQ(device->boot(), 'B');
  ASSERT_EQ(device->run({"recover"}).exit_status, 0);
  write_file(device->permanent("network/interfaces.conf"), "written by the trial\n");
  std::filesystem::remove(device->permanent("network/late.conf"));
  ASSERT_EQ(device->run({"rollback"}).exit_status, 0);
  ASSERT_EQ(device->boot(), 'A');
  const Answer restored = device->run({"recover"});
  EXPECT_EQ(restored.exit_status, 0) << restored.story();
  EXPECT_EQ(difference(last, device->protected_files()), "");
}

TEST_F(MainJob, RollsBackAnUnhealthyTrial) {
  const Fingerprint original = device->protected_files();
  ASSERT_NO_FATAL_FAILURE(begin_trial("2.0.0"));
  write_file(device->permanent("network/interfaces.conf"), "broken by 2.0.0\n");
  write_file(device->path("health.d/20-network"), "#!/bin/sh\necho no carrier\nexit 3\n", 0755);
  const Answer refused = device->run({"confirm"});
  EXPECT_EQ(refused.exit_status, 7) << refused.story();
  EXPECT_EQ(refused.code(), "health");
  EXPECT_THAT(refused.message(), HasSubstr("20-network"));
  EXPECT_EQ(device->variable("BOOT_ORDER").substr(0, 1), "A") << "the original is not armed";
  ASSERT_EQ(device->boot(), 'A');
  const Answer restored = device->run({"recover"});
  EXPECT_EQ(restored.outcome(), "rolled-back") << restored.story();
  EXPECT_EQ(restored.text("cause/code"), "health") << restored.story();
  EXPECT_EQ(difference(original, device->protected_files()), "");
  expect_original_at_rest();
}

TEST_F(MainJob, RollsBackATrialWhoseCheckHangs) {
  device->edit_configuration("timeout = \"20s\"", "timeout = \"200ms\"");
  ASSERT_NO_FATAL_FAILURE(begin_trial("2.0.0"));
  write_file(device->path("health.d/20-network"), "#!/bin/sh\nexec sleep 600\n", 0755);
  const Answer refused = device->run({"confirm"});
  EXPECT_EQ(refused.exit_status, 7) << refused.story();
  EXPECT_EQ(refused.code(), "health-timeout");
}

TEST_F(MainJob, ConfirmsByForceDespiteAFailedCheck) {
  ASSERT_NO_FATAL_FAILURE(begin_trial("2.0.0"));
  write_file(device->path("health.d/20-network"), "#!/bin/sh\nexit 3\n", 0755);
  const Answer answer = device->run({"confirm", "--force"});
  EXPECT_EQ(answer.exit_status, 0) << answer.story();
  EXPECT_EQ(answer.outcome(), "confirmed");
}

TEST_F(MainJob, TakesAnArmedUpdateBack) {
  const Fingerprint original = device->protected_files();
  ASSERT_NO_FATAL_FAILURE(arm("2.0.0"));
  const Answer answer = device->run({"rollback"});
  EXPECT_EQ(answer.exit_status, 0) << answer.story();
  EXPECT_EQ(answer.outcome(), "rolled-back");
  EXPECT_EQ(answer.text("reboot_needed"), "") << "nothing is left to be done by a reboot";
  EXPECT_EQ(difference(original, device->protected_files()), "");
  expect_original_at_rest();
  ASSERT_NO_FATAL_FAILURE(expect_recover_at_rest());
  ASSERT_NO_FATAL_FAILURE(arm("2.0.0"));
}

TEST_F(MainJob, ReturnsToThePreviousFirmwareOnlyWhenToldSo) {
  ASSERT_NO_FATAL_FAILURE(begin_trial("2.0.0"));
  ASSERT_NO_FATAL_FAILURE(confirm());
  const Answer plain = device->run({"rollback"});
  EXPECT_EQ(plain.exit_status, 6) << plain.story();
  EXPECT_EQ(plain.code(), "wrong-state");
  const Answer answer = device->run({"rollback", "--to-previous"});
  EXPECT_EQ(answer.exit_status, 0) << answer.story();
  EXPECT_EQ(answer.outcome(), "rolled-back");
  ASSERT_EQ(device->boot(), 'A');
  const Answer recovered = device->run({"recover"});
  EXPECT_EQ(recovered.exit_status, 0) << recovered.story();
  const Answer status = device->run({"status"});
  EXPECT_EQ(status.text("slots/A/primary"), "true") << status.story();
  EXPECT_EQ(status.text("transaction"), "");
  ASSERT_NO_FATAL_FAILURE(expect_recover_at_rest());
}

TEST_F(MainJob, DoesNotReturnToAPreviousFirmwareThatIsDamaged) {
  ASSERT_NO_FATAL_FAILURE(begin_trial("2.0.0"));
  ASSERT_NO_FATAL_FAILURE(confirm());
  {
    std::fstream slot(device->slot_device('A'), std::ios::binary | std::ios::in | std::ios::out);
    slot.seekp(5 << 20);
    slot << "damage";
  }
  const Fingerprint before = device->fingerprint();
  const Answer answer = device->run({"rollback", "--to-previous"});
  EXPECT_EQ(answer.exit_status, 6) << answer.story();
  EXPECT_EQ(difference(before, device->fingerprint()), "");
}

// ---- cut off
// ---------------------------------------------------------------------------------------------------------

TEST_F(MainJob, RollsBackWhenKilledWhileStaging) {
  const Fingerprint original = device->protected_files();
  const std::string slot_a = device->slot_hash('A');
  for (const std::int64_t done : {0, 1 << 20, 4 << 20}) {
    Program install(device->command({"install", bundle("2.0.0")}));
    ASSERT_TRUE(install.read_until(progress_of("stage", done))) << install.finish().story();
    install.signal(SIGKILL);
    EXPECT_EQ(install.finish().exit_status, 128 + SIGKILL);
    EXPECT_FALSE(device->comes_up('B')) << "an unfinished slot could be started";
    EXPECT_EQ(device->boot(), 'A');
    const Answer recovered = device->run({"recover"});
    EXPECT_EQ(recovered.exit_status, 0) << recovered.story();
    EXPECT_EQ(recovered.outcome(), "rolled-back");
    EXPECT_EQ(recovered.text("cause/code"), "cancelled") << recovered.story();
    expect_original_at_rest();
    EXPECT_EQ(device->slot_hash('A'), slot_a);
    EXPECT_EQ(difference(original, device->protected_files()), "");
    ASSERT_NO_FATAL_FAILURE(expect_recover_at_rest());
  }
  ASSERT_NO_FATAL_FAILURE(begin_trial("2.0.0"));
  ASSERT_NO_FATAL_FAILURE(confirm());
}

TEST_F(MainJob, InstallsAfterAKilledInstallWithoutRecover) {
  Program install(device->command({"install", bundle("2.0.0")}));
  ASSERT_TRUE(install.read_until(progress_of("stage", 1))) << install.finish().story();
  install.signal(SIGKILL);
  static_cast<void>(install.finish());
  ASSERT_NO_FATAL_FAILURE(arm("3.0.0"));
  EXPECT_TRUE(device->holds('B', "3.0.0"));
}

class Interrupted : public MainJob, public testing::WithParamInterface<int> {};

TEST_P(Interrupted, RollsBackBeforeItEnds) {
  const Fingerprint original = device->protected_files();
  Program install(device->command({"install", bundle("2.0.0")}));
  ASSERT_TRUE(install.read_until(progress_of("stage", 0))) << install.finish().story();
  install.signal(GetParam());
  const Answer answer = install.finish();
  EXPECT_EQ(answer.exit_status, 130) << answer.story();
  EXPECT_EQ(answer.code(), "cancelled");
  expect_original_at_rest();
  EXPECT_EQ(difference(original, device->protected_files()), "");
  ASSERT_NO_FATAL_FAILURE(expect_recover_at_rest());
}
INSTANTIATE_TEST_SUITE_P(Signal, Interrupted, testing::Values(SIGINT, SIGTERM),
                         [](const auto& test) { return test.param == SIGINT ? "SIGINT" : "SIGTERM"; });

/// Waits until a stopped process has a signal waiting for it.
bool wait_for_pending(pid_t process, int signal) {
  for (int attempt = 0; attempt < 3000; ++attempt) {
    std::ifstream status("/proc/" + std::to_string(process) + "/status");
    for (std::string line; std::getline(status, line);) {
      if (!line.starts_with("ShdPnd:")) continue;
      if ((std::stoull(line.substr(7), nullptr, 16) >> (signal - 1) & 1) != 0) return true;
    }
    ::usleep(10'000);
  }
  return false;
}

TEST_F(MainJob, IsCancelledByAnotherProcess) {
  Program install(device->command({"install", bundle("2.0.0")}));
  ASSERT_TRUE(install.read_until(progress_of("stage", 0))) << install.finish().story();
  // Held until it was asked to end: else a fast install may be over before the other process has even started.
  install.signal(SIGSTOP);
  Program cancel(device->command({"cancel"}));
  ASSERT_TRUE(wait_for_pending(install.id(), SIGTERM));
  install.signal(SIGCONT);
  const Answer answer = install.finish();
  const Answer cancelled = cancel.finish();
  EXPECT_EQ(answer.exit_status, 130) << answer.story();
  EXPECT_EQ(cancelled.exit_status, 0) << cancelled.story();
  expect_original_at_rest();
}

TEST_F(MainJob, RefusesASecondInstallWhileOneRuns) {
  Program install(device->command({"install", bundle("2.0.0")}));
  ASSERT_TRUE(install.read_until(progress_of("stage", 0))) << install.finish().story();
  install.signal(SIGSTOP);
  const Answer second = device->install(bundle("3.0.0"));
  install.signal(SIGCONT);
  EXPECT_EQ(second.exit_status, 6) << second.story();
  EXPECT_EQ(second.code(), "busy");
  EXPECT_EQ(install.finish().outcome(), "armed");
}

TEST_F(MainJob, GoesOnWhenNobodyReadsItsOutput) {
  Program install(device->command({"install", bundle("2.0.0")}), {.closed_output = true});
  const Answer answer = install.finish();
  EXPECT_EQ(answer.exit_status, 0) << answer.story();
  EXPECT_EQ(device->variable("BOOT_ORDER"), "B A");
  EXPECT_TRUE(device->holds('B', "2.0.0"));
}

// ---- the other commands
// ----------------------------------------------------------------------------------------------

TEST_F(MainJob, LooksWithoutWriting) {
  ASSERT_NO_FATAL_FAILURE(begin_trial("2.0.0"));
  ASSERT_NO_FATAL_FAILURE(confirm());
  device->add_disposable("firmware-0.9.skb", 100000);
  const Fingerprint before = device->fingerprint();
  for (const std::vector<std::string>& command :
       std::vector<std::vector<std::string>>{{"status"},
                                             {"history"},
                                             {"verify"},
                                             {"preflight", bundle("3.0.0")},
                                             {"compact", "--dry-run"},
                                             {"bundle", "info", bundle("3.0.0")},
                                             {"recover"},
                                             {"confirm"}}) {
    const Answer answer = device->run(command);
    EXPECT_EQ(answer.exit_status, 0) << command.front() << "\n" << answer.story();
    EXPECT_EQ(difference(before, device->fingerprint()), "") << command.front() << " wrote";
  }
}

TEST_F(MainJob, PreflightShowsEveryGateAndEveryWrite) {
  const Answer answer = device->run({"preflight", bundle("2.0.0")});
  ASSERT_EQ(answer.exit_status, 0) << answer.story();
  for (const std::string gate : {"no-space", "fill-level", "config-busy", "fallback-damaged"}) {
    EXPECT_THAT(answer.output, HasSubstr("\"gate\":\"" + gate + "\""));
  }
  for (const Json& event : answer.events) {
    if (*event.find("event") != Json("gate")) continue;
    EXPECT_NE(event.find("measured")->as_integer(), nullptr) << event.print();
    EXPECT_NE(event.find("limit")->as_integer(), nullptr) << event.print();
    EXPECT_EQ(*event.find("pass"), Json(true)) << event.print();
  }
  EXPECT_THAT(answer.output, HasSubstr(device->slot_device('B')));
}

TEST_F(MainJob, CompactsOnItsOwn) {
  std::filesystem::remove(device->permanent("log/system/system.log.1"));  // too young at first, then not
  device->add_disposable("firmware-0.9.skb", 1 << 20);
  const Fingerprint original = device->protected_files();
  const Answer answer = device->run({"compact"});
  EXPECT_EQ(answer.exit_status, 0) << answer.story();
  EXPECT_EQ(answer.outcome(), "ok");
  EXPECT_FALSE(std::filesystem::exists(device->permanent("download/firmware-0.9.skb")));
  EXPECT_EQ(difference(original, device->protected_files()), "");
  EXPECT_EQ(device->run({"compact"}).outcome(), "nothing-to-do");
}

TEST_F(MainJob, MarksSlots) {
  ASSERT_NO_FATAL_FAILURE(begin_trial("2.0.0"));
  ASSERT_NO_FATAL_FAILURE(confirm());
  EXPECT_EQ(device->run({"mark", "A", "bad"}).exit_status, 0);
  EXPECT_EQ(device->variable("BOOT_ORDER"), "B");
  EXPECT_EQ(device->variable("BOOT_A_LEFT"), "0");
  EXPECT_EQ(device->run({"mark", "A", "good"}).exit_status, 0);
  EXPECT_THAT(device->variable("BOOT_ORDER"), StartsWith("B"));
  EXPECT_THAT(device->variable("BOOT_ORDER"), HasSubstr("A"));
  const Answer active = device->run({"mark", "A", "active"});
  EXPECT_EQ(active.exit_status, 0) << active.story();
  EXPECT_EQ(device->boot(), 'A');
  EXPECT_EQ(device->run({"recover"}).exit_status, 0);
  EXPECT_EQ(device->run({"status"}).text("slots/A/primary"), "true");
}

TEST_F(MainJob, LetsAnOperatorVouchForASlotThatNothingIsRecordedOf) {
  std::ofstream(device->slot_device('B'), std::ios::binary | std::ios::in) << std::string(4096, 'x');
  EXPECT_EQ(device->run({"mark", "B", "bad"}).exit_status, 0);
  EXPECT_EQ(device->variable("BOOT_ORDER"), "A");
  const Answer answer = device->run({"mark", "B", "good"});
  EXPECT_EQ(answer.exit_status, 0) << answer.story();
  EXPECT_EQ(device->variable("BOOT_ORDER"), "A B");
}

TEST_F(MainJob, FindsADifferenceAndChangesNothing) {
  EXPECT_EQ(device->run({"verify"}).exit_status, 0);
  {
    std::fstream slot(device->slot_device('A'), std::ios::binary | std::ios::in | std::ios::out);
    slot.seekp(5 << 20);
    slot << "damage";
  }
  const Fingerprint before = device->fingerprint();
  const Answer answer = device->run({"verify"});
  EXPECT_EQ(answer.exit_status, 5) << answer.story();
  EXPECT_EQ(answer.code(), "readback-mismatch");
  EXPECT_EQ(answer.outcome(), "failed");
  EXPECT_EQ(difference(before, device->fingerprint()), "");
}

TEST_F(MainJob, RepairsADamagedCopyOfTheBootEnvironment) {
  for (const unsigned int copy : {0u, 1u}) {
    device->damage_environment_copy(copy);
    ASSERT_FALSE(device->environment_copy_is_valid(copy));
    const Answer answer = device->run({"recover"});
    EXPECT_EQ(answer.exit_status, 0) << answer.story();
    EXPECT_EQ(answer.outcome(), "ok") << answer.story();
    EXPECT_TRUE(device->environment_copy_is_valid(0) && device->environment_copy_is_valid(1));
    EXPECT_EQ(device->variable("BOOT_ORDER").substr(0, 1), "A");
    ASSERT_NO_FATAL_FAILURE(expect_recover_at_rest());
  }
}

TEST_F(MainJob, ShowsABundleAndExtractsIt) {
  const Answer shown = device->run({"bundle", "info", bundle("2.0.0")});
  EXPECT_EQ(shown.exit_status, 0) << shown.story();
  EXPECT_EQ(shown.text("trusted"), "true") << shown.story();
  EXPECT_THAT(shown.output, HasSubstr("2.0.0"));
  const Answer extracted = device->run({"bundle", "extract", bundle("2.0.0"), "rootfs", device->path("extracted")});
  EXPECT_EQ(extracted.exit_status, 0) << extracted.story();
  EXPECT_EQ(hash_of(device->path("extracted")), hash_of(Material::get().image("2.0.0")));
}

TEST_F(MainJob, PacksTheSameBundleFromTheSameImages) {
  make_bundle({}, device->path("first.skb"));
  make_bundle({}, device->path("second.skb"));
  BundleFile first = BundleFile::read(device->path("first.skb"));
  BundleFile second = BundleFile::read(device->path("second.skb"));
  first.replace("manifest.cms", "");
  second.replace("manifest.cms", "");
  EXPECT_EQ(first.bytes(), second.bytes());
}

TEST_F(MainJob, TakesABaselineFromAFactoryBundle) {
  make_bundle({.version = "1.0.0", .images = {{"rootfs", Material::get().image("1.0.0")}}},
              device->path("factory.skb"));
  const Answer again = device->run({"provision"});
  EXPECT_EQ(again.exit_status, 6) << again.story();
  const Answer wrong = device->run({"provision", "--force", "--factory", bundle("2.0.0")});
  EXPECT_NE(wrong.exit_status, 0) << wrong.story();
  const Answer answer = device->run({"provision", "--force", "--factory", device->path("factory.skb")});
  EXPECT_EQ(answer.exit_status, 0) << answer.story();
  EXPECT_EQ(answer.text("baseline"), "factory");
  EXPECT_EQ(device->run({"status"}).text("slots/A/version"), "1.0.0");
  EXPECT_EQ(device->run({"install", device->path("factory.skb")}).outcome(), "nothing-to-do");
}

}  // namespace
}  // namespace slotkeeper::test
