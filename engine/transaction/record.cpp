#include "engine/transaction/record.hpp"

#include <algorithm>
#include <cstdio>
#include <ctime>

namespace slotkeeper {
namespace {

constexpr std::size_t kPayloadMax = 64 * 1024;
constexpr std::int64_t kIntegerMax = INT64_MAX;

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

Json json_of(const std::optional<std::int64_t>& number) { return number ? Json(*number) : Json(); }

Json json_of(const SlotBaseline& baseline) {
  JsonArray volumes;
  for (const auto& volume : baseline.volumes) {
    volumes.emplace_back(
        JsonObject{{"volume", volume.volume}, {"bytes", volume.length_bytes}, {"pieces-sha256", volume.digest.hex()}});
  }
  return JsonObject{{"origin", name_of(baseline.origin)},
                    {"version", escape_bytes(baseline.version)},
                    {"manifest-sha256", baseline.manifest_digest ? Json(baseline.manifest_digest->hex()) : Json()},
                    {"volumes", std::move(volumes)},
                    {"config-schema", json_of(baseline.config_schema)},
                    {"config-readable-by", json_of(baseline.config_readable_by)}};
}

Json json_of(const std::optional<permanent::SnapshotFacts>& facts) {
  if (!facts) return {};
  return JsonObject{{"config-root", facts->config_root.hex()},
                    {"protected-root", facts->protected_root.hex()},
                    {"entries", facts->entries},
                    {"plain-bytes", facts->plain_bytes},
                    {"stored-bytes", facts->stored_bytes}};
}

Result<std::string> read_text(JsonReader& reader, std::string_view key) {
  SK_TRY_ASSIGN(auto text, reader.string(key));
  return unescape_bytes(text);
}

Result<std::optional<std::int64_t>> read_optional_integer(JsonReader& reader, std::string_view key) {
  const Json* value = reader.optional_member(key);
  if (value == nullptr || value->is_null()) return std::optional<std::int64_t>{};
  if (value->as_integer() == nullptr) return make_error(Errc::corrupt, std::string(key) + " is not a number");
  return std::optional<std::int64_t>{*value->as_integer()};
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

/// Members that came later are missing in a record that an older engine began.
Result<bool> read_later_boolean(JsonReader& reader, std::string_view key) {
  const Json* value = reader.optional_member(key);
  if (value == nullptr) return false;
  if (value->as_bool() == nullptr) return make_error(Errc::corrupt, std::string(key) + " is neither true nor false");
  return *value->as_bool();
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

Result<SlotBaseline> read_baseline(const Json& value) {
  JsonReader reader(value, "baseline");
  SlotBaseline baseline;
  SK_TRY_ASSIGN(const auto origin, reader.string("origin"));
  if (origin == "adopted") {
    baseline.origin = BaselineOrigin::adopted;
  } else if (origin == "factory") {
    baseline.origin = BaselineOrigin::factory;
  } else if (origin == "bundle") {
    baseline.origin = BaselineOrigin::bundle;
  } else {
    return make_error(Errc::foreign_record, "baseline origin '" + origin + "' is unknown");
  }
  SK_TRY_ASSIGN(baseline.version, read_text(reader, "version"));
  if (const Json* digest = reader.optional_member("manifest-sha256"); digest != nullptr && !digest->is_null()) {
    SK_TRY_ASSIGN(baseline.manifest_digest, reader.digest("manifest-sha256"));
  }
  SK_TRY_ASSIGN(const Json* volumes, reader.member("volumes"));
  if (volumes->as_array() == nullptr) return make_error(Errc::corrupt, "volumes is not a list");
  for (const auto& item : *volumes->as_array()) {
    JsonReader volume_reader(item, "volume");
    VolumeBaseline volume;
    SK_TRY_ASSIGN(volume.volume, volume_reader.string("volume"));
    SK_TRY_ASSIGN(const auto bytes, volume_reader.integer("bytes", 0, kIntegerMax));
    volume.length_bytes = static_cast<std::uint64_t>(bytes);
    SK_TRY_ASSIGN(volume.digest, volume_reader.digest("pieces-sha256"));
    SK_TRY(volume_reader.finish());
    baseline.volumes.push_back(std::move(volume));
  }
  SK_TRY_ASSIGN(baseline.config_schema, read_optional_integer(reader, "config-schema"));
  SK_TRY_ASSIGN(baseline.config_readable_by, read_optional_integer(reader, "config-readable-by"));
  SK_TRY(reader.finish());
  return baseline;
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

Result<SlotId> read_slot(JsonReader& reader, std::string_view key) {
  SK_TRY_ASSIGN(const auto name, reader.string(key));
  const auto slot = slot_from_name(name);
  if (!slot) return make_error(Errc::corrupt, std::string(key) + " is not a slot");
  return *slot;
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

/// A payload has a good checksum, so what it cannot be understood as was written by another version.
Error as_record_error(Error error, std::string_view what) {
  if (error.code == Errc::corrupt) error.code = Errc::foreign_record;
  return std::move(error).with_context(what);
}

}  // namespace

std::string_view name_of(BaselineOrigin origin) {
  switch (origin) {
    case BaselineOrigin::adopted:
      return "adopted";
    case BaselineOrigin::factory:
      return "factory";
    case BaselineOrigin::bundle:
      return "bundle";
  }
  return "adopted";
}

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

std::string print_facts(const DeviceFacts& facts) {
  return Json(JsonObject{{"facts", kRecordVersion},
                         {"confirmed", name_of(facts.confirmed)},
                         {"A", facts.a ? json_of(*facts.a) : Json()},
                         {"B", facts.b ? json_of(*facts.b) : Json()},
                         {"snapshot-of", facts.snapshot_of ? Json(*facts.snapshot_of) : Json()},
                         {"saved-aside", facts.saved_aside},
                         {"activated-boot-id", facts.activated_boot_id},
                         {"floor", Json()},
                         {"failures", JsonArray{}}})
      .print();
}

Result<DeviceFacts> parse_facts(const std::string& payload) {
  const auto parse = [&]() -> Result<DeviceFacts> {
    SK_TRY_ASSIGN(const auto json, Json::parse(payload, kPayloadMax));
    JsonReader reader(json, "facts");
    SK_TRY_ASSIGN(const auto version, reader.integer("facts", 1, kIntegerMax));
    if (version != kRecordVersion) {
      return make_error(Errc::foreign_record, "version " + std::to_string(version) + " is unknown");
    }
    DeviceFacts facts;
    SK_TRY_ASSIGN(facts.confirmed, read_slot(reader, "confirmed"));
    for (const SlotId slot : {SlotId::a, SlotId::b}) {
      const Json* baseline = reader.optional_member(name_of(slot));
      if (baseline == nullptr || baseline->is_null()) continue;
      SK_TRY_ASSIGN(facts[slot], read_baseline(*baseline));
    }
    if (const Json* kept = reader.optional_member("snapshot-of"); kept != nullptr && kept->as_string() != nullptr) {
      facts.snapshot_of = *kept->as_string();
    }
    SK_TRY_ASSIGN(facts.saved_aside, read_later_boolean(reader, "saved-aside"));
    SK_TRY_ASSIGN(facts.activated_boot_id, reader.string("activated-boot-id"));
    // Reserved for the version floor and the failure counters; a version that writes them also raises `facts`.
    static_cast<void>(reader.optional_member("floor"));
    static_cast<void>(reader.optional_member("failures"));
    SK_TRY(reader.finish());
    return facts;
  };
  auto facts = parse();
  if (!facts.has_value()) return as_record_error(std::move(facts).assume_error(), "facts record");
  return facts;
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
