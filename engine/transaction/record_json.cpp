#include "engine/transaction/record_json.hpp"

namespace slotkeeper::record_json {

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

Json json_of(const std::optional<VersionFloor>& floor) {
  if (!floor) return {};
  return JsonObject{{"manifest", escape_bytes(floor->manifest)}, {"signature", escape_bytes(floor->signature)}};
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

Result<SlotId> read_slot(JsonReader& reader, std::string_view key) {
  SK_TRY_ASSIGN(const auto name, reader.string(key));
  const auto slot = slot_from_name(name);
  if (!slot) return make_error(Errc::corrupt, std::string(key) + " is not a slot");
  return *slot;
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

Result<std::optional<VersionFloor>> read_floor(const Json* value) {
  if (value == nullptr || value->is_null()) return std::optional<VersionFloor>{};
  JsonReader reader(*value, "floor");
  VersionFloor floor;
  SK_TRY_ASSIGN(floor.manifest, read_text(reader, "manifest"));
  SK_TRY_ASSIGN(floor.signature, read_text(reader, "signature"));
  SK_TRY(reader.finish());
  return std::optional(std::move(floor));
}

Result<bool> read_later_boolean(JsonReader& reader, std::string_view key) {
  const Json* value = reader.optional_member(key);
  if (value == nullptr) return false;
  if (value->as_bool() == nullptr) return make_error(Errc::corrupt, std::string(key) + " is neither true nor false");
  return *value->as_bool();
}

Error as_record_error(Error error, std::string_view what) {
  if (error.code == Errc::corrupt) error.code = Errc::foreign_record;
  return std::move(error).with_context(what);
}

}  // namespace slotkeeper::record_json
