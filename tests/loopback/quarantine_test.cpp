// Packages that fail again and again for reasons of their own.
#include <csignal>
#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/loopback/device_rig.hpp"

namespace slotkeeper::test {
namespace {

using testing::HasSubstr;

class Quarantine : public testing::Test {
 protected:
  void SetUp() override {
    if (!may_mount()) GTEST_SKIP() << "loop devices and mounts need root";
    device = std::make_unique<DeviceRig>();
    device->set_configuration(device->configuration() + "[install]\nquarantine-after = 2\n");
  }
  void arm(const std::string& bundle) {
    const Answer armed = device->install(bundle);
    ASSERT_EQ(armed.outcome(), "armed") << armed.story();
  }
  /// The bundle is installed, and its trial ends in the way of `how`; the original runs afterwards.
  void fail_by_health() {
    write_file(device->path("health.d/99-sick"), "#!/bin/sh\nexit 1\n", 0755);
    ASSERT_NO_FATAL_FAILURE(arm(bundle()));
    device->booted = device->boot();
    ASSERT_EQ(device->booted, 'B');
    ASSERT_EQ(device->run({"recover"}).exit_status, 0);
    ASSERT_EQ(device->run({"confirm"}).code(), "health");
    come_back();
  }
  void come_back() {
    device->booted = device->boot();
    ASSERT_EQ(device->booted, 'A');
    ASSERT_EQ(device->run({"recover"}).outcome(), "rolled-back");
  }
  [[nodiscard]] static std::string bundle() { return Material::get().bundle("2.0.0"); }
  /// A member of the package that failed last, "" where none has failed.
  [[nodiscard]] std::string listed(const std::string& name) const {
    const Json packages = device->run({"quarantine", "list"}).at("packages");
    if (packages.as_array() == nullptr || packages.as_array()->empty()) return "";
    const Json* value = packages.as_array()->front().find(name);
    return value == nullptr ? "?" : value->print();
  }
  [[nodiscard]] std::string failures() const { return listed("failures"); }

  std::unique_ptr<DeviceRig> device;
};

TEST_F(Quarantine, RefusesAPackageThatWasUnhealthyTwiceUntilItIsCleared) {
  ASSERT_NO_FATAL_FAILURE(fail_by_health());
  EXPECT_EQ(failures(), "1");
  ASSERT_NO_FATAL_FAILURE(fail_by_health());
  EXPECT_EQ(failures(), "2");
  std::filesystem::remove(device->path("health.d/99-sick"));

  const Fingerprint before = device->fingerprint();
  for (const auto& options : {std::vector<std::string>{}, std::vector<std::string>{"--force"}}) {
    std::vector<std::string> words = {"install", bundle()};
    words.insert(words.end(), options.begin(), options.end());
    const Answer refused = device->run(words);
    EXPECT_EQ(refused.exit_status, 3) << refused.story();
    EXPECT_EQ(refused.code(), "quarantined");
    EXPECT_EQ(refused.outcome(), "postponed");
    EXPECT_THAT(refused.message(), HasSubstr("slotkeeper quarantine clear "));
  }
  EXPECT_EQ(device->fingerprint().at("slot B"), before.at("slot B"));

  const std::string id = listed("id").substr(1, 12);  // behind the quotation mark
  EXPECT_EQ(device->run({"quarantine", "clear", "0123456789"}).outcome(), "nothing-to-do");
  const Answer cleared = device->run({"quarantine", "clear", id});
  EXPECT_EQ(cleared.outcome(), "ok") << cleared.story();
  EXPECT_EQ(failures(), "");
  ASSERT_NO_FATAL_FAILURE(arm(bundle()));
}

TEST_F(Quarantine, AnotherPackageMayBeTried) {
  ASSERT_NO_FATAL_FAILURE(fail_by_health());
  ASSERT_NO_FATAL_FAILURE(fail_by_health());
  std::filesystem::remove(device->path("health.d/99-sick"));
  ASSERT_NO_FATAL_FAILURE(arm(Material::get().bundle("3.0.0")));
}

TEST_F(Quarantine, CountsAFirmwareThatNeverComesUp) {
  for (int time = 1; time <= 2; ++time) {
    ASSERT_NO_FATAL_FAILURE(arm(Material::get().bundle("9.0.0")));
    ASSERT_NO_FATAL_FAILURE(come_back());
    EXPECT_EQ(failures(), std::to_string(time));
    EXPECT_EQ(device->run({"recover"}).outcome(), "nothing-to-do");
    EXPECT_EQ(failures(), std::to_string(time)) << "counted by a second recover";
  }
  EXPECT_EQ(device->install(Material::get().bundle("9.0.0")).code(), "quarantined");
}

TEST_F(Quarantine, CountsAMigrationThatFails) {
  ASSERT_NO_FATAL_FAILURE(arm(bundle()));
  device->booted = device->boot();
  write_file(device->path("hooks.d/migrate-config"), "#!/bin/sh\nexit 1\n", 0755);
  EXPECT_NE(device->run({"recover"}).exit_status, 0);
  ASSERT_NO_FATAL_FAILURE(come_back());
  EXPECT_EQ(failures(), "1");
}

TEST_F(Quarantine, DoesNotCountWhatSaysNothingAboutThePackage) {
  // A damaged copy.
  std::string damaged = contents_of(bundle());
  damaged[damaged.size() - 100000] ^= 1;
  write_file(device->path("damaged.skb"), damaged);
  EXPECT_EQ(device->install(device->path("damaged.skb")).code(), "corrupt");
  // An operator's rollback, of an armed one and of a trial.
  ASSERT_NO_FATAL_FAILURE(arm(bundle()));
  ASSERT_EQ(device->run({"rollback"}).outcome(), "rolled-back");
  ASSERT_NO_FATAL_FAILURE(arm(bundle()));
  device->booted = device->boot();
  ASSERT_EQ(device->run({"recover"}).exit_status, 0);
  ASSERT_EQ(device->run({"rollback"}).outcome(), "rolled-back");
  ASSERT_NO_FATAL_FAILURE(come_back());
  // A kill in the middle, and a cancellation.
  for (const int number : {SIGKILL, SIGTERM}) {
    Program install(device->command({"install", bundle()}));
    ASSERT_TRUE(install.read_until(progress_of("stage", 1 << 20)));
    install.signal(number);
    static_cast<void>(install.finish());
    static_cast<void>(device->run({"recover"}));
  }
  EXPECT_EQ(failures(), "");
}

TEST_F(Quarantine, IsForgottenByAPackageThatIsConfirmed) {
  ASSERT_NO_FATAL_FAILURE(fail_by_health());
  std::filesystem::remove(device->path("health.d/99-sick"));
  ASSERT_NO_FATAL_FAILURE(arm(bundle()));
  device->booted = device->boot();
  ASSERT_EQ(device->run({"recover"}).exit_status, 0);
  ASSERT_EQ(device->run({"confirm"}).outcome(), "confirmed");
  EXPECT_EQ(failures(), "");
}

TEST_F(Quarantine, IsShownByPreflightBeforeItRefuses) {
  ASSERT_NO_FATAL_FAILURE(fail_by_health());
  const Answer answer = device->run({"preflight", bundle()});
  EXPECT_EQ(answer.exit_status, 0) << answer.story();
  bool found = false;
  for (const Json& event : answer.events) {
    const Json* gate = event.find("gate");
    if (gate == nullptr || *gate != Json("quarantined")) continue;
    found = true;
    EXPECT_EQ(*event.find("measured"), Json(1));
    EXPECT_EQ(*event.find("limit"), Json(1));
  }
  EXPECT_TRUE(found);
}

}  // namespace
}  // namespace slotkeeper::test
