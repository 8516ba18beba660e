// Which versions may follow each other, on a device: the floor rises at confirm and only then, a rollback is always
// allowed, and a state store that was set back is found by a hardware counter.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/loopback/device_rig.hpp"

namespace slotkeeper::test {
namespace {

using testing::HasSubstr;

class VersionFloor : public testing::Test {
 protected:
  void SetUp() override {
    if (!may_mount()) GTEST_SKIP() << "loop devices and mounts need root";
    device = std::make_unique<DeviceRig>();
  }
  /// `image` is that of 2.0.0 or 3.0.0, whatever the bundle calls its version.
  std::string make(const std::string& version, const std::string& rules, const std::string& image = "2.0.0") {
    BundleRecipe recipe;
    recipe.version = version;
    recipe.more = rules;
    recipe.images = {{"rootfs", Material::get().image(image)}};
    std::string path = device->path(version + "-" + std::to_string(++made) + ".skb");
    make_bundle(recipe, path);
    return path;
  }
  static std::string group(int version, const std::string& admits) {
    return "[firmware-group]\nversion = " + std::to_string(version) + "\nadmits = [" + admits + "]\n";
  }
  void expect_confirmed(const std::string& bundle) {
    const Answer armed = device->install(bundle);
    ASSERT_EQ(armed.outcome(), "armed") << armed.story();
    device->booted = device->boot();
    ASSERT_EQ(device->run({"recover"}).exit_status, 0);
    ASSERT_EQ(device->run({"confirm"}).outcome(), "confirmed");
  }
  void expect_refused(const std::string& bundle) {
    const Fingerprint before = device->fingerprint();
    const Answer answer = device->install(bundle);
    EXPECT_EQ(answer.exit_status, 4) << answer.story();
    EXPECT_EQ(answer.code(), "downgrade") << answer.story();
    EXPECT_EQ(answer.outcome(), "refused");
    Fingerprint after = device->fingerprint();
    EXPECT_EQ(after["slot B"], before.at("slot B"));
    EXPECT_EQ(after["environment"], before.at("environment"));
    EXPECT_EQ(device->run({"preflight", bundle}).code(), "downgrade");
  }
  [[nodiscard]] std::string floor(const std::string& member) const {
    return device->run({"status"}).text("floor/" + member);
  }
  /// A counter in a file, as a hook.
  void add_counter(const std::string& value) const {
    write_file(device->path("counter"), value + "\n");
    write_file(
        device->path("hooks.d/counter"),
        "#!/bin/sh\nset -e\nvalue=$(cat '" + device->path("counter") +
            "')\nif [ -n \"$SLOTKEEPER_COUNTER_RAISE_TO\" ] && [ \"$value\" -lt \"$SLOTKEEPER_COUNTER_RAISE_TO\" ]; "
            "then\n  value=$SLOTKEEPER_COUNTER_RAISE_TO\n  echo \"$value\" >'" +
            device->path("counter") + "'\nfi\necho \"$value\"\n",
        0755);
  }

  std::unique_ptr<DeviceRig> device;
  int made = 0;
};

TEST_F(VersionFloor, RisesAtConfirmAndNeverFalls) {
  EXPECT_EQ(device->run({"status"}).text("floor"), "");
  ASSERT_NO_FATAL_FAILURE(expect_confirmed(make("3.5.1", group(7, R"("3.5.0", "3.5.1")"))));
  EXPECT_EQ(floor("group"), "7");
  EXPECT_EQ(floor("authentic"), "true");
  expect_refused(make("3.4.0", group(6, R"("3.4.0")")));
  expect_refused(make("3.4.0", ""));
  expect_refused(make("3.4.0", "minimum-version = \"3.0\"\n"));
  // An older one of the present group, made when the group was a lower one.
  ASSERT_NO_FATAL_FAILURE(expect_confirmed(make("3.5.0", group(5, R"("3.5.0")"), "3.0.0")));
  EXPECT_EQ(floor("group"), "7");
  EXPECT_EQ(device->run({"status"}).text("slots/A/version"), "3.5.0");
}

TEST_F(VersionFloor, DoesNotRiseWithATrialThatIsRolledBack) {
  ASSERT_NO_FATAL_FAILURE(expect_confirmed(make("3.5.1", group(7, R"("3.5.1")"))));
  const Answer armed = device->install(make("4.0.0", group(8, R"("4.0.0")"), "3.0.0"));
  ASSERT_EQ(armed.outcome(), "armed") << armed.story();
  EXPECT_EQ(floor("group"), "7") << "raised before it is confirmed";
  device->booted = device->boot();
  ASSERT_EQ(device->run({"recover"}).exit_status, 0);
  EXPECT_EQ(floor("group"), "7");
  ASSERT_EQ(device->run({"rollback"}).outcome(), "rolled-back");
  device->booted = device->boot();
  ASSERT_EQ(device->run({"recover"}).outcome(), "rolled-back");
  EXPECT_EQ(floor("group"), "7");
  ASSERT_NO_FATAL_FAILURE(expect_confirmed(make("3.5.1", group(7, R"("3.5.1")"), "3.0.0")));
}

TEST_F(VersionFloor, ARollbackToThePreviousFirmwareIsAlwaysAllowed) {
  ASSERT_NO_FATAL_FAILURE(expect_confirmed(make("3.5.1", group(7, R"("3.5.1")"))));
  ASSERT_NO_FATAL_FAILURE(expect_confirmed(make("4.0.0", group(8, R"("4.0.0")"), "3.0.0")));
  ASSERT_EQ(device->run({"rollback", "--to-previous"}).outcome(), "rolled-back");
  device->booted = device->boot();
  ASSERT_EQ(device->run({"recover"}).exit_status, 0);
  EXPECT_EQ(device->booted, 'B');
  EXPECT_EQ(floor("group"), "8") << "the floor is not lowered by it";
  expect_refused(make("3.5.0", group(7, R"("3.5.0")"), "3.0.0"));
}

TEST_F(VersionFloor, HoldsAMinimumVersion) {
  ASSERT_NO_FATAL_FAILURE(expect_confirmed(make("3.10.0", "minimum-version = \"3.9\"\n")));
  EXPECT_EQ(floor("minimum_version"), "3.9");
  expect_refused(make("3.8.9", ""));
  expect_refused(make("3.8.9", "minimum-version = \"1\"\n"));
  ASSERT_NO_FATAL_FAILURE(expect_confirmed(make("3.9.0", "", "3.0.0")));
  EXPECT_EQ(floor("minimum_version"), "3.9");
}

TEST_F(VersionFloor, ComesFromAFactoryBundle) {
  const std::string factory = make("1.0.0", group(7, R"("1.0.0")"), "1.0.0");
  const Answer answer = device->run({"provision", "--force", "--factory", factory});
  ASSERT_EQ(answer.exit_status, 0) << answer.story();
  EXPECT_EQ(floor("group"), "7");
  expect_refused(make("2.0.0", ""));
}

TEST_F(VersionFloor, WhoseSignatureIsNoLongerGoodAdmitsHigherGroupsOnly) {
  ASSERT_NO_FATAL_FAILURE(expect_confirmed(make("3.5.1", group(7, R"("3.5.0", "3.5.1")"))));
  // The vendor has changed the anchor; what was signed under the old one cannot be proven any more.
  write_file(device->path("trust.pem"), contents_of(Material::get().certificate(Signer::unknown)));
  EXPECT_EQ(floor("authentic"), "false");
  EXPECT_THAT(device->run({"status"}).text("weaker"), HasSubstr("firmware group is not authentic"));
  const auto by_other = [&](const std::string& version, int number) {
    BundleRecipe recipe;
    recipe.version = version;
    recipe.more = group(number, "\"" + version + "\"");
    recipe.images = {{"rootfs", Material::get().image("3.0.0")}};
    recipe.signer = Signer::unknown;
    std::string path = device->path(version + "-other.skb");
    make_bundle(recipe, path);
    return path;
  };
  expect_refused(by_other("3.5.0", 7));
  ASSERT_NO_FATAL_FAILURE(expect_confirmed(by_other("3.6.0", 8)));
  EXPECT_EQ(floor("authentic"), "true");
}

TEST_F(VersionFloor, ACounterFollowsTheGroupAndFindsAStoreThatWasSetBack) {
  add_counter("0");
  ASSERT_NO_FATAL_FAILURE(expect_confirmed(make("3.5.1", group(7, R"("3.5.0", "3.5.1")"))));
  EXPECT_EQ(contents_of(device->path("counter")), "7\n");
  EXPECT_EQ(floor("counter"), "7");
  // The same store as if an attacker had put back a copy: it knows nothing of group 9.
  add_counter("9");
  expect_refused(make("3.5.0", group(7, R"("3.5.0", "3.5.1")"), "3.0.0"));
  expect_refused(make("3.8.0", group(8, R"("3.8.0")"), "3.0.0"));
  ASSERT_NO_FATAL_FAILURE(expect_confirmed(make("3.9.0", group(9, R"("3.9.0")"), "3.0.0")));
}

TEST_F(VersionFloor, ACounterIsRaisedByRecoverWhereItFailedBefore) {
  add_counter("0");
  write_file(device->path("hooks.d/counter"), "#!/bin/sh\n[ -z \"$SLOTKEEPER_COUNTER_RAISE_TO\" ] || exit 1\necho 0\n",
             0755);
  ASSERT_NO_FATAL_FAILURE(expect_confirmed(make("3.5.1", group(7, R"("3.5.1")"))));
  EXPECT_EQ(floor("counter"), "0");
  add_counter("0");
  ASSERT_EQ(device->run({"recover"}).exit_status, 0);
  EXPECT_EQ(floor("counter"), "7");
}

TEST_F(VersionFloor, ACounterThatDoesNotAnswerIsNotTakenForNone) {
  write_file(device->path("hooks.d/counter"), "#!/bin/sh\necho 'no TPM'\n", 0755);
  const Answer answer = device->install(make("3.5.1", group(7, R"("3.5.1")")));
  EXPECT_EQ(answer.exit_status, 6) << answer.story();
  EXPECT_THAT(answer.message(), HasSubstr("the version counter of this device does not answer"));
  const Answer status = device->run({"status"});
  EXPECT_EQ(status.exit_status, 0) << status.story();
  EXPECT_THAT(status.text("weaker"), HasSubstr("the version counter of this device does not answer"));
}

}  // namespace
}  // namespace slotkeeper::test
