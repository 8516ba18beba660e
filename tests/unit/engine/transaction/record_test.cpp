#include "engine/transaction/record.hpp"

#include <gtest/gtest.h>

namespace slotkeeper {
namespace {

Sha256 digest_of(char letter) { return sha256(io::as_bytes(std::string(1, letter))); }

TransactionRecord full_record() {
  TransactionRecord record;
  record.engine_version = "0.1.0";
  record.id = "01234567-89ab-4def-8123-456789abcdef";
  record.state = State::trial;
  record.attempts = 2;
  record.permanent_path = "/etc/conf.d/caf\xe9";
  record.classes.rules = {
      {.name = "log", .kind = permanent::ClassKind::log, .match = {"log/**", "\xff*"}, .keep_days = 180}};
  record.slot_table_digest = digest_of('t');
  record.slack_bytes = 4096;
  record.image = {.origin = BaselineOrigin::bundle,
                  .version = "3.5.1",
                  .manifest_digest = digest_of('m'),
                  .volumes = {{.volume = "rootfs", .length_bytes = 1 << 20, .digest = digest_of('v')}},
                  .config_schema = 4,
                  .config_readable_by = 3};
  record.floor = VersionFloor{.manifest = "{}\n", .signature = "\x30\x82"};
  record.original_version = "3.5.0";
  record.first = permanent::SnapshotFacts{digest_of('c'), digest_of('p'), 17, 1000, 500};
  record.second_decided = true;
  record.armed_boot_id = "boot";
  record.trial_boots = 1;
  record.trial_boot_id = "boot2";
  record.trial_since_boot_s = 12;
  record.restore_wanted = true;
  record.trial_classes = permanent::ClassTable{
      {{.name = "journal", .kind = permanent::ClassKind::log, .match = {"journal/**"}, .keep_days = {}}}};
  record.migration = Migration{.ran = true, .config_changed = true, .manual_input_needed = true};
  record.saved_aside = true;
  record.started = "2026-11-24T02:00:00Z";
  record.cause = RecordedCause{.code = "health", .phase = "confirm", .message = "line\n\\x"};
  return record;
}

TEST(TransactionRecord, ReadsBackWhatItPrints) {
  const auto text = print_record(full_record());
  const auto read = parse_record(text);
  ASSERT_TRUE(read.has_value()) << read.assume_error().message;
  EXPECT_EQ(print_record(read.assume_value()), text);
  EXPECT_EQ(read.assume_value().permanent_path, "/etc/conf.d/caf\xe9");
  EXPECT_EQ(read.assume_value().classes, full_record().classes);
  EXPECT_EQ(read.assume_value().image, full_record().image);
  EXPECT_EQ(read.assume_value().cause, full_record().cause);
  EXPECT_EQ(read.assume_value().floor, full_record().floor);
  EXPECT_EQ(read.assume_value().trial_classes, full_record().trial_classes);
  EXPECT_EQ(read.assume_value().migration, full_record().migration);
}

TEST(TransactionRecord, ReadsOneThatAnEngineBeganWhichKnewLess) {
  TransactionRecord record = full_record();
  record.trial_classes.reset();
  record.migration.reset();
  record.saved_aside = false;
  std::string text = print_record(record);
  const std::string later = "\"trial-classes\":null,\"migration\":null,\"saved-aside\":false,";
  ASSERT_NE(text.find(later), std::string::npos) << text;
  text.erase(text.find(later), later.size());
  const auto read = parse_record(text);
  ASSERT_TRUE(read.has_value()) << read.assume_error().message;
  EXPECT_EQ(print_record(read.assume_value()), print_record(record));
}

TEST(TransactionRecord, RefusesAMigrationItDoesNotUnderstand) {
  for (const char* migration : {"{\"ran\":true}", "true",
                                "{\"ran\":true,\"config-changed\":true,\"manual-input-needed\":"
                                "false,\"more\":1}"}) {
    std::string text = print_record(full_record());
    const std::size_t start = text.find("\"migration\":") + 12;
    text.replace(start, text.find('}', start) + 1 - start, migration);
    const auto read = parse_record(text);
    ASSERT_FALSE(read.has_value()) << migration;
    EXPECT_EQ(read.assume_error().code, Errc::foreign_record);
  }
}

TEST(TransactionRecord, RefusesAnotherVersionAsForeign) {
  auto text = print_record(full_record());
  text.replace(text.find("\"record\":1"), 10, "\"record\":2");
  const auto read = parse_record(text);
  ASSERT_FALSE(read.has_value());
  EXPECT_EQ(read.assume_error().code, Errc::foreign_record);
}

TEST(TransactionRecord, RefusesAStateItDoesNotKnow) {
  auto text = print_record(full_record());
  text.replace(text.find("\"trial\""), 7, "\"tryal\"");
  const auto read = parse_record(text);
  ASSERT_FALSE(read.has_value());
  EXPECT_EQ(read.assume_error().code, Errc::foreign_record);
}

TEST(TransactionRecord, RefusesAMemberItDoesNotKnow) {
  auto text = print_record(full_record());
  text.insert(1, "\"surprise\":1,");
  const auto read = parse_record(text);
  ASSERT_FALSE(read.has_value());
  EXPECT_EQ(read.assume_error().code, Errc::foreign_record);
}

TEST(TransactionRecord, MarkIsTheFirstSixteenDigits) { EXPECT_EQ(full_record().mark_id(), "0123456789ab4def"); }

TEST(DeviceFacts, ReadBackWhatTheyPrint) {
  DeviceFacts facts;
  facts.confirmed = SlotId::b;
  facts.b = full_record().image;
  facts.snapshot_of = "id";
  facts.activated_boot_id = "boot";
  facts.floor = VersionFloor{.manifest = "{\"format\":1}\n", .signature = std::string("\x30\x82\x00\xff", 4)};
  facts.failures = {{.manifest = digest_of('m'),
                     .version = "3.5.1",
                     .count = 2,
                     .transaction = "id",
                     .code = "health",
                     .last = "2026-11-24T02:00:00Z"}};
  const auto read = parse_facts(print_facts(facts));
  ASSERT_TRUE(read.has_value()) << read.assume_error().message;
  EXPECT_EQ(read.assume_value(), facts);
}

TEST(DeviceFacts, WithoutWhatCameLaterAreRead) {
  DeviceFacts facts;
  std::string text = print_facts(facts);
  const std::string later = ",\"floor\":null,\"failures\":[]";
  ASSERT_NE(text.find(later), std::string::npos) << text;
  text.erase(text.find(later), later.size());
  const auto read = parse_facts(text);
  ASSERT_TRUE(read.has_value()) << read.assume_error().message;
  EXPECT_EQ(read.assume_value(), facts);
}

TEST(SnapshotDescription, ReadsBackWhatItPrints) {
  const SnapshotDescription description{"id", full_record().classes, "/p", *full_record().first};
  const auto read = parse_snapshot_description(print_snapshot_description(description));
  ASSERT_TRUE(read.has_value()) << read.assume_error().message;
  EXPECT_EQ(read.assume_value().classes, description.classes);
  EXPECT_EQ(read.assume_value().facts.protected_root, description.facts.protected_root);
}

TEST(Rfc3339, PrintsUtc) { EXPECT_EQ(rfc3339({.seconds = 1600000000}), "2020-09-13T12:26:40Z"); }

}  // namespace
}  // namespace slotkeeper
