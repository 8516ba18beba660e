#include "engine/transaction/record.hpp"

#include <algorithm>
#include <cstdio>
#include <ctime>

#include "engine/transaction/record_json.hpp"

namespace slotkeeper {
namespace {

using namespace record_json;

Json json_of(const permanent::ClassTable& classes) {
  JsonArray rules;
  for (const auto& rule : classes.rules) {
    JsonArray match;
    for (const auto& pattern : rule.match) match.emplace_back(escape_bytes(pattern));
    rules.emplace_back(JsonObject{{"name", escape_bytes(rule.name)},
                                  {"kind", permanent::name_of(rule.kind)},
                                  {"match", std::move(match)},
                                  {"keep-days", rule.keep_days ? Json(*rule.keep_days) : Json()}});
  }
  return rules;
}

Json json_of(const std::optional<permanent::SnapshotFacts>& facts) {
  if (!facts) return {};
  return JsonObject{{"config-root", facts->config_root.hex()},
                    {"protected-root", facts->protected_root.hex()},
                    {"entries", facts->entries},
                    {"plain-bytes", facts->plain_bytes},
                    {"stored-bytes", facts->stored_bytes}};
}

Result<permanent::ClassTable> read_classes(const Json& value) {
  const JsonArray* rules = value.as_array();
  if (rules == nullptr) return make_error(Errc::corrupt, "classes is not a list");
  permanent::ClassTable table;
  for (const auto& item : *rules) {
    JsonReader reader(item, "class");
    permanent::ClassRule rule;
    SK_TRY_ASSIGN(rule.name, read_text(reader, "name"));
    SK_TRY_ASSIGN(const auto kind_name, reader.string("kind"));
    const auto kind = permanent::kind_from_name(kind_name);
    if (!kind) return make_error(Errc::foreign_record, "class kind '" + kind_name + "' is unknown");
    rule.kind = *kind;
    SK_TRY_ASSIGN(const auto patterns, reader.strings("match"));
    for (const auto& pattern : patterns) {
      SK_TRY_ASSIGN(auto raw, unescape_bytes(pattern));
      rule.match.push_back(std::move(raw));
    }
    SK_TRY_ASSIGN(const auto days, read_optional_integer(reader, "keep-days"));
    if (days) rule.keep_days = static_cast<std::uint32_t>(std::clamp<std::int64_t>(*days, 0, UINT32_MAX));
    SK_TRY(reader.finish());
    table.rules.push_back(std::move(rule));
  }
  return table;
}

Json json_of(const std::optional<Migration>& migration) {
  if (!migration) return {};
  return JsonObject{{"ran", migration->ran},
                    {"config-changed", migration->config_changed},
                    {"manual-input-needed", migration->manual_input_needed}};
}

Result<std::optional<Migration>> read_migration(JsonReader& reader) {
  const Json* value = reader.optional_member("migration");
  if (value == nullptr || value->is_null()) return std::optional<Migration>{};
  JsonReader members(*value, "migration");
  Migration migration;
  SK_TRY_ASSIGN(migration.ran, members.boolean("ran"));
  SK_TRY_ASSIGN(migration.config_changed, members.boolean("config-changed"));
  SK_TRY_ASSIGN(migration.manual_input_needed, members.boolean("manual-input-needed"));
  SK_TRY(members.finish());
  return std::optional(migration);
}

Result<std::optional<permanent::SnapshotFacts>> read_snapshot(const Json* value) {
  if (value == nullptr || value->is_null()) return std::optional<permanent::SnapshotFacts>{};
  JsonReader reader(*value, "snapshot");
  permanent::SnapshotFacts facts;
  SK_TRY_ASSIGN(facts.config_root, reader.digest("config-root"));
  SK_TRY_ASSIGN(facts.protected_root, reader.digest("protected-root"));
  SK_TRY_ASSIGN(const auto entries, reader.integer("entries", 0, kIntegerMax));
  SK_TRY_ASSIGN(const auto plain, reader.integer("plain-bytes", 0, kIntegerMax));
  SK_TRY_ASSIGN(const auto stored, reader.integer("stored-bytes", 0, kIntegerMax));
  SK_TRY(reader.finish());
  facts.entries = static_cast<std::uint64_t>(entries);
  facts.plain_bytes = static_cast<std::uint64_t>(plain);
  facts.stored_bytes = static_cast<std::uint64_t>(stored);
  return std::optional{facts};
}

Result<TransactionRecord> read_members(JsonReader& reader) {
  TransactionRecord record;
  SK_TRY_ASSIGN(record.record_version, reader.integer("record", 1, kIntegerMax));
  if (record.record_version != kRecordVersion) {
    return make_error(Errc::foreign_record, "record version " + std::to_string(record.record_version) + " is unknown");
  }
  SK_TRY_ASSIGN(record.engine_version, reader.string("engine"));
  SK_TRY_ASSIGN(record.id, reader.string("id"));
  if (record.mark_id().size() != 16) return make_error(Errc::corrupt, "id is not a UUID");
  SK_TRY_ASSIGN(const auto state_name, reader.string("state"));
  const auto state = state_from_name(state_name);
  if (!state) return make_error(Errc::foreign_record, "state '" + state_name + "' is unknown");
  record.state = *state;
  SK_TRY_ASSIGN(record.original, read_slot(reader, "original"));
  SK_TRY_ASSIGN(record.target, read_slot(reader, "target"));
  if (record.original == record.target) return make_error(Errc::corrupt, "original and target are the same slot");
  SK_TRY_ASSIGN(const auto attempts, reader.integer("attempts", 1, 9));
  record.attempts = static_cast<std::uint32_t>(attempts);
  SK_TRY_ASSIGN(record.permanent_path, read_text(reader, "permanent-path"));
  SK_TRY_ASSIGN(const Json* classes, reader.member("classes"));
  SK_TRY_ASSIGN(record.classes, read_classes(*classes));
  SK_TRY_ASSIGN(record.slot_table_digest, reader.digest("slot-table-sha256"));
  SK_TRY_ASSIGN(const auto slack, reader.integer("slack-bytes", 0, kIntegerMax));
  record.slack_bytes = static_cast<std::uint64_t>(slack);
  SK_TRY_ASSIGN(const Json* image, reader.member("image"));
  SK_TRY_ASSIGN(record.image, read_baseline(*image));
  SK_TRY_ASSIGN(record.floor, read_floor(reader.optional_member("floor")));
  SK_TRY_ASSIGN(record.original_version, read_text(reader, "original-version"));
  SK_TRY_ASSIGN(record.first, read_snapshot(reader.optional_member("first-snapshot")));
  SK_TRY_ASSIGN(record.second, read_snapshot(reader.optional_member("second-snapshot")));
  SK_TRY_ASSIGN(record.second_decided, reader.boolean("second-decided"));
  SK_TRY_ASSIGN(record.armed_boot_id, reader.string("armed-boot-id"));
  SK_TRY_ASSIGN(const auto boots, reader.integer("trial-boots", 0, UINT32_MAX));
  record.trial_boots = static_cast<std::uint32_t>(boots);
  SK_TRY_ASSIGN(record.trial_boot_id, reader.string("trial-boot-id"));
  SK_TRY_ASSIGN(record.trial_since_boot_s, reader.integer("trial-since-boot-s", 0, kIntegerMax));
  SK_TRY_ASSIGN(record.revert, reader.boolean("revert"));
  SK_TRY_ASSIGN(record.restore_wanted, reader.boolean("restore-wanted"));
  if (const Json* trial = reader.optional_member("trial-classes"); trial != nullptr && !trial->is_null()) {
    SK_TRY_ASSIGN(record.trial_classes, read_classes(*trial));
  }
  SK_TRY_ASSIGN(record.migration, read_migration(reader));
  SK_TRY_ASSIGN(record.saved_aside, read_later_boolean(reader, "saved-aside"));
  SK_TRY_ASSIGN(record.started, reader.string("started"));
  if (const Json* cause = reader.optional_member("cause"); cause != nullptr && !cause->is_null()) {
    JsonReader cause_reader(*cause, "cause");
    RecordedCause recorded;
    SK_TRY_ASSIGN(recorded.code, cause_reader.string("code"));
    SK_TRY_ASSIGN(recorded.phase, cause_reader.string("phase"));
    SK_TRY_ASSIGN(recorded.message, read_text(cause_reader, "message"));
    SK_TRY(cause_reader.finish());
    record.cause = std::move(recorded);
  }
  SK_TRY(reader.finish());
  return record;
}

}  // namespace

std::string TransactionRecord::mark_id() const {
  std::string digits;
  for (const char c : id) {
    if (c != '-' && digits.size() < 16) digits += c;
  }
  return digits;
}

std::string print_record(const TransactionRecord& record) {
  const Json cause = record.cause ? Json(JsonObject{{"code", record.cause->code},
                                                    {"phase", record.cause->phase},
                                                    {"message", escape_bytes(record.cause->message)}})
                                  : Json();
  return Json(JsonObject{{"record", record.record_version},
                         {"engine", record.engine_version},
                         {"id", record.id},
                         {"state", name_of(record.state)},
                         {"original", name_of(record.original)},
                         {"target", name_of(record.target)},
                         {"attempts", record.attempts},
                         {"permanent-path", escape_bytes(record.permanent_path)},
                         {"classes", json_of(record.classes)},
                         {"slot-table-sha256", record.slot_table_digest.hex()},
                         {"slack-bytes", record.slack_bytes},
                         {"image", json_of(record.image)},
                         {"floor", json_of(record.floor)},
                         {"original-version", escape_bytes(record.original_version)},
                         {"first-snapshot", json_of(record.first)},
                         {"second-snapshot", json_of(record.second)},
                         {"second-decided", record.second_decided},
                         {"armed-boot-id", record.armed_boot_id},
                         {"trial-boots", record.trial_boots},
                         {"trial-boot-id", record.trial_boot_id},
                         {"trial-since-boot-s", record.trial_since_boot_s},
                         {"revert", record.revert},
                         {"restore-wanted", record.restore_wanted},
                         {"trial-classes", record.trial_classes ? json_of(*record.trial_classes) : Json()},
                         {"migration", json_of(record.migration)},
                         {"saved-aside", record.saved_aside},
                         {"started", record.started},
                         {"cause", cause}})
      .print();
}

Result<TransactionRecord> parse_record(const std::string& payload) {
  auto json = Json::parse(payload, kPayloadMax);
  if (!json.has_value()) return as_record_error(std::move(json).assume_error(), "transaction record");
  JsonReader reader(json.assume_value(), "record");
  auto record = read_members(reader);
  if (!record.has_value()) return as_record_error(std::move(record).assume_error(), "transaction record");
  return record;
}

std::string print_snapshot_description(const SnapshotDescription& description) {
  return Json(JsonObject{{"snapshot", kRecordVersion},
                         {"transaction", description.transaction},
                         {"permanent-path", escape_bytes(description.permanent_path)},
                         {"classes", json_of(description.classes)},
                         {"facts", json_of(std::optional(description.facts))}})
      .print();
}

Result<SnapshotDescription> parse_snapshot_description(const std::string& payload) {
  const auto parse = [&]() -> Result<SnapshotDescription> {
    SK_TRY_ASSIGN(const auto json, Json::parse(payload, kPayloadMax));
    JsonReader reader(json, "snapshot");
    SK_TRY_ASSIGN(const auto version, reader.integer("snapshot", 1, kIntegerMax));
    if (version != kRecordVersion) {
      return make_error(Errc::foreign_record, "version " + std::to_string(version) + " is unknown");
    }
    SnapshotDescription description;
    SK_TRY_ASSIGN(description.transaction, reader.string("transaction"));
    SK_TRY_ASSIGN(description.permanent_path, read_text(reader, "permanent-path"));
    SK_TRY_ASSIGN(const Json* classes, reader.member("classes"));
    SK_TRY_ASSIGN(description.classes, read_classes(*classes));
    SK_TRY_ASSIGN(const Json* facts_json, reader.member("facts"));
    SK_TRY_ASSIGN(const auto facts, read_snapshot(facts_json));
    if (!facts) return make_error(Errc::corrupt, "the roots are missing");
    description.facts = *facts;
    SK_TRY(reader.finish());
    return description;
  };
  auto description = parse();
  if (!description.has_value()) return as_record_error(std::move(description).assume_error(), "snapshot description");
  return description;
}

std::string rfc3339(io::TimeStamp time) {
  const std::time_t seconds = static_cast<std::time_t>(time.seconds);
  std::tm parts{};
  if (gmtime_r(&seconds, &parts) == nullptr) return "1970-01-01T00:00:00Z";
  char text[48];
  std::snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02dZ", parts.tm_year + 1900, parts.tm_mon + 1,
                parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec);
  return text;
}

}  // namespace slotkeeper
