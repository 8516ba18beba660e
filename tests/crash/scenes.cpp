#include "tests/crash/scenes.hpp"

#include <cstdlib>

#include <gtest/gtest.h>

namespace slotkeeper::test {
namespace {

// ---- situations: each returns the configuration of the last moment at which the original firmware could write it
// ------

TreeListing nothing(World& world) { return world.configuration(); }

TreeListing armed(World& world) {
  EXPECT_EQ(world.install(SlotId::a).outcome, Outcome::armed);
  return world.configuration();
}

TreeListing armed_and_edited(World& world) {
  armed(world);
  world.write_file("net/if.conf", "address = 10.0.0.2\n");
  const auto last = world.configuration();
  EXPECT_EQ(world.boot(), SlotId::b);
  return last;
}

TreeListing on_trial(World& world) {
  auto last = armed_and_edited(world);
  EXPECT_EQ(world.recover(SlotId::b).outcome, Outcome::ok);
  return last;
}

/// The trial changed everything there is to change, then both tries were used up.
TreeListing failed_trial(World& world) {
  auto last = on_trial(world);
  world.write_file("net/if.conf", "address = broken\n");
  world.write_file("invented.conf", "by the trial\n");
  world.remove_file("secret.key");
  world.remove_file("current");
  world.write_file("leases.state", "lease of the trial\n");
  world.give_mode("net", 0700);
  world.append_log("3 of the trial");
  EXPECT_EQ(world.boot(), SlotId::b);
  EXPECT_EQ(world.boot(), SlotId::a);
  return last;
}

/// The new firmware makes the configuration its own, in several files, and may run twice.
TreeListing armed_with_migration(World& world) {
  auto last = armed_and_edited(world);
  world.give_migration([](World& device, const io::ProcessRequest&) {
    device.write_file("net/if.conf", "version 2\n", World::Durability::unsynced);
    device.write_file("net/added.conf", "by the migration\n", World::Durability::unsynced);
    device.remove_file("current", World::Durability::unsynced);
    return io::ProcessOutcome{};
  });
  return last;
}

/// A migration that is recorded as done is not run again, so all of it must be there.
std::string half_migrated(const World& world) {
  const FileTree& tree = world.machine().tree.seen();
  const auto text_of = [&](const std::string& name) {
    const std::string path = std::string(World::kPermanent) + "/" + name;
    return tree.find(path) ? world.machine().node(path).contents.text() : "(gone)";
  };
  if (text_of("net/if.conf") != "version 2\n")
    return "the confirmed firmware has net/if.conf: " + text_of("net/if.conf");
  if (text_of("net/added.conf") != "by the migration\n") return "net/added.conf: " + text_of("net/added.conf");
  return tree.find(std::string(World::kPermanent) + "/current") ? "current is there again" : "";
}

TreeListing failed_after_migration(World& world) {
  auto last = armed_with_migration(world);
  EXPECT_EQ(world.recover(SlotId::b).outcome, Outcome::ok);
  EXPECT_EQ(world.boot(), SlotId::b);
  EXPECT_EQ(world.boot(), SlotId::a);
  return last;
}

/// Version 2 runs from slot B, version 1 is the other one; what was written since is version 2's.
TreeListing confirmed(World& world) {
  on_trial(world);
  EXPECT_EQ(world.confirm(SlotId::b).outcome, Outcome::confirmed);
  world.write_file("net/late.conf", "of version 2\n");
  world.remove_file("secret.key");
  world.append_log("3 of version 2");
  return world.configuration();
}

/// What version 1 left, before `confirmed`.
TreeListing confirmed_to_be_undone(World& world) {
  const auto last = on_trial(world);
  EXPECT_EQ(world.confirm(SlotId::b).outcome, Outcome::confirmed);
  world.write_file("net/late.conf", "of version 2\n");
  world.remove_file("secret.key");
  return last;
}

/// The permanent partition is fuller than max-fill allows; what can be reclaimed makes up for it.
TreeListing too_full(World& world) {
  world.machine().add_file("/permanent/packages/big.skb", io::as_bytes(std::string(160 * 1024, 'y')));
  world.machine().mounts[1].capacity_bytes = 420 * 1024;
  return world.configuration();
}

/// Not a byte is free, and only the rotated log can give any.
TreeListing without_room(World& world) {
  world.remove_file("packages/old.skb");
  world.machine().mounts[1].capacity_bytes = world.machine().tree.seen().usage(1).bytes;
  return world.configuration();
}

CommandResult compact_a(World& world) {
  return world.run(SlotId::a, [](Engine& engine) { return engine.compact(false); });
}
CommandResult provision_a(World& world) {
  return world.run(SlotId::a, [](Engine& engine) { return engine.provision("/data/v1.skb", true); });
}
CommandResult mark_bad(World& world) {
  return world.run(SlotId::a, [](Engine& engine) { return engine.mark(SlotId::b, SlotMark::bad); });
}
CommandResult install_back(World& world) { return world.install(SlotId::b, 3); }
CommandResult revert_b(World& world) { return world.revert(SlotId::b); }
CommandResult install(World& world) { return world.install(SlotId::a); }
CommandResult recover_a(World& world) { return world.recover(SlotId::a); }
CommandResult recover_b(World& world) { return world.recover(SlotId::b); }
CommandResult confirm_b(World& world) { return world.confirm(SlotId::b); }
CommandResult rollback_a(World& world) { return world.rollback(SlotId::a); }
CommandResult rollback_b(World& world) { return world.rollback(SlotId::b); }

}  // namespace

std::vector<Scene> scenes() {
  std::vector<Scene> all = {
      {.name = "Install", .prepare = nothing, .command = install},
      {.name = "InstallOfOneThatDies", .prepare = nothing, .command = install, .ending = Ending::dies},
      {.name = "InstallOfOneThatIsUnhealthy", .prepare = nothing, .command = install, .ending = Ending::unhealthy},
      {.name = "InstallOfOneThatNeverStarts", .prepare = nothing, .command = install, .ending = Ending::dies_at_once},
      {.name = "RecoverWhileArmed", .prepare = armed, .command = recover_a},
      {.name = "RollbackWhileArmed", .prepare = armed, .command = rollback_a},
      {.name = "BeginTrial",
       .slot = SlotId::b,
       .prepare = armed_and_edited,
       .command = recover_b,
       .original_runs = false},
      {.name = "BeginTrialOfOneThatDies",
       .slot = SlotId::b,
       .prepare = armed_and_edited,
       .command = recover_b,
       .ending = Ending::dies,
       .original_runs = false},
      {.name = "BeginTrialWithMigration",
       .slot = SlotId::b,
       .prepare = armed_with_migration,
       .command = recover_b,
       .original_runs = false,
       .migrates = true,
       .confirmed_problem = half_migrated},
      {.name = "Confirm", .slot = SlotId::b, .prepare = on_trial, .command = confirm_b, .original_runs = false},
      {.name = "RollbackInTrial",
       .slot = SlotId::b,
       .prepare = on_trial,
       .command = rollback_b,
       .original_runs = false},
      {.name = "RollBackAfterTrial", .prepare = failed_trial, .command = recover_a, .original_runs = false},
      {.name = "RollBackAfterMigration",
       .prepare = failed_after_migration,
       .command = recover_a,
       .original_runs = false,
       .migrates = true,
       .confirmed_problem = half_migrated},
      {.name = "InstallWithLiveWriters", .prepare = nothing, .command = install, .writers = true},
      {.name = "InstallWithLiveWritersOfOneThatDies",
       .prepare = nothing,
       .command = install,
       .ending = Ending::dies,
       .writers = true},
      {.name = "InstallWhileTheClockJumps",
       .prepare = nothing,
       .command = install,
       .ending = Ending::dies,
       .clock_jumps = true},
      {.name = "InstallOfAnotherEngine",
       .prepare = nothing,
       .command = install,
       .ending = Ending::dies,
       .newer_differs = true},
      {.name = "InstallOnAFullPartition", .prepare = too_full, .command = install, .ending = Ending::unhealthy},
      {.name = "InstallBack",
       .slot = SlotId::b,
       .prepare = confirmed,
       .command = install_back,
       .ending = Ending::dies,
       .original = SlotId::b,
       .original_version = 2,
       .target_version = 3,
       .replaced_version = 1},
      {.name = "InstallUnderABootloaderThatResets",
       .prepare = nothing,
       .command = install,
       .ending = Ending::dies,
       .bootloader = BootloaderKind::resets_counters},
      {.name = "InstallUnderABootloaderThatNeverCounts",
       .prepare = nothing,
       .command = install,
       .ending = Ending::dies,
       .bootloader = BootloaderKind::never_counts},
      {.name = "RevertTheConfirmed",
       .slot = SlotId::b,
       .prepare = confirmed_to_be_undone,
       .command = revert_b,
       .original_runs = false},
      {.name = "RollBackAfterTrialOfAnotherEngine",
       .prepare = failed_trial,
       .command = recover_a,
       .newer_differs = true,
       .original_runs = false},
      {.name = "Compact", .prepare = too_full, .command = compact_a},
      {.name = "CompactWithoutRoom", .prepare = without_room, .command = compact_a},
      {.name = "CompactWithLiveWriters", .prepare = too_full, .command = compact_a, .writers = true},
      {.name = "Provision", .prepare = nothing, .command = provision_a, .is_repeated = true},
      {.name = "MarkBad", .prepare = nothing, .command = mark_bad},
  };
  return all;
}

std::vector<Scene> sweep_scenes() {
  // What differs only in how a trial goes on has the same storage calls.
  const auto is_the_same_again = [](const Scene& scene) {
    return scene.writers || scene.clock_jumps || scene.newer_differs || scene.bootloader != BootloaderKind::ours ||
           scene.name.find("OfOneThat") != std::string::npos;
  };
  std::vector<Scene> all = scenes();
  std::erase_if(all, is_the_same_again);
  const auto add_reader = [&all](const char* name, auto command) {
    all.push_back({.name = name,
                   .prepare = armed,
                   .command = [command](World& world) { return world.run(SlotId::a, command); },
                   .changes_nothing = true});
  };
  add_reader("Status", [](Engine& engine) { return engine.status(); });
  add_reader("History", [](Engine& engine) { return engine.history(); });
  add_reader("Verify", [](Engine& engine) { return engine.verify(); });
  add_reader("Preflight", [](Engine& engine) { return engine.preflight("/data/v2.skb"); });
  add_reader("CompactDryRun", [](Engine& engine) { return engine.compact(true); });
  all[all.size() - 2].prepare = nothing;
  all.back().prepare = nothing;
  return all;
}

std::uint64_t number_from_environment(const char* name, std::uint64_t otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr ? otherwise : std::strtoull(value, nullptr, 10);
}

}  // namespace slotkeeper::test
