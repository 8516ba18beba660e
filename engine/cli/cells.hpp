// Cells of tables, taken from the members of a JSON line, whatever shape they have.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engine/cli/figures.hpp"
#include "engine/json/json.hpp"

namespace slotkeeper::cli {

using Lines = std::vector<std::string>;

/// Null where there is none.
inline const Json& member(const Json& object, std::string_view key) {
  static const Json kNothing;
  const Json* found = object.find(key);
  return found != nullptr ? *found : kNothing;
}

inline std::string text_of(const Json& value, std::string_view otherwise = "-") {
  if (const std::string* text = value.as_string(); text != nullptr && !text->empty()) return *text;
  if (const std::int64_t* number = value.as_integer()) return std::to_string(*number);
  if (const bool* boolean = value.as_bool()) return *boolean ? "yes" : "no";
  return std::string(otherwise);
}

inline std::uint64_t number_of(const Json& value) {
  const std::int64_t* number = value.as_integer();
  return number != nullptr && *number > 0 ? static_cast<std::uint64_t>(*number) : 0;
}

inline std::string bytes_of(const Json& value) {
  return value.as_integer() != nullptr ? format_bytes(number_of(value)) : "-";
}

inline bool is_true(const Json& value) { return value.as_bool() != nullptr && *value.as_bool(); }

inline void append(Lines& lines, const Lines& more) { lines.insert(lines.end(), more.begin(), more.end()); }

}  // namespace slotkeeper::cli
