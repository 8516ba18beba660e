// Cuts the power at every storage call of every command, with the real engine on a small device, then boots as the
// bootloader would, recovers with the real code and checks the invariants. Every write that was made is kept here; what
// a cache may lose or tear is the subject of the simulation.
#include <cstdlib>

#include <gtest/gtest.h>

#include "tests/crash/world.hpp"
#include "tests/support/fault_storage.hpp"

namespace slotkeeper::test {
namespace {

using Configurations = std::map<std::string, std::string>;

/// Every n-th case only, e.g. under sanitizers; 1 is all of them.
std::uint64_t stride() {
  const char* value = std::getenv("SLOTKEEPER_CRASH_STRIDE");
  return value == nullptr ? 1 : std::max(1UL, std::strtoul(value, nullptr, 10));
}

/// A situation, the command that is cut in it, and the slot that runs it.
struct Scene {
  const char* name;
  SlotId slot;
  Configurations (*prepare)(World&);
  CommandResult (*command)(World&, io::Storage*);
};

// Each returns the configuration of the last moment at which the original firmware could write it.

Configurations nothing(World& world) { return world.configuration(); }

Configurations armed(World& world) {
  EXPECT_EQ(world.install(SlotId::a).outcome, Outcome::armed);
  return world.configuration();
}

Configurations armed_and_edited(World& world) {
  armed(world);
  world.write_file("net/if.conf", "address = 10.0.0.2\n");
  const auto last = world.configuration();
  EXPECT_EQ(world.boot(), SlotId::b);
  return last;
}

Configurations on_trial(World& world) {
  const auto last = armed_and_edited(world);
  EXPECT_EQ(world.recover(SlotId::b).outcome, Outcome::ok);
  return last;
}

/// The trial changed everything there is to change, then both tries were used up.
Configurations failed_trial(World& world) {
  const auto last = on_trial(world);
  world.write_file("net/if.conf", "address = broken\n");
  world.write_file("invented.conf", "by the trial\n");
  world.remove_file("secret.key");
  world.remove_file("current");
  world.write_file("leases.state", "lease of the trial\n");
  world.append_log("3 of the trial");
  EXPECT_EQ(world.boot(), SlotId::b);
  EXPECT_EQ(world.boot(), SlotId::a);
  return last;
}

/// The new firmware makes the configuration its own, in several files, and may run twice.
Configurations armed_with_migration(World& world) {
  const auto last = armed_and_edited(world);
  world.give_migration([&world](const io::ProcessRequest&) {
    world.write_file("net/if.conf", "version 2\n");
    world.write_file("net/added.conf", "by the migration\n");
    world.remove_file("current");
    return io::ProcessOutcome{};
  });
  return last;
}

Configurations failed_after_migration(World& world) {
  const auto last = armed_with_migration(world);
  EXPECT_EQ(world.recover(SlotId::b).outcome, Outcome::ok);
  EXPECT_EQ(world.boot(), SlotId::b);
  EXPECT_EQ(world.boot(), SlotId::a);
  return last;
}

const Scene kScenes[] = {
    {"Install", SlotId::a, nothing, [](World& w, io::Storage* s) { return w.install(SlotId::a, 2, s); }},
    {"RecoverWhileArmed", SlotId::a, armed, [](World& w, io::Storage* s) { return w.recover(SlotId::a, s); }},
    {"RollbackWhileArmed", SlotId::a, armed,
     [](World& w, io::Storage* s) {
       return w.run(
           SlotId::a, [](Engine& engine) { return engine.rollback(false); }, s);
     }},
    {"BeginTrial", SlotId::b, armed_and_edited, [](World& w, io::Storage* s) { return w.recover(SlotId::b, s); }},
    {"BeginTrialWithMigration", SlotId::b, armed_with_migration,
     [](World& w, io::Storage* s) { return w.recover(SlotId::b, s); }},
    {"RollBackAfterMigration", SlotId::a, failed_after_migration,
     [](World& w, io::Storage* s) { return w.recover(SlotId::a, s); }},
    {"Confirm", SlotId::b, on_trial, [](World& w, io::Storage* s) { return w.confirm(SlotId::b, s); }},
    {"RollbackInTrial", SlotId::b, on_trial,
     [](World& w, io::Storage* s) {
       return w.run(
           SlotId::b, [](Engine& engine) { return engine.rollback(false); }, s);
     }},
    {"RollBackAfterTrial", SlotId::a, failed_trial, [](World& w, io::Storage* s) { return w.recover(SlotId::a, s); }},
};

class PowerCut : public testing::TestWithParam<Scene> {
 protected:
  static void SetUpTestSuite() { world_ = new World; }
  static void TearDownTestSuite() {
    delete world_;
    world_ = nullptr;
  }
  static World& world() { return *world_; }

  /// Boots and recovers until nothing is left to do, checking after each boot.
  void settle(const Configurations& original) {
    bool ended = false;
    for (int boots = 0; boots < 8 && !ended; ++boots) {
      const SlotId slot = world().boot();
      ASSERT_EQ(world().version_in(slot), slot == SlotId::a ? 1 : 2);
      const auto recovered = world().recover(slot);
      ASSERT_FALSE(recovered.failure) << recovered.failure->error.message;
      const std::string after = world().everything();
      const auto again = world().recover(slot);
      ASSERT_FALSE(again.failure);
      ASSERT_EQ(world().everything(), after) << "the second recovery changed something";
      if (slot == SlotId::b) {
        const auto confirmed = world().confirm(slot);
        ended = confirmed.outcome == Outcome::confirmed || confirmed.outcome == Outcome::nothing_to_do;
        if (ended && world().host().migration) {
          ASSERT_TRUE(world().configuration().contains("net/added.conf")) << "confirmed without its migration";
        }
        continue;
      }
      ended = world().environment().primary() == SlotId::a;
      if (ended) {
        ASSERT_EQ(world().configuration(), original);
      }
    }
    ASSERT_TRUE(ended) << "the device did not come to rest";
    ASSERT_TRUE(world().own_directory_is_empty());
    ASSERT_EQ(world().version_in(SlotId::a), 1) << "the original was written";
  }

  static World* world_;
};
World* PowerCut::world_ = nullptr;

TEST_P(PowerCut, AtEveryCallEndsOnAWorkingFirmwareWithItsConfiguration) {
  const Scene& scene = GetParam();
  world().reset();
  world().save();
  const Configurations original = scene.prepare(world());
  ASSERT_FALSE(HasFailure());
  const std::string prepared_log = world().log();
  world().save();

  auto storage = io::make_posix_storage();
  FaultStorage faulty(*storage);
  faulty.simulate_freezes();
  const auto whole = scene.command(world(), &faulty);
  ASSERT_FALSE(whole.failure) << whole.failure->error.message;
  const std::uint64_t calls = faulty.calls();
  ASSERT_GT(calls, 10u);

  for (std::uint64_t cut = 0; cut < calls; cut += stride()) {
    SCOPED_TRACE("power cut after call " + std::to_string(cut) + " of " + std::to_string(calls));
    world().load();
    faulty.thaw_all();
    faulty.reset();
    faulty.cut_power_after(cut);
    static_cast<void>(scene.command(world(), &faulty));
    settle(original);
    ASSERT_EQ(world().log().substr(0, prepared_log.size()), prepared_log);
    if (HasFailure()) return;
  }
  std::printf("%s: %llu power cuts\n", scene.name, static_cast<unsigned long long>(calls));
}

TEST_P(PowerCut, AnErrorAtEveryCallNeverPretendsSuccess) {
  const Scene& scene = GetParam();
  world().reset();
  world().save();
  scene.prepare(world());
  ASSERT_FALSE(HasFailure());
  world().save();
  auto storage = io::make_posix_storage();
  FaultStorage faulty(*storage);
  faulty.simulate_freezes();
  ASSERT_FALSE(scene.command(world(), &faulty).failure);
  const std::uint64_t calls = faulty.calls();
  world().load();
  std::uint64_t tolerated = 0;
  for (std::uint64_t nth = 1; nth <= calls; nth += stride()) {
    SCOPED_TRACE("error at call " + std::to_string(nth) + " of " + std::to_string(calls));
    world().load();
    faulty.thaw_all();
    faulty.reset();
    faulty.set({.file = "", .line = 0, .operation = "", .nth = nth, .os_errno = 5, .persistent = false});
    const auto result = scene.command(world(), &faulty);
    if (!result.failure && !result.cause) {
      ++tolerated;
      // Reading one of two copies may fail; nothing that was to become durable may.
      const auto failed = faulty.last_failed_operation();
      ASSERT_FALSE(failed == "sync" || failed == "write_at" || failed == "submit" || failed == "rename" ||
                   failed == "sync_filesystem" || failed == "resize" || failed == "allocate")
          << failed << " failed and the command still succeeded";
    }
    for (int boots = 0; boots < 4; ++boots) {
      const SlotId slot = world().boot();
      ASSERT_EQ(world().version_in(slot), slot == SlotId::a ? 1 : 2);
      const auto recovered = world().recover(slot);
      ASSERT_FALSE(recovered.failure) << recovered.failure->error.message;
    }
    ASSERT_EQ(world().version_in(SlotId::a), 1);
    if (HasFailure()) return;
  }
  std::printf("%s: %llu errors, %llu tolerated\n", scene.name, static_cast<unsigned long long>(calls),
              static_cast<unsigned long long>(tolerated));
}

INSTANTIATE_TEST_SUITE_P(Scenes, PowerCut, testing::ValuesIn(kScenes),
                         [](const auto& scene) { return std::string(scene.param.name); });

}  // namespace
}  // namespace slotkeeper::test
