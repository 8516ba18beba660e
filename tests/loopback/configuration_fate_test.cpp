// What becomes of the configuration: migrated by the new firmware, kept, restored or saved aside when an older firmware
// takes over again.
#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/loopback/device_rig.hpp"

namespace slotkeeper::test {
namespace {

using testing::HasSubstr;

class ConfigurationFate : public testing::Test {
 protected:
  void SetUp() override {
    if (!may_mount()) GTEST_SKIP() << "loop devices and mounts need root";
    device = std::make_unique<DeviceRig>();
  }

  /// A device whose firmware 1.0.0 writes schema 3, and a bundle 2.0.0 that writes schema 4.
  void use_schemas(const std::string& readable_by) {
    make_bundle({.version = "1.0.0",
                 .more = "[config]\nschema = 3\nreadable-by = 3\n",
                 .images = {{"rootfs", Material::get().image("1.0.0")}}},
                device->path("factory.skb"));
    const Answer provisioned = device->run({"provision", "--force", "--factory", device->path("factory.skb")});
    ASSERT_EQ(provisioned.exit_status, 0) << provisioned.story();
    make_bundle({.version = "2.0.0", .more = "[config]\nschema = 4\nreadable-by = " + readable_by + "\n"},
                device->path("v2.skb"));
  }

  void arm() {
    std::string bundle = device->path("v2.skb");
    if (!std::filesystem::exists(bundle)) bundle = Material::get().bundle("2.0.0");
    const Answer armed = device->install(bundle);
    ASSERT_EQ(armed.outcome(), "armed") << armed.story();
    ASSERT_EQ(device->boot(), 'B');
  }
  void confirm_trial() {
    ASSERT_NO_FATAL_FAILURE(arm());
    ASSERT_EQ(device->run({"recover"}).exit_status, 0);
    const Answer confirmed = device->run({"confirm"});
    ASSERT_EQ(confirmed.outcome(), "confirmed") << confirmed.story();
  }
  /// The hook of the new firmware; `body` is shell.
  void give_migration(const std::string& body) {
    write_file(device->path("hooks.d/migrate-config"), "#!/bin/sh\n" + body, 0755);
  }
  void remove_migration() { std::filesystem::remove(device->path("hooks.d/migrate-config")); }
  void expect_back_in(char slot, const Fingerprint& configuration) {
    ASSERT_EQ(device->boot(), slot);
    remove_migration();  // the older firmware has none
    const Answer recovered = device->run({"recover"});
    EXPECT_EQ(recovered.exit_status, 0) << recovered.story();
    EXPECT_EQ(difference(configuration, device->protected_files()), "");
    last = recovered;
  }
  /// Slot B never comes up again.
  void destroy_b() {
    std::fstream slot(device->slot_device('B'), std::ios::binary | std::ios::in | std::ios::out);
    slot << std::string(8192, '\0') << std::flush;
    ASSERT_TRUE(slot.good());
  }

  std::unique_ptr<DeviceRig> device;
  Answer last;
};

// ---- migration ------------------------------------------------------------------------------------------------------

TEST_F(ConfigurationFate, TheHookMigratesOnceAndBeforeTheTrialGoesOn) {
  use_schemas("4");
  const std::string log = device->path("migrations");
  give_migration("env | grep ^SLOTKEEPER_ | sort >'" + device->path("environment") + "'\necho run >>'" + log +
                 "'\necho 'lan0 dhcp' >\"$SLOTKEEPER_PERMANENT/network/interfaces.conf\"\n");
  ASSERT_NO_FATAL_FAILURE(arm());
  EXPECT_FALSE(std::filesystem::exists(log));
  const Answer begun = device->run({"recover"});
  EXPECT_EQ(begun.exit_status, 0) << begun.story();
  EXPECT_EQ(begun.outcome(), "ok");
  EXPECT_EQ(begun.text("configuration"), "migrated") << begun.story();
  EXPECT_EQ(begun.text("manual_input_needed"), "");
  EXPECT_EQ(contents_of(device->permanent("network/interfaces.conf")), "lan0 dhcp\n");
  const std::string environment = contents_of(device->path("environment"));
  for (const std::string expected :
       {"SLOTKEEPER_FROM_SCHEMA=3\n", "SLOTKEEPER_TO_SCHEMA=4\n", "SLOTKEEPER_FROM_VERSION=1.0.0\n",
        "SLOTKEEPER_TO_VERSION=2.0.0\n", "SLOTKEEPER_SLOT=B\n", "SLOTKEEPER_HOOK=migrate-config\n"}) {
    EXPECT_THAT(environment, HasSubstr(expected));
  }
  EXPECT_THAT(environment, HasSubstr("SLOTKEEPER_TRANSACTION=" + begun.text("transaction") + "\n"));
  ASSERT_EQ(device->run({"recover"}).exit_status, 0);
  ASSERT_EQ(device->boot(), 'B');
  ASSERT_EQ(device->run({"recover"}).exit_status, 0);
  EXPECT_EQ(contents_of(log), "run\n") << "the migration ran again";
  const Answer confirmed = device->run({"confirm"});
  EXPECT_EQ(confirmed.text("configuration"), "migrated") << confirmed.story();
  EXPECT_THAT(device->run({"history"}).output, HasSubstr("\"configuration\":\"migrated\""));
}

TEST_F(ConfigurationFate, AMigrationThatChangesNothingKeepsTheConfiguration) {
  give_migration("exit 0\n");
  ASSERT_NO_FATAL_FAILURE(arm());
  EXPECT_EQ(device->run({"recover"}).text("configuration"), "kept");
  EXPECT_EQ(device->run({"confirm"}).text("configuration"), "kept");
}

TEST_F(ConfigurationFate, AFailedMigrationHoldsTheServicesBackAndIsUndone) {
  const Fingerprint original = device->protected_files();
  give_migration(
      "rm -r \"$SLOTKEEPER_PERMANENT/terminals\"\necho half >\"$SLOTKEEPER_PERMANENT/half\"\n"
      "echo 'cannot read schema 2' >&2\nexit 3\n");
  ASSERT_NO_FATAL_FAILURE(arm());
  for (int attempt = 0; attempt < 2; ++attempt) {
    const Answer begun = device->run({"recover"});
    EXPECT_EQ(begun.exit_status, 7) << begun.story();
    EXPECT_EQ(begun.code(), "health");
    EXPECT_EQ(begun.text("reboot_needed"), "true");
    EXPECT_THAT(begun.message(), HasSubstr("cannot read schema 2"));
  }
  EXPECT_EQ(device->run({"confirm"}).exit_status, 6);
  ASSERT_NO_FATAL_FAILURE(expect_back_in('A', original));
  EXPECT_EQ(last.outcome(), "rolled-back");
  EXPECT_EQ(last.text("cause/code"), "health") << last.story();
  EXPECT_EQ(last.text("configuration"), "restored");
}

TEST_F(ConfigurationFate, AConfirmThatFindsTheTrialUnmigratedMigratesAndSaysWhatFailed) {
  give_migration("exit 1\n");
  ASSERT_NO_FATAL_FAILURE(arm());
  const Answer answer = device->run({"confirm"});
  EXPECT_EQ(answer.exit_status, 7) << answer.story();
  EXPECT_EQ(answer.code(), "health");
}

TEST_F(ConfigurationFate, AMigrationThatHangsIsEnded) {
  const Fingerprint original = device->protected_files();
  device->edit_configuration("confirm-within = \"15min\"", "confirm-within = \"700ms\"");
  give_migration("echo x >\"$SLOTKEEPER_PERMANENT/half\"\nexec sleep 600\n");
  ASSERT_NO_FATAL_FAILURE(arm());
  const Answer begun = device->run({"recover"});
  EXPECT_EQ(begun.exit_status, 7) << begun.story();
  EXPECT_EQ(begun.code(), "health-timeout");
  ASSERT_NO_FATAL_FAILURE(expect_back_in('A', original));
}

TEST_F(ConfigurationFate, AMigrationThatOthersCouldChangeIsNotRun) {
  const Fingerprint original = device->protected_files();
  give_migration("echo x >\"$SLOTKEEPER_PERMANENT/half\"\n");
  ASSERT_NO_FATAL_FAILURE(arm());
  std::filesystem::permissions(device->path("hooks.d/migrate-config"), std::filesystem::perms(0777));
  const Answer begun = device->run({"recover"});
  EXPECT_EQ(begun.exit_status, 7) << begun.story();
  EXPECT_EQ(begun.text("cause/code"), "config") << begun.story();
  EXPECT_EQ(difference(original, device->protected_files()), "");
  ASSERT_NO_FATAL_FAILURE(expect_back_in('A', original));
}

TEST_F(ConfigurationFate, AMigrationMayAskForSomebody) {
  for (const char* body :
       {"exit 10\n", "echo manual-input-needed\n", "echo manual-input-needed; seq 1 2000; seq 1 9 >&2\n"}) {
    give_migration(body);
    ASSERT_NO_FATAL_FAILURE(arm());
    const Answer begun = device->run({"recover"});
    EXPECT_EQ(begun.exit_status, 0) << begun.story();
    EXPECT_EQ(begun.text("manual_input_needed"), "true") << begun.story();
    EXPECT_EQ(device->run({"recover"}).text("manual_input_needed"), "true");
    ASSERT_EQ(device->run({"rollback"}).exit_status, 0);
    ASSERT_EQ(device->boot(), 'A');
    ASSERT_EQ(device->run({"recover"}).exit_status, 0);
  }
}

TEST_F(ConfigurationFate, AKilledMigrationRunsAgain) {
  give_migration("echo run >>'" + device->path("migrations") +
                 "'\necho new >\"$SLOTKEEPER_PERMANENT/network/interfaces.conf\"\n"
                 "test -e '" +
                 device->path("go-on") + "' || sleep 600\n");
  ASSERT_NO_FATAL_FAILURE(arm());
  Program recover(device->command({"recover"}));
  while (!std::filesystem::exists(device->path("migrations"))) std::this_thread::yield();
  recover.signal(SIGKILL);
  EXPECT_EQ(recover.finish().exit_status, 128 + SIGKILL);
  write_file(device->path("go-on"), "");
  ASSERT_EQ(device->boot(), 'B');
  const Answer again = device->run({"recover"});
  EXPECT_EQ(again.text("configuration"), "migrated") << again.story();
  EXPECT_EQ(contents_of(device->path("migrations")), "run\nrun\n");
}

// ---- rolled back ----------------------------------------------------------------------------------------------------

TEST_F(ConfigurationFate, NothingIsRestoredWhenTheTrialCouldNotSecureTheLastMomentOfTheOriginal) {
  ASSERT_EQ(device->install(Material::get().bundle("2.0.0")).outcome(), "armed");
  write_file(device->permanent("network/interfaces.conf"), "written while armed\n");
  // More than the second generation has room for: the trial must not start, and there is nothing to undo.
  std::string noise;
  for (unsigned int i = 1; noise.size() < (5u << 20); ++i) noise += static_cast<char>((i * 2654435761u) >> 24);
  write_file(device->permanent("network/large.conf"), noise);
  ASSERT_EQ(device->boot(), 'B');
  const Fingerprint written = device->protected_files();
  const Answer begun = device->run({"recover"});
  EXPECT_EQ(begun.exit_status, 7) << begun.story();
  ASSERT_NO_FATAL_FAILURE(expect_back_in('A', written));
  EXPECT_EQ(last.outcome(), "rolled-back");
  EXPECT_EQ(last.text("configuration"), "kept") << last.story();
}

TEST_F(ConfigurationFate, LogsThatOnlyTheNewFirmwareCallsLogsAreKept) {
  const std::string original_toml = device->configuration();
  const Fingerprint original = device->protected_files();
  ASSERT_NO_FATAL_FAILURE(arm());
  device->edit_configuration("[[permanent.class]]\nname = \"system\"",
                             "[[permanent.class]]\nname = \"journal\"\nkind = \"log\"\nmatch = [\"journal/**\"]\n"
                             "[[permanent.class]]\nname = \"system\"");
  ASSERT_EQ(device->run({"recover"}).exit_status, 0);
  std::filesystem::create_directory(device->permanent("journal"));
  write_file(device->permanent("journal/today"), "an entry of the trial\n");
  write_file(device->permanent("invented.conf"), "of the trial\n");
  const Answer asked = device->run({"rollback"});
  EXPECT_EQ(asked.text("configuration"), "to-be-restored") << asked.story();
  device->set_configuration(original_toml);
  ASSERT_NO_FATAL_FAILURE(expect_back_in('A', original));
  EXPECT_THAT(last.output, HasSubstr("journal (moved to .slotkeeper/kept/1-journal)"));
  EXPECT_EQ(contents_of(device->permanent(".slotkeeper/kept/1-journal/today")), "an entry of the trial\n");
}

TEST_F(ConfigurationFate, ARestoreThatCannotGoOnIsNamedAndGoesOnLater) {
  const Fingerprint original = device->protected_files();
  ASSERT_NO_FATAL_FAILURE(arm());
  ASSERT_EQ(device->run({"recover"}).exit_status, 0);
  write_file(device->permanent("network/interfaces.conf"), "of the trial\n");
  ASSERT_EQ(device->run({"rollback"}).exit_status, 0);
  ASSERT_EQ(device->boot(), 'A');
  run_tool({"mount", "--bind", device->permanent("services"), device->permanent("network")});
  const Answer stuck = device->run({"recover"});
  EXPECT_EQ(device->run({"status"}).text("transaction/state"), "restoring");
  run_tool({"umount", device->permanent("network")});
  EXPECT_EQ(stuck.exit_status, 5) << stuck.story();
  EXPECT_EQ(stuck.code(), "restore-incomplete");
  EXPECT_THAT(stuck.message(), HasSubstr("network: something is mounted over it"));
  EXPECT_THAT(stuck.message(), HasSubstr("run 'slotkeeper recover'"));
  const Answer done = device->run({"recover"});
  EXPECT_EQ(done.exit_status, 0) << done.story();
  EXPECT_EQ(done.text("configuration"), "restored");
  EXPECT_EQ(difference(original, device->protected_files()), "");
}

TEST_F(ConfigurationFate, TheTargetIsSentBackFromTheMiddleOfARestore) {
  ASSERT_NO_FATAL_FAILURE(arm());
  ASSERT_EQ(device->run({"recover"}).exit_status, 0);
  write_file(device->permanent("network/interfaces.conf"), "of the trial\n");
  ASSERT_EQ(device->run({"rollback"}).exit_status, 0);
  ASSERT_EQ(device->boot(), 'A');
  run_tool({"mount", "--bind", device->permanent("services"), device->permanent("network")});
  ASSERT_EQ(device->run({"recover"}).exit_status, 5);
  run_tool({"umount", device->permanent("network")});
  device->booted = 'B';
  const Answer held = device->run({"recover"});
  EXPECT_EQ(held.exit_status, 5) << held.story();
  EXPECT_EQ(held.code(), "restore-incomplete");
  EXPECT_EQ(held.text("reboot_needed"), "true");
}

// ---- back to the previous firmware ----------------------------------------------------------------------------------

TEST_F(ConfigurationFate, RollbackToPreviousKeepsWhatThatFirmwareCanRead) {
  use_schemas("3");
  give_migration("echo migrated >\"$SLOTKEEPER_PERMANENT/network/interfaces.conf\"\n");
  ASSERT_NO_FATAL_FAILURE(confirm_trial());
  write_file(device->permanent("services/late.conf"), "written after the confirmation\n");
  const Fingerprint newer = device->protected_files();
  const Answer asked = device->run({"rollback", "--to-previous"});
  EXPECT_EQ(asked.text("configuration"), "kept") << asked.story();
  ASSERT_NO_FATAL_FAILURE(expect_back_in('A', newer));
  EXPECT_EQ(last.text("configuration"), "kept") << last.story();
}

TEST_F(ConfigurationFate, RollbackToPreviousRestoresWhatThatFirmwareCannotRead) {
  use_schemas("4");
  const Fingerprint original = device->protected_files();
  give_migration("echo migrated >\"$SLOTKEEPER_PERMANENT/network/interfaces.conf\"\n");
  ASSERT_NO_FATAL_FAILURE(confirm_trial());
  write_file(device->permanent("services/late.conf"), "written after the confirmation\n");
  const Answer asked = device->run({"rollback", "--to-previous"});
  EXPECT_EQ(asked.exit_status, 0) << asked.story();
  EXPECT_EQ(asked.text("configuration"), "to-be-restored");
  ASSERT_NO_FATAL_FAILURE(expect_back_in('A', original));
  EXPECT_EQ(last.text("configuration"), "restored") << last.story();
  EXPECT_EQ(last.text("saved_aside"), "true");
  EXPECT_EQ(device->run({"verify"}).exit_status, 0);
  EXPECT_EQ(device->run({"recover"}).outcome(), "nothing-to-do");
}

TEST_F(ConfigurationFate, WithoutSchemasAMigrationDecides) {
  const Fingerprint original = device->protected_files();
  give_migration("echo migrated >\"$SLOTKEEPER_PERMANENT/network/interfaces.conf\"\n");
  ASSERT_NO_FATAL_FAILURE(confirm_trial());
  ASSERT_EQ(device->run({"rollback", "--to-previous"}).text("configuration"), "to-be-restored");
  ASSERT_NO_FATAL_FAILURE(expect_back_in('A', original));
}

// ---- fallen back ----------------------------------------------------------------------------------------------------

TEST_F(ConfigurationFate, AFallBackKeepsWhatTheOlderFirmwareCanRead) {
  use_schemas("3");
  ASSERT_NO_FATAL_FAILURE(confirm_trial());
  write_file(device->permanent("services/late.conf"), "written after the confirmation\n");
  const Fingerprint newer = device->protected_files();
  destroy_b();
  ASSERT_NO_FATAL_FAILURE(expect_back_in('A', newer));
  EXPECT_EQ(last.outcome(), "rolled-back");
  EXPECT_EQ(last.text("cause/code"), "fallback-damaged") << last.story();
  EXPECT_EQ(last.text("configuration"), "kept");
  EXPECT_EQ(device->run({"recover"}).outcome(), "nothing-to-do");
}

TEST_F(ConfigurationFate, AFallBackRestoresWhatTheOlderFirmwareLeft) {
  use_schemas("4");
  const Fingerprint original = device->protected_files();
  give_migration("echo migrated >\"$SLOTKEEPER_PERMANENT/network/interfaces.conf\"\n");
  ASSERT_NO_FATAL_FAILURE(confirm_trial());
  write_file(device->permanent("services/late.conf"), "written after the confirmation\n");
  destroy_b();
  ASSERT_NO_FATAL_FAILURE(expect_back_in('A', original));
  EXPECT_EQ(last.text("configuration"), "restored") << last.story();
  EXPECT_EQ(last.text("saved_aside"), "true");
  EXPECT_EQ(device->run({"recover"}).outcome(), "nothing-to-do");
}

TEST_F(ConfigurationFate, AFallBackWithoutAnOlderConfigurationSavesThePresentOneAside) {
  use_schemas("4");
  ASSERT_NO_FATAL_FAILURE(confirm_trial());
  const Fingerprint newer = device->protected_files();
  {
    // The areas of the snapshots lie behind the fixed regions; their contents are damaged, their seals are not.
    std::fstream store(device->store(), std::ios::binary | std::ios::in | std::ios::out);
    store.seekp((832 + 32) * 1024 + 100);
    store << "damaged" << std::flush;
    ASSERT_TRUE(store.good());
  }
  destroy_b();
  ASSERT_NO_FATAL_FAILURE(expect_back_in('A', newer));
  EXPECT_EQ(last.text("configuration"), "saved-aside") << last.story();
  EXPECT_EQ(last.text("manual_input_needed"), "true");
  EXPECT_EQ(device->run({"recover"}).outcome(), "nothing-to-do");
}

}  // namespace
}  // namespace slotkeeper::test
