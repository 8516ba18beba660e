// What runs at boot without anybody watching: `recover --reboot`, `confirm --reboot` and `confirm --deadline`. The hook
// `reboot` of the rig writes a line into a file.
#include <chrono>
#include <csignal>
#include <filesystem>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/loopback/device_rig.hpp"

namespace slotkeeper::test {
namespace {

using testing::HasSubstr;
using testing::Not;

class TrialEnd : public testing::Test {
 protected:
  void SetUp() override {
    if (!may_mount()) GTEST_SKIP() << "loop devices and mounts need root";
    device = std::make_unique<DeviceRig>();
    original = device->protected_files();
  }

  /// Installs version 2.0.0 and boots it; `recover` has not run yet.
  void boot_trial() {
    const Answer answer = device->install(Material::get().bundle("2.0.0"));
    ASSERT_EQ(answer.outcome(), "armed") << answer.story();
    ASSERT_EQ(device->boot(), 'B');
  }
  void begin_trial() {
    ASSERT_NO_FATAL_FAILURE(boot_trial());
    const Answer answer = device->run({"recover", "--reboot"});
    ASSERT_EQ(answer.exit_status, 0) << answer.story();
    ASSERT_EQ(reboots(), 0) << "a trial that began well was restarted";
    write_file(device->permanent("network/interfaces.conf"), "changed by 2.0.0\n");
  }
  void let_trials_last(const std::string& duration) const {
    device->edit_configuration("confirm-within = \"15min\"", "confirm-within = \"" + duration + "\"");
  }
  [[nodiscard]] int reboots() const {
    const std::string path = device->path("reboots");
    if (!std::filesystem::exists(path)) return 0;
    const std::string text = contents_of(path);
    return static_cast<int>(std::ranges::count(text, '\n'));
  }
  /// The restart that was asked for: the original runs, with its configuration.
  void expect_original_after_restart() {
    ASSERT_EQ(device->boot(), 'A');
    const Answer answer = device->run({"recover", "--reboot"});
    EXPECT_EQ(answer.outcome(), "rolled-back") << answer.story();
    EXPECT_EQ(difference(original, device->protected_files()), "");
    EXPECT_EQ(device->variable("BOOT_ORDER"), "A");
  }
  void add_check(const std::string& name, const std::string& body) const {
    write_file(device->path("health.d/" + name), "#!/bin/sh\n" + body + "\n", 0755);
  }

  std::unique_ptr<DeviceRig> device;
  Fingerprint original;
};

TEST_F(TrialEnd, AnUnhealthyTrialRestartsTheDevice) {
  ASSERT_NO_FATAL_FAILURE(begin_trial());
  add_check("50-services", "echo 'unit vpn.service is failed'; exit 3");
  const Answer answer = device->run({"confirm", "--reboot"});
  EXPECT_EQ(answer.exit_status, 7) << answer.story();
  EXPECT_EQ(answer.code(), "health");
  EXPECT_THAT(answer.message(), HasSubstr("the health check '50-services' ended with status 3: unit vpn.service is"));
  EXPECT_EQ(reboots(), 1);
  expect_original_after_restart();
  EXPECT_EQ(reboots(), 1) << "the original was restarted, too";
}

TEST_F(TrialEnd, AHealthyTrialGoesOn) {
  ASSERT_NO_FATAL_FAILURE(begin_trial());
  const Answer answer = device->run({"confirm", "--reboot"});
  EXPECT_EQ(answer.outcome(), "confirmed") << answer.story();
  EXPECT_EQ(device->run({"confirm", "--deadline", "--reboot"}).outcome(), "nothing-to-do");
  EXPECT_EQ(reboots(), 0);
}

TEST_F(TrialEnd, HealthChecksKnowTheDevice) {
  ASSERT_NO_FATAL_FAILURE(begin_trial());
  add_check("20-environment", "test \"$SLOTKEEPER_PERMANENT\" = '" + device->path("permanent") +
                                  "' && test \"$SLOTKEEPER_SLOT\" = B && test \"$SLOTKEEPER_VERSION\" = 2.0.0");
  const Answer answer = device->run({"confirm"});
  EXPECT_EQ(answer.outcome(), "confirmed") << answer.story();
}

TEST_F(TrialEnd, OfALongOutputTheLastPartIsReported) {
  ASSERT_NO_FATAL_FAILURE(begin_trial());
  add_check("50-chatty", "seq 1 2000; echo the last word; exit 1");
  const Answer answer = device->run({"confirm"});
  EXPECT_THAT(answer.message(), HasSubstr("status 1: the last word"));
  EXPECT_THAT(answer.text("checks"), HasSubstr("the last word"));
  EXPECT_THAT(answer.text("checks"), Not(HasSubstr("\\x0a99\\x0a"))) << "the beginning was kept instead";
}

TEST_F(TrialEnd, ChecksEndWithTheTimeOfTheTrial) {
  ASSERT_NO_FATAL_FAILURE(begin_trial());
  let_trials_last("5s");
  add_check("50-endless", "sleep 60");
  add_check("60-behind", "exit 0");
  const auto begin = std::chrono::steady_clock::now();
  const Answer answer = device->run({"confirm", "--reboot"});
  EXPECT_EQ(answer.code(), "health-timeout") << answer.story();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(15)) << "the check had its own 20 s";
  EXPECT_EQ(reboots(), 1);
  expect_original_after_restart();
}

TEST_F(TrialEnd, ATrialThatNobodyConfirmsEndsWithItsTime) {
  ASSERT_NO_FATAL_FAILURE(begin_trial());
  let_trials_last("4s");
  const Answer answer = device->run({"confirm", "--deadline", "--reboot"});
  EXPECT_EQ(answer.exit_status, 7) << answer.story();
  EXPECT_EQ(answer.code(), "health-timeout");
  EXPECT_EQ(reboots(), 1);
  expect_original_after_restart();
}

TEST_F(TrialEnd, TheWatchEndsWhenSomebodyConfirms) {
  ASSERT_NO_FATAL_FAILURE(begin_trial());
  Program watch(device->command({"confirm", "--deadline", "--reboot"}));
  std::this_thread::sleep_for(std::chrono::seconds(2));
  const Answer confirmed = device->run({"confirm"});
  EXPECT_EQ(confirmed.outcome(), "confirmed") << "the watch stands in the way: " << confirmed.story();
  const Answer watched = watch.finish();
  EXPECT_EQ(watched.outcome(), "nothing-to-do") << watched.story();
  EXPECT_EQ(reboots(), 0);
}

TEST_F(TrialEnd, TheWatchEndsWhenAskedTo) {
  ASSERT_NO_FATAL_FAILURE(begin_trial());
  Program watch(device->command({"confirm", "--deadline", "--reboot"}));
  std::this_thread::sleep_for(std::chrono::seconds(2));
  watch.signal(SIGTERM);
  const Answer watched = watch.finish();
  EXPECT_EQ(watched.exit_status, 130) << watched.story();
  EXPECT_EQ(reboots(), 0) << "a shutdown is no reason for another restart";
  EXPECT_EQ(device->run({"status"}).text("transaction/state"), "trial");
}

TEST_F(TrialEnd, ACommandThatIsInTheWayRestartsNothing) {
  ASSERT_NO_FATAL_FAILURE(begin_trial());
  const std::string begun = device->path("check-begun");
  const std::string go_on = device->path("check-goes-on");
  add_check("50-slow", "touch '" + begun + "'; while [ ! -e '" + go_on + "' ]; do sleep 0.1; done");
  Program first(device->command({"confirm", "--reboot"}));
  while (!std::filesystem::exists(begun)) std::this_thread::sleep_for(std::chrono::milliseconds(50));
  const Answer second = device->run({"confirm", "--reboot"});
  write_file(go_on, "");
  EXPECT_EQ(second.code(), "busy") << second.story();
  EXPECT_EQ(first.finish().outcome(), "confirmed");
  EXPECT_EQ(reboots(), 0);
}

TEST_F(TrialEnd, ATrialWhoseStoreCannotBeReadIsLeft) {
  ASSERT_NO_FATAL_FAILURE(boot_trial());
  std::filesystem::rename(device->store(), device->path("store.away"));
  write_file(device->store(), std::string(8 << 20, '\xff'));
  const Answer answer = device->run({"recover", "--reboot"});
  EXPECT_EQ(answer.exit_status, 2) << answer.story();
  EXPECT_EQ(reboots(), 1) << "nobody else brings this device back";
  EXPECT_EQ(device->run({"confirm", "--deadline", "--reboot"}).exit_status, 2);
  EXPECT_EQ(reboots(), 2);
  std::filesystem::rename(device->path("store.away"), device->store());
}

TEST_F(TrialEnd, OnTheOriginalAnErrorRestartsNothing) {
  write_file(device->store(), std::string(8 << 20, '\xff'));
  EXPECT_EQ(device->run({"recover", "--reboot"}).exit_status, 2);
  EXPECT_EQ(device->run({"confirm", "--deadline", "--reboot"}).exit_status, 2);
  EXPECT_EQ(reboots(), 0) << "a device that works would restart for ever";
}

TEST_F(TrialEnd, ATrialThatWasGivenUpButStillRunsIsLeftAtOnce) {
  ASSERT_NO_FATAL_FAILURE(begin_trial());
  ASSERT_EQ(device->run({"rollback"}).exit_status, 0);
  const Answer watched = device->run({"confirm", "--deadline", "--reboot"});
  EXPECT_EQ(watched.code(), "wrong-state") << watched.story();
  EXPECT_EQ(reboots(), 1);
  expect_original_after_restart();
}

TEST_F(TrialEnd, ForceAndDeadlineExcludeEachOther) {
  const Answer answer = device->run({"confirm", "--deadline", "--force"});
  EXPECT_EQ(answer.exit_status, 2) << answer.story();
  EXPECT_EQ(answer.code(), "usage");
}

}  // namespace
}  // namespace slotkeeper::test
