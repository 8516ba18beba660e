// The watch over a trial: `confirm --deadline --reboot` on a machine whose time passes as fast as it is slept.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "partitions/state_store.hpp"
#include "tests/crash/world.hpp"
#include "tests/support/fault_storage.hpp"
#include "tests/support/unwrap.hpp"

namespace slotkeeper::test {
namespace {

using std::chrono::seconds;
using testing::ElementsAre;
using testing::IsEmpty;

class DeadlineTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(world.install(SlotId::a).outcome, Outcome::armed);
    ASSERT_EQ(world.boot(), SlotId::b);
    ASSERT_EQ(world.recover(SlotId::b).outcome, Outcome::ok);
    world.host().runs.clear();
    begun = world.host().slept;
  }

  CommandResult watch() {
    return world.run(
        SlotId::b, [](Engine& engine) { return engine.confirm({.deadline = true, .reboot = true}); }, &world.storage());
  }
  [[nodiscard]] std::vector<std::string> reboots() const {
    std::vector<std::string> found;
    for (const auto& run : const_cast<World&>(world).host().runs) {
      if (run.name == "reboot") found.push_back(run.arguments.empty() ? "reboot" : "reboot " + run.arguments.front());
    }
    return found;
  }

  World world;
  std::chrono::nanoseconds begun{0};
};

TEST_F(DeadlineTest, EndsTheTrialRightAfterItsTime) {
  const CommandResult result = watch();
  ASSERT_TRUE(result.failure);
  EXPECT_EQ(result.failure->error.code, Errc::health_timeout);
  const Configuration standard;
  EXPECT_GE(world.host().slept - begun, standard.confirm_within);
  EXPECT_LE(world.host().slept - begun, standard.confirm_within + seconds(2));
  EXPECT_THAT(reboots(), ElementsAre("reboot"));
  EXPECT_THAT(world.sink().restarts, ElementsAre("confirm " + std::string(name_of(result.outcome))));
  EXPECT_EQ(world.boot(), SlotId::a);
}

TEST_F(DeadlineTest, AConfirmationGetsThroughAndEndsTheWatch) {
  world.host().during_sleep = [&] {
    if (world.host().slept - begun != seconds(60)) return;
    EXPECT_EQ(world.confirm(SlotId::b, &world.storage()).outcome, Outcome::confirmed);
  };
  const CommandResult result = watch();
  EXPECT_EQ(result.outcome, Outcome::nothing_to_do) << (result.failure ? result.failure->error.message : "");
  EXPECT_LE(world.host().slept - begun, seconds(71));
  EXPECT_THAT(reboots(), IsEmpty());
}

TEST_F(DeadlineTest, ACommandThatHangsInTheDeviceDoesNotKeepTheTrial) {
  const auto held = ok(StateStore::open(world.storage(), "/dev/store", StateStore::Access::write));
  const CommandResult result = watch();
  ASSERT_TRUE(result.failure);
  EXPECT_EQ(result.failure->error.code, Errc::busy);
  EXPECT_THAT(reboots(), ElementsAre("reboot"));
}

TEST_F(DeadlineTest, AShutdownDuringTheHealthChecksSaysNothingAboutTheFirmware) {
  world.host().outcomes["check"] = {.exit_status = 1, .timed_out = false, .standard_output = {}, .standard_error = {}};
  world.host().during_run = [&](const std::string& name) { world.sink().cancel = name == "check"; };
  const auto confirm = [&] {
    return world.run(
        SlotId::b, [](Engine& engine) { return engine.confirm({.reboot = true}); }, &world.storage());
  };
  const CommandResult cut_off = confirm();
  ASSERT_TRUE(cut_off.failure);
  EXPECT_EQ(cut_off.failure->error.code, Errc::cancelled);
  EXPECT_THAT(reboots(), IsEmpty());
  EXPECT_EQ(world.boot_order(), "B A") << "the trial was given up";

  world.host().during_run = nullptr;
  world.host().outcomes.erase("check");
  world.sink().cancel = false;
  EXPECT_EQ(confirm().outcome, Outcome::confirmed);
}

TEST_F(DeadlineTest, ARestartThatFailsIsForced) {
  world.host().outcomes["reboot"] = {.exit_status = 1, .timed_out = false, .standard_output = {}, .standard_error = {}};
  static_cast<void>(watch());
  EXPECT_THAT(reboots(), ElementsAre("reboot", "reboot -f"));
  EXPECT_THAT(world.sink().notices, testing::Contains(testing::HasSubstr("restart the device by hand")));
}

TEST_F(DeadlineTest, WhatCannotBeReadAtFirstIsLookedAtAgain) {
  FaultStorage faulty(world.storage());
  faulty.set({.file = {}, .line = 0, .operation = "read_at", .nth = 1, .os_errno = EIO, .persistent = false});
  const CommandResult result = world.run(
      SlotId::b, [](Engine& engine) { return engine.confirm({.deadline = true, .reboot = true}); }, &faulty);
  EXPECT_EQ(faulty.faults_met(), 1U);
  ASSERT_TRUE(result.failure);
  EXPECT_EQ(result.failure->error.code, Errc::health_timeout) << result.failure->error.message;
  EXPECT_GE(world.host().slept - begun, Configuration().confirm_within) << "a healthy trial was left at once";
}

/// `recover` has not run in the trial's boot.
class UnseenTrialTest : public testing::Test {
 protected:
  void SetUp() override {
    before = world.configuration();
    ASSERT_EQ(world.install(SlotId::a).outcome, Outcome::armed);
    ASSERT_EQ(world.boot(), SlotId::b);
  }
  World world;
  TreeListing before;
};

TEST_F(UnseenTrialTest, EndsAtItsDeadlineWithoutBeingBegun) {
  world.replace_file("net/if.conf", "written by the trial\n");
  const CommandResult result = world.run(
      SlotId::b, [](Engine& engine) { return engine.confirm({.deadline = true, .reboot = true}); }, &world.storage());
  ASSERT_TRUE(result.failure);
  EXPECT_EQ(result.failure->error.code, Errc::health_timeout);
  EXPECT_THAT(world.host().names_run(), testing::Not(testing::Contains("check")));
  EXPECT_THAT(world.host().names_run(), testing::Contains("reboot"));
  ASSERT_EQ(world.boot(), SlotId::a);
  EXPECT_EQ(world.recover(SlotId::a).outcome, Outcome::rolled_back);
  EXPECT_EQ(difference(before, world.configuration()), "");
}

/// Whatever `recover --reboot` restarts must come to an end.
class RestartTest : public DeadlineTest {
 protected:
  CommandResult recover_at_a_new_boot(SlotId slot) {
    ++world.host().boots;
    return world.run(slot, [](Engine& engine) { return engine.recover({.reboot = true}); });
  }
};

TEST_F(RestartTest, AnOriginalThatNeverComesUpIsNotWaitedForEndlessly) {
  ASSERT_EQ(world.rollback(SlotId::b).outcome, Outcome::rolled_back);
  constexpr std::size_t kBoots = 12;
  for (std::size_t i = 0; i < kBoots; ++i) static_cast<void>(recover_at_a_new_boot(SlotId::b));
  const std::size_t restarts = reboots().size();
  EXPECT_GE(restarts, 1U);
  EXPECT_LE(restarts, 2U * World::kAttempts);
  EXPECT_THAT(world.sink().notices, testing::Contains(testing::HasSubstr("did not come up; the device stays")));
  // And when it does come up after all, it gets its configuration back.
  ++world.host().boots;
  EXPECT_EQ(world.recover(SlotId::a).outcome, Outcome::rolled_back);
}

TEST_F(RestartTest, ATrialWhoseEnvironmentIsLostIsKnownByItsRecord) {
  world.damage_environment();
  const CommandResult result = recover_at_a_new_boot(SlotId::b);
  ASSERT_TRUE(result.failure);
  EXPECT_EQ(result.failure->error.code, Errc::boot_environment);
  EXPECT_THAT(reboots(), ElementsAre("reboot"));
}

TEST_F(RestartTest, AConfirmedFirmwareWhoseEnvironmentIsLostIsNotRestarted) {
  ASSERT_EQ(world.confirm(SlotId::b).outcome, Outcome::confirmed);
  world.damage_environment();
  ASSERT_TRUE(recover_at_a_new_boot(SlotId::b).failure);
  EXPECT_THAT(reboots(), IsEmpty());
}

}  // namespace
}  // namespace slotkeeper::test
