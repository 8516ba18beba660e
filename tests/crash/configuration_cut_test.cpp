// Power cuts at every storage call where the configuration changes hands: a trial that begins and is never seen again,
// a migration that fails, a fall-back that restores what the older firmware left.
#include <gtest/gtest.h>

#include "tests/crash/world.hpp"
#include "tests/support/crash_stride.hpp"
#include "tests/support/fault_storage.hpp"

namespace slotkeeper::test {
namespace {

using Configurations = TreeListing;

class ConfigurationCut : public testing::Test {
 protected:
  static void SetUpTestSuite() { world_ = new World; }
  static void TearDownTestSuite() {
    delete world_;
    world_ = nullptr;
  }
  static World& world() { return *world_; }

  void SetUp() override {
    world().reset();
    world().save();
  }

  /// Armed, edited by the original, and booted; the new firmware has a migration that ends with `exit_status`.
  static Configurations arm(int exit_status) {
    EXPECT_EQ(world().install(SlotId::a).outcome, Outcome::armed);
    world().write_file("net/if.conf", "address = 10.0.0.2\n");
    const auto last = world().configuration();
    EXPECT_EQ(world().boot(), SlotId::b);
    world().give_migration([exit_status](World& device, const io::ProcessRequest&) {
      device.write_file("net/if.conf", "version 2\n");
      device.write_file("net/added.conf", "by the migration\n");
      io::ProcessOutcome outcome;
      outcome.exit_status = exit_status;
      return outcome;
    });
    return last;
  }

  /// Carries `command` out with the power going after each of its calls, and looks at the device with `check`.
  static void sweep(const std::function<CommandResult(io::Storage*)>& command, const std::function<void()>& check) {
    world().save();
    FaultStorage faults(world().storage());
    static_cast<void>(command(&faults));
    const std::uint64_t calls = faults.calls();
    ASSERT_GT(calls, 50U);
    for (std::uint64_t cut = 0; cut <= calls; cut += crash_stride()) {
      SCOPED_TRACE("power cut after call " + std::to_string(cut) + " of " + std::to_string(calls));
      world().load();
      faults.reset();
      faults.cut_power_after(cut);
      static_cast<void>(command(&faults));
      check();
      if (HasFailure()) return;
    }
    std::printf("%llu power cuts\n", static_cast<unsigned long long>(calls));
  }

  static World* world_;
};
World* ConfigurationCut::world_ = nullptr;

TEST_F(ConfigurationCut, ATrialThatIsNeverSeenAgainLeavesWhatTheOriginalWroteLast) {
  const auto last = arm(0);
  sweep([](io::Storage* storage) { return world().recover(SlotId::b, storage); },
        [&] {
          while (world().boot() == SlotId::b) continue;  // it does not get as far as `recover` any more
          const auto recovered = world().recover(SlotId::a);
          ASSERT_FALSE(recovered.failure) << recovered.failure->error.message;
          EXPECT_EQ(world().configuration(), last);
          EXPECT_TRUE(world().own_directory_is_empty());
        });
}

TEST_F(ConfigurationCut, AFailedMigrationAlwaysEndsOnTheOriginal) {
  const auto last = arm(1);
  sweep([](io::Storage* storage) { return world().recover(SlotId::b, storage); },
        [&] {
          for (int boots = 0; boots < 4; ++boots) {
            const SlotId slot = world().boot();
            const auto recovered = world().recover(slot);
            if (slot == SlotId::b) {
              ASSERT_TRUE(recovered.failure) << "services may start on a configuration that is half migrated";
              EXPECT_EQ(recovered.exit_status(), 7);
              continue;
            }
            ASSERT_FALSE(recovered.failure) << recovered.failure->error.message;
          }
          EXPECT_EQ(world().configuration(), last);
          EXPECT_TRUE(world().boot_order().starts_with("A"));
        });
}

TEST_F(ConfigurationCut, AFallBackLeavesTheOneConfigurationOrTheOther) {
  const auto original = arm(0);
  ASSERT_EQ(world().recover(SlotId::b).outcome, Outcome::ok);
  ASSERT_EQ(world().confirm(SlotId::b).outcome, Outcome::confirmed);
  world().write_file("net/late.conf", "of version 2\n");
  world().remove_file("secret.key");
  world().append_log("3 of version 2");
  const auto newer = world().configuration();
  bool again_in_b = false;
  const auto command = [](io::Storage* storage) { return world().recover(SlotId::a, storage); };
  const auto check = [&] {
    const auto slot = again_in_b ? SlotId::b : SlotId::a;
    ++world().host().boots;
    const auto recovered = world().recover(slot);
    ASSERT_FALSE(recovered.failure) << recovered.failure->error.message;
    const auto now = world().configuration();
    EXPECT_TRUE(now == original || (again_in_b && now == newer)) << "a mix of both";
    EXPECT_NE(world().log().find("3 of version 2"), std::string::npos);
    const std::uint64_t after = world().everything();
    ASSERT_FALSE(world().recover(slot).failure);
    EXPECT_EQ(world().everything(), after) << "the second recovery changed something";
  };
  sweep(command, check);
  again_in_b = true;
  world().load();
  sweep(command, check);
}

TEST_F(ConfigurationCut, ASecondFallBackSavesAsideWhatIsThereThen) {
  static_cast<void>(arm(0));
  ASSERT_EQ(world().recover(SlotId::b).outcome, Outcome::ok);
  ASSERT_EQ(world().confirm(SlotId::b).outcome, Outcome::confirmed);
  for (const char* contents : {"first\n", "second\n"}) {
    world().write_file("net/late.conf", contents);
    ++world().host().boots;
    const auto fell_back = world().recover(SlotId::a);
    ASSERT_FALSE(fell_back.failure) << fell_back.failure->error.message;
    const Json result = fell_back.extra;
    ASSERT_NE(result.find("configuration"), nullptr);
    EXPECT_EQ(*result.find("configuration"), Json("restored"));
    EXPECT_EQ(*result.find("saved_aside"), Json(true));
    EXPECT_FALSE(world().configuration().contains("net/late.conf"));
    const auto active = world().run(SlotId::a, [](Engine& engine) { return engine.mark(SlotId::b, SlotMark::active); });
    ASSERT_FALSE(active.failure) << active.failure->error.message;
    ++world().host().boots;
    ASSERT_FALSE(world().recover(SlotId::b).failure);
  }
}

}  // namespace
}  // namespace slotkeeper::test
