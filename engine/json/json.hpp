// A small JSON value. Parsing and printing are done by nlohmann-json in json.cpp, the only file that includes it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "partitions/digest.hpp"
#include "partitions/io/result.hpp"

namespace slotkeeper {

class Json;
using JsonArray = std::vector<Json>;
using JsonMember = std::pair<std::string, Json>;
using JsonObject = std::vector<JsonMember>;  ///< keeps its order, so that output is stable

class Json {
 public:
  Json() = default;  ///< null
  Json(std::nullptr_t) {}
  Json(bool value) : value_(value) {}
  template <std::integral Integer>
  requires(!std::same_as<Integer, bool>) Json(Integer value) : value_(static_cast<std::int64_t>(value)) {}
  Json(std::string value) : value_(std::move(value)) {}
  Json(std::string_view value) : value_(std::string(value)) {}
  Json(const char* value) : value_(std::string(value)) {}
  Json(JsonArray value) : value_(std::move(value)) {}
  Json(JsonObject value) : value_(std::move(value)) {}

  [[nodiscard]] bool is_null() const { return std::holds_alternative<std::monostate>(value_); }
  [[nodiscard]] const bool* as_bool() const { return std::get_if<bool>(&value_); }
  [[nodiscard]] const std::int64_t* as_integer() const { return std::get_if<std::int64_t>(&value_); }
  [[nodiscard]] const std::string* as_string() const { return std::get_if<std::string>(&value_); }
  [[nodiscard]] const JsonArray* as_array() const { return std::get_if<JsonArray>(&value_); }
  [[nodiscard]] const JsonObject* as_object() const { return std::get_if<JsonObject>(&value_); }
  [[nodiscard]] JsonArray* as_array() { return std::get_if<JsonArray>(&value_); }
  [[nodiscard]] JsonObject* as_object() { return std::get_if<JsonObject>(&value_); }

  /// The member of an object, or nullptr.
  [[nodiscard]] const Json* find(std::string_view key) const;
  /// Sets a member; makes an object of a null.
  void set(std::string_view key, Json value);

  bool operator==(const Json&) const = default;

  /// On one line, members in order. Bytes that are not UTF-8 must have been escaped before (`escape_bytes`).
  [[nodiscard]] std::string print() const;

  /// Limits: depth 16; duplicate keys, numbers that are not 64-bit signed integers and trailing text are refused.
  /// Errors: corrupt, with the byte offset.
  [[nodiscard]] static Result<Json> parse(std::string_view text, std::size_t size_max_bytes);

 private:
  std::variant<std::monostate, bool, std::int64_t, std::string, JsonArray, JsonObject> value_;
};

/// Makes any bytes valid UTF-8, reversibly: a backslash becomes "\\\\", a byte that is not part of valid UTF-8 (or is a
/// control character) becomes "\\xNN".
[[nodiscard]] std::string escape_bytes(std::string_view raw);
[[nodiscard]] Result<std::string> unescape_bytes(std::string_view escaped);

/// Reads the members of an object strictly: every key must be asked for, `finish` refuses the ones that were not.
class JsonReader {
 public:
  JsonReader(const Json& value, std::string context);
  [[nodiscard]] Result<std::string> string(std::string_view key);
  [[nodiscard]] Result<std::int64_t> integer(std::string_view key, std::int64_t min, std::int64_t max);
  [[nodiscard]] Result<bool> boolean(std::string_view key);
  [[nodiscard]] Result<Sha256> digest(std::string_view key);        ///< 64 hexadecimal digits
  [[nodiscard]] Result<const Json*> member(std::string_view key);   ///< must be there
  [[nodiscard]] const Json* optional_member(std::string_view key);  ///< nullptr when absent or null
  [[nodiscard]] Result<std::vector<std::string>> strings(std::string_view key);
  [[nodiscard]] Result<void> finish() const;  ///< errors: corrupt naming the unknown key

 private:
  [[nodiscard]] Error wrong(std::string_view key, std::string_view what) const;
  const Json& value_;
  std::string context_;
  std::vector<std::string> asked_;
};

}  // namespace slotkeeper
