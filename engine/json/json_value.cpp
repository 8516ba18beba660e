// The parts of Json that need no library, kept apart because the library's header costs seconds to compile.
#include <algorithm>

#include "engine/json/json.hpp"

namespace slotkeeper {

const Json* Json::find(std::string_view key) const {
  const JsonObject* object = as_object();
  if (object == nullptr) return nullptr;
  for (const auto& [name, value] : *object)
    if (name == key) return &value;
  return nullptr;
}

void Json::set(std::string_view key, Json value) {
  if (is_null()) value_ = JsonObject{};
  JsonObject* object = as_object();
  SK_INVARIANT(object != nullptr);
  for (auto& [name, old] : *object) {
    if (name == key) {
      old = std::move(value);
      return;
    }
  }
  object->emplace_back(std::string(key), std::move(value));
}

JsonReader::JsonReader(const Json& value, std::string context) : value_(value), context_(std::move(context)) {}

Error JsonReader::wrong(std::string_view key, std::string_view what) const {
  std::string message = context_;
  if (!key.empty()) message += (message.empty() ? "" : ".") + escape_bytes(key);
  return make_error(Errc::corrupt, message + ": " + std::string(what));
}

const Json* JsonReader::optional_member(std::string_view key) {
  asked_.emplace_back(key);
  const Json* member = value_.find(key);
  return member == nullptr || member->is_null() ? nullptr : member;
}

Result<const Json*> JsonReader::member(std::string_view key) {
  if (value_.as_object() == nullptr) return wrong("", "is not an object");
  asked_.emplace_back(key);
  const Json* member = value_.find(key);
  if (member == nullptr) return wrong(key, "is missing");
  return member;
}

Result<std::string> JsonReader::string(std::string_view key) {
  SK_TRY_ASSIGN(const Json* found, member(key));
  const std::string* value = found->as_string();
  if (value == nullptr) return wrong(key, "is not a string");
  return *value;
}

Result<std::int64_t> JsonReader::integer(std::string_view key, std::int64_t min, std::int64_t max) {
  SK_TRY_ASSIGN(const Json* found, member(key));
  const std::int64_t* value = found->as_integer();
  if (value == nullptr) return wrong(key, "is not an integer");
  if (*value < min || *value > max)
    return wrong(key,
                 std::to_string(*value) + " is not between " + std::to_string(min) + " and " + std::to_string(max));
  return *value;
}

Result<bool> JsonReader::boolean(std::string_view key) {
  SK_TRY_ASSIGN(const Json* found, member(key));
  const bool* value = found->as_bool();
  if (value == nullptr) return wrong(key, "is not true or false");
  return *value;
}

Result<Sha256> JsonReader::digest(std::string_view key) {
  SK_TRY_ASSIGN(const std::string text, string(key));
  const auto digest = Sha256::from_hex(text);
  if (!digest) return wrong(key, "is not a SHA-256");
  return *digest;
}

Result<std::vector<std::string>> JsonReader::strings(std::string_view key) {
  SK_TRY_ASSIGN(const Json* found, member(key));
  const JsonArray* array = found->as_array();
  if (array == nullptr) return wrong(key, "is not a list");
  std::vector<std::string> values;
  values.reserve(array->size());
  for (const Json& element : *array) {
    const std::string* value = element.as_string();
    if (value == nullptr) return wrong(key, "holds something that is not a string");
    values.push_back(*value);
  }
  return values;
}

Result<void> JsonReader::finish() const {
  const JsonObject* object = value_.as_object();
  if (object == nullptr) return wrong("", "is not an object");
  for (const auto& [name, value] : *object)
    if (std::find(asked_.begin(), asked_.end(), name) == asked_.end()) return wrong(name, "unknown key");
  return success();
}

}  // namespace slotkeeper
