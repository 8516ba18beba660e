// Which class each file of the permanent partition belongs to, and so what may be done to it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace slotkeeper::permanent {

enum class ClassKind : std::uint8_t {
  config,        ///< never altered; in the snapshot; restored
  state,         ///< in the snapshot and restored, but may change before the switch
  log,           ///< append-only, with a retention
  security_log,  ///< at most compressed, never dropped
  disposable,    ///< reclaimed first
};
[[nodiscard]] std::string_view name_of(ClassKind kind);  ///< as in the configuration: "security-log"
[[nodiscard]] std::optional<ClassKind> kind_from_name(std::string_view name);

struct ClassRule {
  std::string name;
  ClassKind kind = ClassKind::config;
  std::vector<std::string> match;
  std::optional<std::uint32_t> keep_days;
  bool operator==(const ClassRule&) const = default;
};

/// The first rule that matches wins; what none matches is `config`.
struct ClassTable {
  std::vector<ClassRule> rules;
  [[nodiscard]] const ClassRule& classify(std::string_view path) const;
  /// Index of that rule in `rules`; rules.size() when none matches.
  [[nodiscard]] std::size_t index_of(std::string_view path) const;
  [[nodiscard]] const ClassRule& rule_at(std::size_t index) const;  ///< rules.size() or more: the default rule
  bool operator==(const ClassTable&) const = default;
};

/// fnmatch(3) per component on raw bytes; "**" stands for zero or more components; "X/**" matches X too.
/// A leading dot is matched like any other byte; a backslash takes the byte behind it literally. The root, ".", has no
/// components, so only "**" matches it. The locale makes no difference.
[[nodiscard]] bool glob_matches(std::string_view pattern, std::string_view path);

/// Why a pattern cannot be used (empty, absolute, with "." or "..", an empty component, an open bracket, a
/// backslash with nothing behind it); nothing when it can.
[[nodiscard]] std::optional<std::string> glob_problem(std::string_view pattern);

}  // namespace slotkeeper::permanent
