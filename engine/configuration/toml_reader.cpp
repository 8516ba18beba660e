#include "engine/configuration/toml_reader.hpp"

#include <algorithm>

#include "engine/configuration/configuration.hpp"
#include "engine/configuration/spelling.hpp"

namespace slotkeeper {
namespace {

std::string suggestion(std::string_view key, std::initializer_list<std::string_view> known) {
  const auto nearest = nearest_word(key, {known.begin(), known.size()});
  return nearest ? " (did you mean " + std::string(*nearest) + "?)" : "";
}

std::string_view spoken(TomlValue::Kind kind) {
  switch (kind) {
    case TomlValue::Kind::string:
      return "a string";
    case TomlValue::Kind::integer:
      return "an integer";
    case TomlValue::Kind::boolean:
      return "true or false";
    case TomlValue::Kind::array:
      return "a list";
    case TomlValue::Kind::table:
      return "a table";
    case TomlValue::Kind::other:
      break;
  }
  return "a fraction, date or time";
}

std::string type_complaint(TomlValue::Kind wanted, TomlValue::Kind found) {
  return "must be " + std::string(spoken(wanted)) + ", not " + std::string(spoken(found));
}

std::string spoken_duration(std::chrono::milliseconds duration) {
  if (duration.count() % 1000 != 0) return std::to_string(duration.count()) + "ms";
  return std::to_string(duration.count() / 1000) + "s";
}

}  // namespace

TomlTable::TomlTable(const TomlValue& value, std::string file_name, std::string name)
    : value_(&value), file_name_(std::move(file_name)), name_(std::move(name)) {}

const TomlMember* TomlTable::find(std::string_view key) const {
  const auto found = std::ranges::find(value_->members, key, &TomlMember::key);
  return found == value_->members.end() ? nullptr : &*found;
}

std::string TomlTable::full_name(std::string_view key) const {
  return name_ + (name_.empty() ? "" : ".") + std::string(key);
}

Error TomlTable::wrong(std::string_view key, const std::string& why, Errc code) const {
  const TomlMember* member = find(key);
  const std::uint32_t line = member != nullptr ? member->line : value_->line;
  return make_error(code, file_name_ + ":" + std::to_string(line) + ": " + full_name(key) + ": " + why);
}

Error TomlTable::missing(std::string_view key) const {
  if (name_.empty()) return make_error(Errc::config, file_name_ + ": " + full_name(key) + ": is missing");
  return wrong(key, "is missing");
}

Result<void> TomlTable::check_keys(std::initializer_list<std::string_view> known) const {
  for (const TomlMember& member : value_->members)
    if (std::ranges::find(known, member.key) == known.end())
      return wrong(member.key, "unknown key" + suggestion(member.key, known));
  return success();
}

std::vector<std::string> TomlTable::keys() const {
  std::vector<std::string> names;
  for (const TomlMember& member : value_->members) names.push_back(member.key);
  return names;
}

Result<std::optional<std::string>> TomlTable::string(std::string_view key) const {
  const TomlMember* member = find(key);
  if (member == nullptr) return std::optional<std::string>();
  if (member->value.kind != TomlValue::Kind::string)
    return wrong(key, type_complaint(TomlValue::Kind::string, member->value.kind));
  if (member->value.string.empty()) return wrong(key, "must not be empty");
  if (member->value.string.find('\0') != std::string::npos) return wrong(key, "must not hold a zero byte");
  return std::optional(member->value.string);
}

Result<std::optional<std::int64_t>> TomlTable::integer(std::string_view key, std::int64_t min, std::int64_t max) const {
  const TomlMember* member = find(key);
  if (member == nullptr) return std::optional<std::int64_t>();
  if (member->value.kind != TomlValue::Kind::integer)
    return wrong(key, type_complaint(TomlValue::Kind::integer, member->value.kind));
  if (member->value.integer < min || member->value.integer > max)
    return wrong(key, std::to_string(member->value.integer) + " is not between " + std::to_string(min) + " and " +
                          std::to_string(max));
  return std::optional(member->value.integer);
}

Result<std::optional<bool>> TomlTable::boolean(std::string_view key) const {
  const TomlMember* member = find(key);
  if (member == nullptr) return std::optional<bool>();
  if (member->value.kind != TomlValue::Kind::boolean)
    return wrong(key, type_complaint(TomlValue::Kind::boolean, member->value.kind));
  return std::optional(member->value.boolean);
}

Result<std::optional<std::vector<std::string>>> TomlTable::strings(std::string_view key) const {
  const TomlMember* member = find(key);
  if (member == nullptr) return std::optional<std::vector<std::string>>();
  if (member->value.kind != TomlValue::Kind::array)
    return wrong(key, type_complaint(TomlValue::Kind::array, member->value.kind));
  std::vector<std::string> values;
  for (const TomlValue& element : member->value.array) {
    if (element.kind != TomlValue::Kind::string)
      return wrong(key, "must hold strings only, not " + std::string(spoken(element.kind)));
    if (element.string.find('\0') != std::string::npos) return wrong(key, "must not hold a zero byte");
    values.push_back(element.string);
  }
  return std::optional(std::move(values));
}

Result<std::optional<std::vector<std::int64_t>>> TomlTable::integers(std::string_view key, std::int64_t min,
                                                                     std::int64_t max) const {
  const TomlMember* member = find(key);
  if (member == nullptr) return std::optional<std::vector<std::int64_t>>();
  if (member->value.kind != TomlValue::Kind::array)
    return wrong(key, type_complaint(TomlValue::Kind::array, member->value.kind));
  std::vector<std::int64_t> values;
  for (const TomlValue& element : member->value.array) {
    if (element.kind != TomlValue::Kind::integer)
      return wrong(key, "must hold integers only, not " + std::string(spoken(element.kind)));
    if (element.integer < min || element.integer > max)
      return wrong(key, std::to_string(element.integer) + " is not between " + std::to_string(min) + " and " +
                            std::to_string(max));
    values.push_back(element.integer);
  }
  return std::optional(std::move(values));
}

Result<std::optional<std::string>> TomlTable::path(std::string_view key) const {
  SK_TRY_ASSIGN(std::optional<std::string> text, string(key));
  if (!text) return text;
  if (text->front() != '/') return wrong(key, "\"" + *text + "\" is a relative path, it must begin with '/'");
  while (text->size() > 1 && text->back() == '/') text->pop_back();
  return text;
}

Result<std::optional<std::uint64_t>> TomlTable::size_bytes(std::string_view key, std::uint64_t min,
                                                           std::uint64_t max) const {
  SK_TRY_ASSIGN(const std::optional<std::string> text, string(key));
  if (!text) return std::optional<std::uint64_t>();
  const std::optional<std::uint64_t> size = parse_size(*text);
  if (!size) return wrong(key, "\"" + *text + R"(" is not a size such as "4096", "512 KiB" or "2 MiB")");
  if (*size < min || *size > max)
    return wrong(key,
                 "\"" + *text + "\" is not between " + std::to_string(min) + " and " + std::to_string(max) + " bytes");
  return size;
}

Result<std::optional<std::chrono::milliseconds>> TomlTable::duration(std::string_view key,
                                                                     std::chrono::milliseconds min,
                                                                     std::chrono::milliseconds max) const {
  SK_TRY_ASSIGN(const std::optional<std::string> text, string(key));
  if (!text) return std::optional<std::chrono::milliseconds>();
  const std::optional<std::chrono::milliseconds> duration = parse_duration(*text);
  if (!duration) return wrong(key, "\"" + *text + R"(" is not a duration such as "500ms", "2s", "15min" or "1h")");
  if (*duration < min || *duration > max)
    return wrong(key, "\"" + *text + "\" is not between " + spoken_duration(min) + " and " + spoken_duration(max));
  return duration;
}

Result<std::optional<TomlTable>> TomlTable::table(std::string_view key) const {
  const TomlMember* member = find(key);
  if (member == nullptr) return std::optional<TomlTable>();
  if (member->value.kind != TomlValue::Kind::table)
    return wrong(key, type_complaint(TomlValue::Kind::table, member->value.kind));
  return std::optional(TomlTable(member->value, file_name_, full_name(key)));
}

Result<TomlTable> TomlTable::required_table(std::string_view key) const {
  return required<TomlTable>(*this, key, table(key));
}

Result<std::vector<TomlTable>> TomlTable::tables(std::string_view key) const {
  const TomlMember* member = find(key);
  std::vector<TomlTable> tables;
  if (member == nullptr) return tables;
  if (member->value.kind != TomlValue::Kind::array)
    return wrong(key,
                 "must be written as [[" + full_name(key) + "]], not as " + std::string(spoken(member->value.kind)));
  for (const TomlValue& element : member->value.array) {
    if (element.kind != TomlValue::Kind::table)
      return wrong(key, "must hold tables only, not " + std::string(spoken(element.kind)));
    tables.emplace_back(element, file_name_, full_name(key) + "[" + std::to_string(tables.size() + 1) + "]");
  }
  return tables;
}

}  // namespace slotkeeper
