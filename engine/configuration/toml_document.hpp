// A TOML text as plain values with the lines they stand on. toml_document.cpp is the only file that includes toml++.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "partitions/io/result.hpp"

namespace slotkeeper {

inline constexpr std::size_t kTomlMaxBytes = std::size_t{64} * 1024;

struct TomlMember;

struct TomlValue {
  enum class Kind : std::uint8_t { string, integer, boolean, array, table, other };  ///< other: a float, date or time

  Kind kind = Kind::table;
  std::uint32_t line = 0;  ///< 1-based; of a table: of its header or first key
  std::string string;
  std::int64_t integer = 0;
  bool boolean = false;
  std::vector<TomlValue> array;
  std::vector<TomlMember> members;  ///< of a table, in the order of the text
};

struct TomlMember {
  std::string key;
  std::uint32_t line = 0;
  TomlValue value;
};

/// The text as a table. At most kTomlMaxBytes, nested at most 8 deep. Errors: config with "FILE:LINE: why".
[[nodiscard]] Result<TomlValue> parse_toml(std::string_view text, const std::string& file_name);

}  // namespace slotkeeper
