// The systemd-boot backend on a simulated EFI system partition: what it stores, what it leaves alone, what it refuses,
// and how it mends damage. Power cuts and faults are in efi_systemd_boot_control_fault_test.cpp.
#include <gtest/gtest.h>

#include "bootloader-hooks/efi_entry.hpp"
#include "tests/support/temporary_directory.hpp"
#include "tests/unit/bootloader-hooks/efi_partition.hpp"

namespace slotkeeper::boot {
namespace {

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
    const Error error = error_of(boot->check_can_arm());
    EXPECT_EQ(error.code, Errc::boot_environment);
    EXPECT_EQ(error_of(boot->store(armed(now(), SlotId::b, kAttempts, kTransaction))).code, Errc::readback_mismatch)
        << "it came about after the slot was written";
    EXPECT_NE(error.message.find("default slotkeeper-*"), std::string::npos) << error.message;
    EXPECT_EQ(error_of(boot->initialise(provisioned(SlotId::a))).code, Errc::config);
    EXPECT_EQ(files_of(machine.tree.seen()), before);
    EXPECT_EQ(boot->traits().weaknesses.back(), error.message) << "status tells it before";
    ok(boot->store(only_slot(now(), SlotId::a, kAttempts)));  // a way back is never refused
  }
  put("/efi/loader/loader.conf", kLoaderConf + "preferred debian-*\n");
  EXPECT_EQ(error_of(control_on(storage)->check_can_arm()).code, Errc::boot_environment);
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
    const Error error = error_of(boot->check_can_arm());
    EXPECT_EQ(error.code, Errc::boot_environment);
    EXPECT_EQ(error_of(boot->store(armed(now(), SlotId::b, kAttempts, kTransaction))).code, Errc::readback_mismatch)
        << "it came about after the slot was written";
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
