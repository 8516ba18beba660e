// What the records of the state store have in common as JSON. Private to record.cpp and facts.cpp.
#pragma once

#include "engine/json/json.hpp"
#include "engine/transaction/facts.hpp"

namespace slotkeeper::record_json {

inline constexpr std::size_t kPayloadMax = std::size_t{64} * 1024;
inline constexpr std::int64_t kIntegerMax = INT64_MAX;

[[nodiscard]] Json json_of(const std::optional<std::int64_t>& number);
[[nodiscard]] Json json_of(const SlotBaseline& baseline);
[[nodiscard]] Json json_of(const std::optional<VersionFloor>& floor);

[[nodiscard]] Result<std::string> read_text(JsonReader& reader, std::string_view key);
[[nodiscard]] Result<std::optional<std::int64_t>> read_optional_integer(JsonReader& reader, std::string_view key);
[[nodiscard]] Result<SlotId> read_slot(JsonReader& reader, std::string_view key);
[[nodiscard]] Result<SlotBaseline> read_baseline(const Json& value);
/// Nothing where it is absent or null.
[[nodiscard]] Result<std::optional<VersionFloor>> read_floor(const Json* value);
/// Members that came later are missing in a record that an older engine began.
[[nodiscard]] Result<bool> read_later_boolean(JsonReader& reader, std::string_view key);

/// A payload has a good checksum, so what it cannot be understood as was written by another version.
[[nodiscard]] Error as_record_error(Error error, std::string_view what);

}  // namespace slotkeeper::record_json
