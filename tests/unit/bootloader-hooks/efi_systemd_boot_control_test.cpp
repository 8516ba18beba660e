// The systemd-boot backend on a simulated EFI system partition: what it stores, what it leaves alone, what it refuses,
// and that a power cut or an error at any call leaves entries of which systemd-boot (played) starts the old or the new
// slot, also with what FAT makes of a rename that is cut off.
#include <algorithm>
#include <functional>

#include <gtest/gtest.h>

#include "bootloader-hooks/boot_control.hpp"
#include "bootloader-hooks/efi_entry.hpp"
#include "tests/support/fault_storage.hpp"
#include "tests/support/played_systemd_boot.hpp"
#include "tests/support/simulation/crash_choices.hpp"
#include "tests/support/simulation/simulated_storage.hpp"
#include "tests/support/temporary_directory.hpp"
#include "tests/support/unwrap.hpp"

namespace slotkeeper::boot {
namespace {

using test::EntryFiles;
using test::error_of;
using test::ok;
using test::SimulatedMachine;
using test::SimulatedStorage;

constexpr std::uint32_t kAttempts = 3;
const std::string kPartition = "/efi";
const std::string kEntries = "/efi/loader/entries";
const std::string kVariables = "/vars";
const std::string kLoaderConf = "timeout 0\ndefault slotkeeper-*\neditor no\n";
const std::string kOther = "title Other\nsort-key aaa\nefi /other.efi\n";
const std::string kRescue = "title Rescue\nefi /rescue.efi\n";
const std::string kTransaction = "0123456789abcdef";

std::string body_of(SlotId slot) {
  const std::string name(name_of(slot));
  return "title Firmware " + name + "\nlinux /" + name +
         "/vmlinuz\noptions root=PARTLABEL=rootfs slotkeeper.slot=" + name + "\n";
}

SimulatedMachine factory_machine() {
  SimulatedMachine machine;
  machine.add_mount({.mount_point = kPartition, .type = "vfat", .magic = 0x4d44});
  machine.add_directory("/efi/loader");
  machine.add_directory(kEntries);
  machine.add_directory("/efi/loader/slotkeeper");
  machine.add_directory(kVariables);
  machine.add_file("/efi/loader/loader.conf", io::as_bytes(kLoaderConf));
  machine.add_file("/efi/loader/slotkeeper/a.conf", io::as_bytes(body_of(SlotId::a)));
  machine.add_file("/efi/loader/slotkeeper/b.conf", io::as_bytes(body_of(SlotId::b)));
  machine.add_file(kEntries + "/aaa.conf", io::as_bytes(kOther));
  machine.add_file(kEntries + "/slotkeeper-rescue.conf", io::as_bytes(kRescue));
  return machine;
}

std::unique_ptr<BootControl> control_on(io::Storage& storage) {
  return ok(
      make_systemd_boot_control(storage, {.partition = kPartition, .attempts = kAttempts, .variables = kVariables}));
}

EntryFiles files_of(const test::FileTree& tree) {
  EntryFiles files;
  for (const auto& [name, number] : tree.at(tree.find(kEntries).value()).entries) {
    files[name] = tree.at(number).contents.text();
  }
  return files;
}

void put_files(SimulatedMachine& machine, const EntryFiles& files) {
  test::FileTree tree = machine.tree.seen();
  auto& entries = tree.edit(*tree.find(kEntries)).entries;
  const auto before = files_of(tree);
  // A start only renames: the one name that is gone became the one that is new.
  for (const auto& [name, content] : files) {
    if (before.count(name) != 0) continue;
    for (const auto& [old_name, old_content] : before) {
      if (files.count(old_name) != 0) continue;
      entries[name] = entries[old_name];
      entries.erase(old_name);
      break;
    }
  }
  machine.tree.restart_with(std::move(tree));
}

/// The slot that is started next, or "rescue", or "".
std::string started(const EntryFiles& files) {
  const auto taken = test::taken_entry(files);
  if (!taken) return "";
  return *taken == "slotkeeper-rescue.conf" ? "rescue" : test::slot_started_by(files.at(*taken));
}
std::string started(const SimulatedMachine& machine) { return started(files_of(machine.tree.seen())); }

BootState provisioned(SlotId slot) { return at_rest(only_slot({}, slot, kAttempts), slot, kAttempts); }

class EfiSystemdBoot : public testing::Test {
 protected:
  EfiSystemdBoot() { ok(control_on(storage)->initialise(provisioned(SlotId::a))); }

  /// The machine is started once; the slot.
  std::string start_machine() {
    EntryFiles files = files_of(machine.tree.seen());
    const auto taken = test::play_start(files);
    put_files(machine, files);
    storage.restart();
    return taken ? test::slot_started_by(files.at(*taken)) : "";
  }
  [[nodiscard]] BootState now() { return ok(control_on(storage)->read()).state; }
  void store(const BootState& wanted) { ok(control_on(storage)->store(wanted)); }
  void put(const std::string& path, const std::string& text) {
    test::FileTree tree = machine.tree.seen();
    if (const auto number = tree.find(path)) {
      tree.edit(*number).contents = test::PagedBytes(io::as_bytes(text));
      machine.tree.restart_with(std::move(tree));
      return;
    }
    machine.add_file(path, io::as_bytes(text));
  }
  void remove_entry(const std::string& name) {
    test::FileTree tree = machine.tree.seen();
    tree.edit(*tree.find(kEntries)).entries.erase(name);
    tree.drop_unreachable();
    machine.tree.restart_with(std::move(tree));
  }

  SimulatedMachine machine = factory_machine();
  SimulatedStorage storage{machine};
};

TEST_F(EfiSystemdBoot, PromisesWhatItCanKeep) {
  const auto boot = control_on(storage);
  EXPECT_EQ(boot->traits().backend, "efi");
  EXPECT_FALSE(boot->traits().keeps_mark);
  EXPECT_TRUE(boot->traits().counts_tries);
  EXPECT_EQ(boot->traits().attempts, kAttempts);
  EXPECT_EQ(boot->traits().places, std::vector<std::string>{kEntries});
  EXPECT_EQ(boot->traits().weaknesses.size(), 3U);
  EXPECT_NE(boot->traits().weaknesses[1].find("FAT"), std::string::npos);
}

TEST_F(EfiSystemdBoot, ProvisioningMakesFourEntriesOfOneSectorEach) {
  const EntryFiles files = files_of(machine.tree.seen());
  EXPECT_EQ(files.size(), 6U);
  for (const char* name :
       {"slotkeeper-a.conf", "slotkeeper-b.conf", "slotkeeper-a-trial+3.conf", "slotkeeper-b-trial+3.conf"}) {
    ASSERT_EQ(files.count(name), 1U) << name;
    EXPECT_EQ(files.at(name).size(), kEntryBytes);
  }
  EXPECT_EQ(started(machine), "A");
  EXPECT_EQ(files.at("aaa.conf"), kOther);
  EXPECT_EQ(files.at("slotkeeper-rescue.conf"), kRescue);
  EXPECT_EQ(now(), provisioned(SlotId::a));
  EXPECT_TRUE(machine.tree.pending().empty()) << "everything is synced";
}

TEST_F(EfiSystemdBoot, StoresEveryStateOfAnUpdateOverAndOver) {
  SlotId original = SlotId::a;
  for (int round = 0; round < 120; ++round) {  // keys come to their end and start over
    const SlotId target = other(original);
    const std::string target_name(name_of(target));
    store(only_slot(now(), original, kAttempts));
    EXPECT_EQ(now().order, std::vector<SlotId>{original});
    EXPECT_EQ(now()[target], (SlotBootState{SlotHealth::bad, 0}));
    store(armed(now(), target, kAttempts, kTransaction));
    EXPECT_EQ(now(), as_kept(armed({}, target, kAttempts, kTransaction), false, true));
    ASSERT_EQ(start_machine(), target_name);
    EXPECT_EQ(now()[target].tries_left, 2U);
    store(confirmed(now(), target, kAttempts, kTransaction));
    EXPECT_EQ(now().order, (std::vector<SlotId>{target, original}));
    EXPECT_EQ(now()[target], (SlotBootState{SlotHealth::good, kAttempts}));
    const EntryFiles before = files_of(machine.tree.seen());
    ASSERT_EQ(start_machine(), target_name);
    EXPECT_EQ(files_of(machine.tree.seen()), before) << "a device at rest never writes its entries";
    EXPECT_TRUE(machine.tree.pending().empty());
    original = target;
  }
}

TEST_F(EfiSystemdBoot, ATrialThatNeverConfirmsFallsBackAfterItsTries) {
  store(armed(now(), SlotId::b, kAttempts, kTransaction));
  for (const std::uint32_t left : {2U, 1U, 0U}) {
    EXPECT_EQ(start_machine(), "B");
    EXPECT_EQ(now().b.tries_left, left);
  }
  EXPECT_EQ(now().order, (std::vector<SlotId>{SlotId::a, SlotId::b}));
  EXPECT_EQ(start_machine(), "A");
  EXPECT_EQ(start_machine(), "A");
  store(rolled_back(now(), SlotId::a, kAttempts));
  EXPECT_EQ(now(), as_kept(rolled_back({}, SlotId::a, kAttempts), false, true));
  EXPECT_EQ(start_machine(), "A");
  EXPECT_FALSE(ok(control_on(storage)->read()).behind_copy);
}

TEST_F(EfiSystemdBoot, ATrialThatIsSentBackStartsTheOriginal) {
  store(armed(now(), SlotId::b, kAttempts, kTransaction));
  EXPECT_EQ(start_machine(), "B");
  const BootState wanted = at_rest(now(), SlotId::a, kAttempts);
  store(wanted);
  EXPECT_EQ(now(), wanted);
  EXPECT_EQ(start_machine(), "A");
  EXPECT_EQ(start_machine(), "A");
}

TEST_F(EfiSystemdBoot, WritesNothingWhereTheEntriesSaySo) {
  std::size_t writes = 0;
  storage.before_call = [&](const test::SimulatedCall& call) -> Result<void> {
    if (call.operation == "write_at" || call.operation == "rename" || call.operation == "sync") ++writes;
    return success();
  };
  for (const BootState& wanted :
       {provisioned(SlotId::a), armed({}, SlotId::b, kAttempts, kTransaction), only_slot({}, SlotId::b, kAttempts)}) {
    store(wanted);
    writes = 0;
    const auto version = machine.tree.version();
    store(wanted);
    ok(control_on(storage)->repair());
    ok(control_on(storage)->read());
    EXPECT_EQ(writes, 0U);
    EXPECT_EQ(machine.tree.version(), version);
  }
  ok(control_on(storage)->initialise(only_slot({}, SlotId::b, kAttempts)));
  EXPECT_EQ(writes, 0U);
}

TEST_F(EfiSystemdBoot, InitialisingAgainTakesNewLinesOver) {
  const std::string lines = "linux /A/vmlinuz\noptions quiet slotkeeper.slot=A\n";
  put("/efi/loader/slotkeeper/a.conf", lines);
  store(provisioned(SlotId::a));
  EXPECT_NE(parse_entry(files_of(machine.tree.seen()).at("slotkeeper-a.conf"))->body, lines) << "only provision does";
  ok(control_on(storage)->initialise(provisioned(SlotId::a)));
  for (const char* name : {"slotkeeper-a.conf", "slotkeeper-a-trial+3.conf"}) {
    EXPECT_EQ(parse_entry(files_of(machine.tree.seen()).at(name))->body, lines);
  }
  EXPECT_EQ(started(machine), "A");
}

TEST_F(EfiSystemdBoot, TheBootedSlotIsTheEntryThatWasSelected) {
  EXPECT_FALSE(ok(control_on(storage)->booted()));
  const std::string path = kVariables + "/LoaderEntrySelected-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
  const auto selected = [](const std::string& id) {
    std::string text("\6\0\0\0", 4);
    for (const char c : id) text += std::string(1, c) + std::string(1, '\0');
    return text + std::string(2, '\0');
  };
  put(path, selected("slotkeeper-b-trial+3.conf"));
  EXPECT_EQ(ok(control_on(storage)->booted()), SlotId::b);
  put(path, selected("slotkeeper-a.conf"));
  EXPECT_EQ(ok(control_on(storage)->booted()), SlotId::a);
  put(path, selected("slotkeeper-rescue.conf"));
  EXPECT_FALSE(ok(control_on(storage)->booted()));
}

// ---- refusals
// ---------------------------------------------------------------------------------------------------------

TEST_F(EfiSystemdBoot, ArmsNothingWhereAnotherDefaultGoesFirst) {
  for (const std::string text : {"timeout 0\n", "default slotkeeper-a.conf\n", "default @saved\n", "",
                                 "default slotkeeper-*\ndefault debian-*\n", "#default slotkeeper-*\n"}) {
    put("/efi/loader/loader.conf", text);
    const EntryFiles before = files_of(machine.tree.seen());
    const auto boot = control_on(storage);
    const Error error = error_of(boot->store(armed(now(), SlotId::b, kAttempts, kTransaction)));
    EXPECT_EQ(error.code, Errc::boot_environment);
    EXPECT_NE(error.message.find("default slotkeeper-*"), std::string::npos) << error.message;
    EXPECT_EQ(error_of(boot->initialise(provisioned(SlotId::a))).code, Errc::config);
    EXPECT_EQ(files_of(machine.tree.seen()), before);
    EXPECT_EQ(boot->traits().weaknesses.back(), error.message) << "status tells it before";
    ok(boot->store(only_slot(now(), SlotId::a, kAttempts)));  // a way back is never refused
  }
  put("/efi/loader/loader.conf", kLoaderConf + "preferred debian-*\n");
  EXPECT_EQ(error_of(control_on(storage)->store(armed(now(), SlotId::b, kAttempts, kTransaction))).code,
            Errc::boot_environment);
  put("/efi/loader/loader.conf", "default x\n  default \tslotkeeper-* \r\n");
  store(armed(now(), SlotId::b, kAttempts, kTransaction));
}

TEST_F(EfiSystemdBoot, ArmsNothingWhereAnEntryWasChosenAtTheConsole) {
  for (const std::string variable : {"LoaderEntryDefault", "LoaderEntryPreferred"}) {
    SimulatedMachine chosen = machine;
    chosen.add_file(kVariables + "/" + variable + "-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f",
                    io::as_bytes(std::string("\7\0\0\0s\0l\0o\0t\0\0\0", 14)));
    SimulatedStorage on(chosen);
    const auto boot = control_on(on);
    const Error error = error_of(boot->store(armed(now(), SlotId::b, kAttempts, kTransaction)));
    EXPECT_EQ(error.code, Errc::boot_environment);
    EXPECT_NE(error.message.find(variable + " names 'slot'"), std::string::npos) << error.message;
    ok(boot->store(rolled_back(now(), SlotId::a, kAttempts)));
  }
}

TEST_F(EfiSystemdBoot, ProvisioningNeedsLinesThatCanBeAnEntry) {
  for (const std::string lines : {"title x\n", "linux /k\noptions slotkeeper.slot=B\n", "linux /k\n"}) {
    put("/efi/loader/slotkeeper/a.conf", lines);
    const EntryFiles before = files_of(machine.tree.seen());
    EXPECT_EQ(error_of(control_on(storage)->initialise(provisioned(SlotId::a))).code, Errc::config);
    EXPECT_EQ(files_of(machine.tree.seen()), before);
  }
}

TEST(EfiSystemdBootSettings, APartitionThatIsNotMountedIsAConfigError) {
  SimulatedMachine machine;
  SimulatedStorage storage(machine);
  const Error error = error_of(make_systemd_boot_control(storage, {.partition = "/efi", .variables = "/vars"}));
  EXPECT_EQ(error.code, Errc::config);
  EXPECT_NE(error.message.find("mounted at /efi"), std::string::npos) << error.message;
}

// ---- damage
// -----------------------------------------------------------------------------------------------------------

TEST_F(EfiSystemdBoot, DamageInOneEntryIsSeenAndMended) {
  for (const auto& [name, content] : files_of(machine.tree.seen())) {
    if (!parse_entry_name(name)) continue;
    for (const std::string& damaged : {std::string(kEntryBytes, '\0'), std::string(), content.substr(0, 200),
                                       content + "options single\n", "x" + content.substr(1)}) {
      SimulatedMachine fresh = factory_machine();
      SimulatedStorage on(fresh);
      ok(control_on(on)->initialise(provisioned(SlotId::a)));
      test::FileTree tree = fresh.tree.seen();
      tree.edit(*tree.find(kEntries + "/" + name)).contents = test::PagedBytes(io::as_bytes(damaged));
      fresh.tree.restart_with(std::move(tree));
      const BootReading reading = ok(control_on(on)->read());
      EXPECT_TRUE(reading.damaged_copy);
      ok(control_on(on)->store(at_rest(reading.state, SlotId::a, kAttempts)));
      EXPECT_EQ(started(fresh), "A");
      ok(control_on(on)->repair());
      EXPECT_FALSE(ok(control_on(on)->read()).damaged_copy);
    }
  }
}

TEST_F(EfiSystemdBoot, WithAllEntriesLostTheRescueEntryStartsAndAStoreMakesThemAnew) {
  for (const auto& [name, content] : files_of(machine.tree.seen())) {
    if (parse_entry_name(name)) remove_entry(name);
  }
  EXPECT_EQ(started(machine), "rescue");
  const BootReading reading = ok(control_on(storage)->read());
  EXPECT_TRUE(reading.state.order.empty());
  EXPECT_TRUE(reading.damaged_copy);
  EXPECT_EQ(error_of(control_on(storage)->repair()).code, Errc::boot_environment);
  store(at_rest(reading.state, SlotId::a, kAttempts));
  EXPECT_EQ(started(machine), "A");
  EXPECT_FALSE(ok(control_on(storage)->read()).damaged_copy);
}

TEST_F(EfiSystemdBoot, TheSecondNameOfACutRenameIsSetAsideNotRemoved) {
  store(armed(now(), SlotId::b, kAttempts, kTransaction));
  // Both names lead to one sector.
  test::FileTree tree = machine.tree.seen();
  auto& entries = tree.edit(*tree.find(kEntries)).entries;
  entries["slotkeeper-b-trial+2-1.conf"] = entries.at("slotkeeper-b-trial+3.conf");
  machine.tree.restart_with(std::move(tree));
  const BootReading reading = ok(control_on(storage)->read());
  EXPECT_TRUE(reading.damaged_copy);
  EXPECT_EQ(reading.state.b.tries_left, 2U) << "a try had begun";
  store(rolled_back(reading.state, SlotId::a, kAttempts));
  EXPECT_EQ(started(machine), "A");
  const EntryFiles files = files_of(machine.tree.seen());
  EXPECT_EQ(files.count("slotkeeper-b-trial+2-1.spare1"), 1U);
  EXPECT_EQ(files.count("slotkeeper-b-trial+2-1.conf"), 0U);
  EXPECT_FALSE(ok(control_on(storage)->read()).damaged_copy);
}

// ---- power cuts and faults
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

TEST_F(EfiSystemdBoot, AWriteThatDoesNotReadBackIsAnError) {
  storage.after_read = [](const test::SimulatedCall& call, std::uint64_t, io::Bytes bytes) {
    if (call.object.find("slotkeeper-b-trial") != std::string::npos && bytes.size() > 100) bytes[80] ^= std::byte{1};
    return bytes.size();
  };
  EXPECT_EQ(
      error_of(control_on(storage)->store(armed(provisioned(SlotId::a), SlotId::b, kAttempts, kTransaction))).code,
      Errc::readback_mismatch);
}

TEST(EfiSystemdBootFiles, WorksOnRealDirectories) {
  const test::TemporaryDirectory folder;
  const auto storage = io::make_posix_storage();
  const auto root = ok(storage->open_directory(folder.path()));
  for (const char* path : {"loader", "loader/entries", "loader/slotkeeper", "vars"}) {
    ok(root->create_directory(path, 0755));
  }
  const auto put = [&](const std::string& path, const std::string& text) {
    const auto file = ok(root->open_file(path, io::OpenMode::create_new(0644)));
    ok(file->write_at(0, io::as_bytes(text)));
    ok(file->close());
  };
  put("loader/loader.conf", kLoaderConf);
  put("loader/slotkeeper/a.conf", body_of(SlotId::a));
  put("loader/slotkeeper/b.conf", body_of(SlotId::b));
  put("loader/entries/slotkeeper-a.conf", body_of(SlotId::a));  // the integrator's first entry
  const auto boot = ok(make_systemd_boot_control(
      *storage, {.partition = folder.path(), .attempts = kAttempts, .variables = folder / "vars"}));
  EXPECT_NE(boot->traits().weaknesses.back().find("slotkeeper-rescue.conf"), std::string::npos);
  EXPECT_TRUE(ok(boot->read()).state.order.empty());
  ok(boot->initialise(provisioned(SlotId::a)));
  EXPECT_EQ(ok(boot->read()).state, provisioned(SlotId::a));
  const BootState wanted = armed(ok(boot->read()).state, SlotId::b, kAttempts, kTransaction);
  ok(boot->store(wanted));
  EXPECT_EQ(ok(boot->read()).state, as_kept(wanted, false, true));
  ok(boot->store(confirmed(wanted, SlotId::b, kAttempts, kTransaction)));
  EXPECT_EQ(ok(boot->read()).state.primary(), SlotId::b);
  ok(root->close());
}

}  // namespace
}  // namespace slotkeeper::boot
