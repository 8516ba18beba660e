// The systemd-boot backend under power cuts and errors at any call: of what is left, systemd-boot (played) starts the
// old slot or the new one, also with what FAT makes of a rename that is cut off.
#include <functional>

#include <gtest/gtest.h>

#include "bootloader-hooks/efi_entry.hpp"
#include "tests/support/fault_storage.hpp"
#include "tests/support/simulation/crash_choices.hpp"
#include "tests/unit/bootloader-hooks/efi_partition.hpp"

namespace slotkeeper::boot {
namespace {

// --------------------------------------------------------------------------------------------

/// A store from one state to another, each on a machine of its own.
struct Passage {
  const char* name;
  std::function<void(SimulatedMachine&, SimulatedStorage&)> prepare;
  std::function<BootState(const BootState&)> wanted;
};

void start_once(SimulatedMachine& machine, SimulatedStorage& storage) {
  EntryFiles files = files_of(machine.tree.seen());
  static_cast<void>(test::play_start(files));
  put_files(machine, files);
  storage.restart();
}
void store_on(SimulatedStorage& storage, const std::function<BootState(const BootState&)>& wanted) {
  const auto boot = control_on(storage);
  ok(boot->store(wanted(ok(boot->read()).state)));
}
const auto kArmB = [](const BootState& now) { return armed(now, SlotId::b, kAttempts, kTransaction); };
const auto kOnlyA = [](const BootState& now) { return only_slot(now, SlotId::a, kAttempts); };

std::vector<Passage> passages() {
  const auto nothing = [](SimulatedMachine&, SimulatedStorage&) {};
  const auto two_slots = [](SimulatedMachine&, SimulatedStorage& storage) {
    store_on(storage, kArmB);
    store_on(storage, [](const BootState& now) { return confirmed(now, SlotId::b, kAttempts, kTransaction); });
    store_on(storage, [](const BootState& now) { return at_rest(now, SlotId::a, kAttempts); });
  };
  const auto is_armed = [](SimulatedMachine&, SimulatedStorage& storage) { store_on(storage, kArmB); };
  const auto in_trial = [](SimulatedMachine& machine, SimulatedStorage& storage) {
    store_on(storage, kArmB);
    start_once(machine, storage);
  };
  const auto used_up = [in_trial](SimulatedMachine& machine, SimulatedStorage& storage) {
    in_trial(machine, storage);
    for (int start = 0; start < 3; ++start) start_once(machine, storage);
  };
  const auto no_room = [](SimulatedMachine& machine, SimulatedStorage& storage) {
    EntryFiles files = files_of(machine.tree.seen());
    auto text = *parse_entry(files.at("slotkeeper-a.conf"));
    text.key = kEntryKeyMin;
    test::FileTree tree = machine.tree.seen();
    tree.edit(*tree.find(kEntries + "/slotkeeper-a.conf")).contents = test::PagedBytes(io::as_bytes(print_entry(text)));
    machine.tree.restart_with(std::move(tree));
    storage.restart();
  };
  const auto trial_lost = [](SimulatedMachine& machine, SimulatedStorage& storage) {
    store_on(storage, kArmB);
    test::FileTree tree = machine.tree.seen();
    tree.edit(*tree.find(kEntries)).entries.erase("slotkeeper-b-trial+3.conf");
    tree.drop_unreachable();
    machine.tree.restart_with(std::move(tree));
    storage.restart();
  };
  return {
      {"stage", two_slots, kOnlyA},
      {"arm", nothing, kArmB},
      {"arm without room in front", no_room, kArmB},
      {"arm again after a trial", used_up, kArmB},
      {"disarm", is_armed, [](const BootState& now) { return rolled_back(now, SlotId::a, kAttempts); }},
      {"roll back after a try", in_trial, [](const BootState& now) { return rolled_back(now, SlotId::a, kAttempts); }},
      {"roll back after all tries", used_up,
       [](const BootState& now) { return rolled_back(now, SlotId::a, kAttempts); }},
      {"send back in a trial", in_trial, [](const BootState& now) { return at_rest(now, SlotId::a, kAttempts); }},
      {"confirm", in_trial, [](const BootState& now) { return confirmed(now, SlotId::b, kAttempts, kTransaction); }},
      {"mark the other one active", two_slots, [](const BootState& now) { return at_rest(now, SlotId::b, kAttempts); }},
      {"mend a lost trial entry", trial_lost,
       [](const BootState& now) { return rolled_back(now, SlotId::a, kAttempts); }},
  };
}

/// What FAT may make of a rename that was cut off, of those that a state still shows: neither name is there.
std::vector<test::FileTree> with_fat_losses(const test::FileTree& tree, const std::vector<test::Change>& pending) {
  std::vector<test::FileTree> trees{tree};
  for (const test::Change& change : pending) {
    if (change.kind != test::Change::Kind::names || change.names.size() != 2) continue;
    test::FileTree lost = tree;
    for (const auto& name : change.names) lost.edit(name.directory).entries.erase(name.name);
    lost.drop_unreachable();
    trees.push_back(std::move(lost));
  }
  return trees;
}

/// The old slot or the new one starts, and storing again, or going back, ends well.
void expect_old_or_new(const SimulatedMachine& left, const std::string& old_slot, const Passage& passage,
                       const std::string& new_slot) {
  const std::string first = started(left);
  ASSERT_TRUE(first == old_slot || first == new_slot) << "it starts '" << first << "'";
  for (const bool goes_back : {false, true}) {
    SimulatedMachine machine = left;
    SimulatedStorage storage(machine);
    const auto boot = control_on(storage);
    const BootState found = ok(boot->read()).state;
    ASSERT_FALSE(found.order.empty());
    ASSERT_EQ(std::string(name_of(found.order.front())), first) << "it reads what systemd-boot takes";
    const BootState wanted = goes_back ? rolled_back(found, SlotId::a, kAttempts) : passage.wanted(found);
    ok(boot->store(wanted));
    ASSERT_EQ(started(machine), name_of(*wanted.primary()));
    const BootReading reading = ok(boot->read());
    ASSERT_EQ(reading.state.order, wanted.order);
    ASSERT_FALSE(reading.damaged_copy);
  }
}

TEST(EfiSystemdBootCrash, APowerCutAtAnyCallLeavesTheOldSlotOrTheNewOne) {
  std::size_t states = 0;
  for (const Passage& passage : passages()) {
    SCOPED_TRACE(passage.name);
    SimulatedMachine before = factory_machine();
    {
      SimulatedStorage storage(before);
      ok(control_on(storage)->initialise(provisioned(SlotId::a)));
      passage.prepare(before, storage);
    }
    before.tree.sync_all();
    const std::string old_slot = started(before);
    bool is_done = false;
    for (std::uint64_t cut = 0; !is_done; ++cut) {
      ASSERT_LT(cut, 2000U);
      SimulatedMachine machine = before;
      SimulatedStorage storage(machine);
      std::uint64_t calls = 0;
      storage.before_call = [&](const test::SimulatedCall&) -> Result<void> {
        if (calls++ < cut) return success();
        return make_error(Errc::internal, "power cut");
      };
      std::string new_slot;
      auto boot =
          make_systemd_boot_control(storage, {.partition = kPartition, .attempts = kAttempts, .variables = kVariables});
      SimulatedMachine look = before;
      SimulatedStorage look_storage(look);
      const BootState wanted = passage.wanted(ok(control_on(look_storage)->read()).state);
      new_slot = name_of(*wanted.primary());
      if (boot.has_value()) is_done = boot.assume_value()->store(wanted).has_value();
      const auto pending = machine.tree.pending();
      for (const test::CrashChoice& choice : test::crash_choices(pending, {}, cut)) {
        for (test::FileTree& tree :
             with_fat_losses(machine.tree.after_crash(choice.fates, choice.garbage_seed), pending)) {
          SCOPED_TRACE("cut " + std::to_string(cut) + ", " + choice.name);
          SimulatedMachine left = machine;
          left.tree.restart_with(std::move(tree));
          ASSERT_NO_FATAL_FAILURE(expect_old_or_new(left, old_slot, passage, new_slot));
          ++states;
        }
      }
    }
    EXPECT_TRUE(is_done);
  }
  EXPECT_GT(states, 500U);
  RecordProperty("states", static_cast<int>(states));
}

/// From a factory partition with the integrator's plain entry, and again with other lines.
TEST(EfiSystemdBootCrash, ProvisioningCutOffAtAnyCallStartsTheFirstSlot) {
  std::size_t states = 0;
  for (const bool again : {false, true}) {
    SimulatedMachine before = factory_machine();
    if (again) {
      SimulatedStorage storage(before);
      ok(control_on(storage)->initialise(provisioned(SlotId::a)));
      test::FileTree tree = before.tree.seen();
      for (const SlotId slot : {SlotId::a, SlotId::b}) {
        const std::string path = std::string("/efi/loader/slotkeeper/") + (slot == SlotId::a ? "a" : "b") + ".conf";
        tree.edit(*tree.find(path)).contents = test::PagedBytes(io::as_bytes("# new\n" + body_of(slot)));
      }
      before.tree.restart_with(std::move(tree));
    } else {
      before.add_file(kEntries + "/slotkeeper-a.conf", io::as_bytes("sort-key slotkeeper-50\n" + body_of(SlotId::a)));
    }
    ASSERT_EQ(started(before), "A");
    bool is_done = false;
    for (std::uint64_t cut = 0; !is_done; ++cut) {
      ASSERT_LT(cut, 2000U);
      SimulatedMachine machine = before;
      SimulatedStorage storage(machine);
      std::uint64_t calls = 0;
      storage.before_call = [&](const test::SimulatedCall&) -> Result<void> {
        if (calls++ < cut) return success();
        return make_error(Errc::internal, "power cut");
      };
      auto boot =
          make_systemd_boot_control(storage, {.partition = kPartition, .attempts = kAttempts, .variables = kVariables});
      if (boot.has_value()) is_done = boot.assume_value()->initialise(provisioned(SlotId::a)).has_value();
      const auto pending = machine.tree.pending();
      for (const test::CrashChoice& choice : test::crash_choices(pending, {}, cut)) {
        SCOPED_TRACE(std::string(again ? "again, " : "") + "cut " + std::to_string(cut) + ", " + choice.name);
        SimulatedMachine left = machine;
        left.tree.restart_with(machine.tree.after_crash(choice.fates, choice.garbage_seed));
        ASSERT_EQ(started(left), "A");
        SimulatedStorage on(left);
        ok(control_on(on)->initialise(provisioned(SlotId::a)));
        ASSERT_EQ(started(left), "A");
        const BootReading reading = ok(control_on(on)->read());
        ASSERT_EQ(reading.state, provisioned(SlotId::a));
        ASSERT_FALSE(reading.damaged_copy || reading.behind_copy);
        ++states;
      }
    }
  }
  EXPECT_GT(states, 100U);
  RecordProperty("states", static_cast<int>(states));
}

TEST(EfiSystemdBootFault, AnErrorAtAnyCallIsToldAndLeavesTheOldSlotOrTheNewOne) {
  std::size_t faults = 0;
  for (const Passage& passage : passages()) {
    SCOPED_TRACE(passage.name);
    SimulatedMachine before = factory_machine();
    {
      SimulatedStorage storage(before);
      ok(control_on(storage)->initialise(provisioned(SlotId::a)));
      passage.prepare(before, storage);
    }
    before.tree.sync_all();
    const std::string old_slot = started(before);
    for (std::uint64_t nth = 1;; ++nth) {
      ASSERT_LT(nth, 2000U);
      SCOPED_TRACE("call " + std::to_string(nth));
      SimulatedMachine machine = before;
      SimulatedStorage storage(machine);
      test::FaultStorage faulty(storage);
      const auto boot = control_on(faulty);
      const BootState wanted = passage.wanted(ok(boot->read()).state);
      faulty.set({.file = "", .line = 0, .operation = "", .nth = nth, .os_errno = 5, .persistent = false});
      const auto stored = boot->store(wanted);
      if (faulty.faults_met() == 0) {
        ASSERT_TRUE(stored.has_value());
        break;
      }
      // Only what is not needed may fail unnoticed: the integrator's lines while every entry is whole.
      if (stored.has_value()) {
        ASSERT_NE(faulty.last_failed_object().find("loader/slotkeeper"), std::string::npos)
            << faulty.last_failed_operation() << " " << faulty.last_failed_object();
      } else {
        ASSERT_FALSE(stored.assume_error().message.empty());
      }
      ASSERT_NO_FATAL_FAILURE(expect_old_or_new(machine, old_slot, passage, std::string(name_of(*wanted.primary()))));
      ++faults;
    }
  }
  EXPECT_GT(faults, 200U);
  RecordProperty("faults", static_cast<int>(faults));
}

}  // namespace
}  // namespace slotkeeper::boot
