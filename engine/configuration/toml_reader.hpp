// Typed reading of one TOML table. Every complaint names file, line and the full key.
#pragma once

#include <chrono>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/configuration/toml_document.hpp"
#include "partitions/io/result.hpp"

namespace slotkeeper {

/// A table within a document that outlives it. Every reader gives nothing for a key that is absent.
/// Errors of every call: config with "FILE:LINE: TABLE.KEY: why".
class TomlTable {
 public:
  /// `name` is the full name, "permanent.class[2]"; empty for the document itself.
  TomlTable(const TomlValue& value, std::string file_name, std::string name);

  /// Refuses the first key that is not `known`, and proposes the nearest one.
  [[nodiscard]] Result<void> check_keys(std::initializer_list<std::string_view> known) const;

  [[nodiscard]] bool has(std::string_view key) const { return find(key) != nullptr; }
  /// Of a table whose keys are names: all of them, in the order of the text.
  [[nodiscard]] std::vector<std::string> keys() const;

  [[nodiscard]] Result<std::optional<std::string>> string(std::string_view key) const;
  [[nodiscard]] Result<std::optional<std::int64_t>> integer(std::string_view key, std::int64_t min,
                                                            std::int64_t max) const;
  [[nodiscard]] Result<std::optional<bool>> boolean(std::string_view key) const;
  [[nodiscard]] Result<std::optional<std::vector<std::string>>> strings(std::string_view key) const;
  [[nodiscard]] Result<std::optional<std::vector<std::int64_t>>> integers(std::string_view key, std::int64_t min,
                                                                          std::int64_t max) const;
  /// An absolute path; a trailing '/' is cut off.
  [[nodiscard]] Result<std::optional<std::string>> path(std::string_view key) const;
  [[nodiscard]] Result<std::optional<std::uint64_t>> size_bytes(std::string_view key, std::uint64_t min,
                                                                std::uint64_t max) const;
  [[nodiscard]] Result<std::optional<std::chrono::milliseconds>> duration(std::string_view key,
                                                                          std::chrono::milliseconds min,
                                                                          std::chrono::milliseconds max) const;
  [[nodiscard]] Result<std::optional<TomlTable>> table(std::string_view key) const;
  /// Like `table`, for one that must be there.
  [[nodiscard]] Result<TomlTable> required_table(std::string_view key) const;
  [[nodiscard]] Result<std::vector<TomlTable>> tables(std::string_view key) const;  ///< `[[key]]`

  /// The error that this key is missing.
  [[nodiscard]] Error missing(std::string_view key) const;
  /// An error about this key, `config` unless said otherwise.
  [[nodiscard]] Error wrong(std::string_view key, const std::string& why, Errc code = Errc::config) const;

 private:
  [[nodiscard]] const TomlMember* find(std::string_view key) const;
  [[nodiscard]] std::string full_name(std::string_view key) const;

  const TomlValue* value_;
  std::string file_name_;
  std::string name_;
};

/// The value, or the error that it is missing.
template <class T>
[[nodiscard]] Result<T> required(const TomlTable& table, std::string_view key, Result<std::optional<T>> found) {
  if (found.has_error()) return std::move(found).assume_error();
  if (!found.assume_value()) return table.missing(key);
  return *std::move(found).assume_value();
}

}  // namespace slotkeeper
