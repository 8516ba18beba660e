#include "engine/configuration/toml_document.hpp"

#include <algorithm>
#include <optional>

#include "engine/json/json.hpp"

// Compiled in, not linked: no exceptions can come out of it then, and devices need no further shared library.
#define TOML_HEADER_ONLY 1
#define TOML_EXCEPTIONS 0
#define TOML_ENABLE_FORMATTERS 0
#define TOML_MAX_NESTED_VALUES 8
#include <toml++/toml.h>

namespace slotkeeper {
namespace {

constexpr std::size_t kDepthMax = 8;
// The library makes one nested table for each dot of a key and takes them apart recursively.
constexpr std::ptrdiff_t kDotsPerLineMax = 256;

Error wrong(const std::string& file_name, std::size_t line, const std::string& why) {
  return make_error(Errc::config, file_name + ":" + std::to_string(line) + ": " + why);
}

// The line with more dots than any real key or list of patterns has.
std::optional<std::size_t> overlong_line(std::string_view text) {
  std::size_t number = 0;
  while (!text.empty()) {
    ++number;
    const std::string_view line = text.substr(0, text.find('\n'));
    if (std::count(line.begin(), line.end(), '.') > kDotsPerLineMax) return number;
    text.remove_prefix(std::min(text.size(), line.size() + 1));
  }
  return std::nullopt;
}

Result<TomlValue> convert(const toml::node& node, std::uint32_t line, std::size_t depth, const std::string& file_name) {
  TomlValue value;
  value.line = line != 0 ? line : node.source().begin.line;
  if (depth > kDepthMax) return wrong(file_name, value.line, "the text is nested too deeply");
  if (const auto* string = node.as_string()) {
    value.kind = TomlValue::Kind::string;
    value.string = string->get();
  } else if (const auto* integer = node.as_integer()) {
    value.kind = TomlValue::Kind::integer;
    value.integer = integer->get();
  } else if (const auto* boolean = node.as_boolean()) {
    value.kind = TomlValue::Kind::boolean;
    value.boolean = boolean->get();
  } else if (const auto* array = node.as_array()) {
    value.kind = TomlValue::Kind::array;
    for (const toml::node& element : *array) {
      SK_TRY_ASSIGN(TomlValue converted, convert(element, 0, depth + 1, file_name));
      value.array.push_back(std::move(converted));
    }
  } else if (const auto* table = node.as_table()) {
    value.kind = TomlValue::Kind::table;
    for (auto&& [key, member] : *table) {
      const std::uint32_t key_line = key.source().begin.line;
      SK_TRY_ASSIGN(TomlValue converted, convert(member, key_line, depth + 1, file_name));
      value.members.push_back(TomlMember{std::string(key.str()), key_line, std::move(converted)});
    }
    // The library sorts by name; people look for the first mistake first.
    std::stable_sort(value.members.begin(), value.members.end(),
                     [](const TomlMember& left, const TomlMember& right) { return left.line < right.line; });
  } else {
    value.kind = TomlValue::Kind::other;
  }
  return value;
}

}  // namespace

Result<TomlValue> parse_toml(std::string_view text, const std::string& file_name) {
  if (text.size() > kTomlMaxBytes)
    return wrong(file_name, 1, "the file is longer than the " + std::to_string(kTomlMaxBytes) + " bytes allowed");
  if (const auto line = overlong_line(text)) return wrong(file_name, *line, "the line has too many dots");
  const toml::parse_result parsed = toml::parse(text, std::string_view(file_name));
  if (!parsed) {
    const toml::parse_error& error = parsed.error();
    return wrong(file_name, std::max<std::uint32_t>(1, error.source().begin.line),
                 "the text is not valid TOML: " + escape_bytes(error.description()));
  }
  return convert(parsed.table(), 1, 0, file_name);
}

}  // namespace slotkeeper
