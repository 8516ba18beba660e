#include "partitions/permanent/classes.hpp"

#include <algorithm>
#include <array>
#include <fnmatch.h>
#include <locale.h>
#include <utility>

namespace slotkeeper::permanent {
namespace {

constexpr std::array kKindNames = {
    std::pair{ClassKind::config, std::string_view("config")},
    std::pair{ClassKind::state, std::string_view("state")},
    std::pair{ClassKind::log, std::string_view("log")},
    std::pair{ClassKind::security_log, std::string_view("security-log")},
    std::pair{ClassKind::disposable, std::string_view("disposable")},
};

/// File names are bytes. In a UTF-8 locale fnmatch would refuse names that are not UTF-8, so the calling thread works
/// in the C locale for as long as this lives.
class BytesLocale {
 public:
  BytesLocale() {
    static const locale_t bytes = ::newlocale(LC_CTYPE_MASK | LC_COLLATE_MASK, "C", nullptr);
    if (bytes != nullptr) before_ = ::uselocale(bytes);
  }
  BytesLocale(const BytesLocale&) = delete;
  BytesLocale& operator=(const BytesLocale&) = delete;
  ~BytesLocale() {
    if (before_ != nullptr) ::uselocale(before_);
  }

 private:
  locale_t before_ = nullptr;
};

std::vector<std::string> components_of(std::string_view path) {
  std::vector<std::string> components;
  if (path == ".") return components;
  while (true) {
    const std::size_t slash = path.find('/');
    components.emplace_back(path.substr(0, slash));
    if (slash == std::string_view::npos) return components;
    path.remove_prefix(slash + 1);
  }
}

bool component_matches(const std::string& pattern, const std::string& name) {
  if (pattern.find_first_of("*?[\\") == std::string::npos) return pattern == name;
  return ::fnmatch(pattern.c_str(), name.c_str(), 0) == 0;
}

/// Wildcard matching over components. Going back to the last "**" alone is enough, because what an earlier one could
/// take more, the last one can take too; so the time is bounded by the product of both lengths.
bool components_match(const std::vector<std::string>& pattern, const std::vector<std::string>& path) {
  std::size_t p = 0;
  std::size_t n = 0;
  std::size_t star = pattern.size();  // the last "**" seen; none yet
  std::size_t star_end = 0;           // components that it and everything before it take
  while (n < path.size()) {
    if (p < pattern.size() && pattern[p] == "**") {
      star = p++;
      star_end = n;
    } else if (p < pattern.size() && component_matches(pattern[p], path[n])) {
      ++p;
      ++n;
    } else if (star < pattern.size()) {
      p = star + 1;
      n = ++star_end;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == "**") ++p;
  return p == pattern.size();
}

/// Position behind the bracket expression that opens at `open`, or npos when it is never closed.
std::size_t bracket_end(std::string_view text, std::size_t open) {
  std::size_t at = open + 1;
  if (at < text.size() && (text[at] == '!' || text[at] == '^')) ++at;
  bool first = true;  // a ']' in first place stands for itself
  while (at < text.size()) {
    const char c = text[at];
    if (c == ']' && !first) return at + 1;
    first = false;
    if (c == '\\') {
      at += 2;
    } else if (c == '[' && at + 1 < text.size() &&
               std::string_view(":.=").find(text[at + 1]) != std::string_view::npos) {
      const std::array closing = {text[at + 1], ']'};
      const std::size_t end = text.find(std::string_view(closing.data(), closing.size()), at + 2);
      if (end == std::string_view::npos) return end;
      at = end + 2;
    } else {
      ++at;
    }
  }
  return std::string_view::npos;
}

std::optional<std::string> component_problem(std::string_view component) {
  if (component.empty()) return "it has an empty component";
  if (component == "." || component == "..") return "it has a component \"" + std::string(component) + "\"";
  for (std::size_t at = 0; at < component.size();) {
    if (component[at] == '\\') {
      if (at + 1 == component.size()) return "a component ends with a backslash";
      at += 2;
    } else if (component[at] == '[') {
      at = bracket_end(component, at);
      if (at == std::string_view::npos) return "a bracket is never closed";
    } else {
      ++at;
    }
  }
  return std::nullopt;
}

}  // namespace

std::string_view name_of(ClassKind kind) { return kKindNames[static_cast<std::size_t>(kind)].second; }

std::optional<ClassKind> kind_from_name(std::string_view name) {
  const auto* row = std::ranges::find(kKindNames, name, &std::pair<ClassKind, std::string_view>::second);
  if (row == kKindNames.end()) return std::nullopt;
  return row->first;
}

std::size_t ClassTable::index_of(std::string_view path) const {
  const BytesLocale locale;
  const std::vector<std::string> components = components_of(path);
  const auto matches = [&](const std::string& pattern) { return components_match(components_of(pattern), components); };
  const auto rule = std::ranges::find_if(
      rules, [&](const ClassRule& candidate) { return std::ranges::any_of(candidate.match, matches); });
  return static_cast<std::size_t>(rule - rules.begin());
}

const ClassRule& ClassTable::rule_at(std::size_t index) const {
  static const ClassRule default_rule{.name = "config", .kind = ClassKind::config, .match = {}, .keep_days = {}};
  return index < rules.size() ? rules[index] : default_rule;
}

const ClassRule& ClassTable::classify(std::string_view path) const { return rule_at(index_of(path)); }

bool glob_matches(std::string_view pattern, std::string_view path) {
  const BytesLocale locale;
  return components_match(components_of(pattern), components_of(path));
}

std::optional<std::string> glob_problem(std::string_view pattern) {
  if (pattern.empty()) return "it is empty";
  if (pattern.front() == '/') return "it is absolute; patterns are relative to the permanent partition";
  if (pattern.find('\0') != std::string_view::npos) return "it has a NUL byte";
  while (true) {
    const std::size_t slash = pattern.find('/');
    if (auto problem = component_problem(pattern.substr(0, slash))) return problem;
    if (slash == std::string_view::npos) return std::nullopt;
    pattern.remove_prefix(slash + 1);
  }
}

}  // namespace slotkeeper::permanent
