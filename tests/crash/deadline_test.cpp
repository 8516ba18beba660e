// The watch over a trial: `confirm --deadline --reboot` on a machine whose time passes as fast as it is slept.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "partitions/state_store.hpp"
#include "tests/crash/world.hpp"
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

TEST_F(DeadlineTest, ARestartThatFailsIsForced) {
  world.host().outcomes["reboot"] = {.exit_status = 1, .timed_out = false, .standard_output = {}, .standard_error = {}};
  static_cast<void>(watch());
  EXPECT_THAT(reboots(), ElementsAre("reboot", "reboot -f"));
  EXPECT_THAT(world.sink().notices, testing::Contains(testing::HasSubstr("restart the device by hand")));
}

}  // namespace
}  // namespace slotkeeper::test
