#include "partitions/permanent/trial_logs.hpp"

#include <algorithm>
#include <array>

#include "partitions/permanent/paths.hpp"

namespace slotkeeper::permanent {
namespace {

constexpr std::array<std::string_view, 7> kCompressed = {".zst", ".gz", ".xz", ".bz2", ".lz4", ".Z", ".zip"};
constexpr std::size_t kRotationDigitsMax = 14;  // "20261126235959"

bool is_log(const ClassTable& classes, const std::string& path) {
  const ClassKind kind = classes.classify(path).kind;
  return kind == ClassKind::log || kind == ClassKind::security_log;
}

bool is_digit(char byte) { return byte >= '0' && byte <= '9'; }

}  // namespace

std::string without_rotation(const std::string& path) {
  std::string name = path;
  for (const std::string_view ending : kCompressed) {
    if (!name.ends_with(ending)) continue;
    name.resize(name.size() - ending.size());
    break;
  }
  // ".1", "-20261126", "-20261126-1764158400": digits and dashes behind a dot or a dash.
  std::size_t end = name.size();
  while (end > 0 && (is_digit(name[end - 1]) || name[end - 1] == '-')) --end;
  const std::string_view digits = std::string_view(name).substr(end);
  if (digits.empty()) return name;
  const bool after_dot = end > 0 && name[end - 1] == '.';
  const bool after_dash = digits.front() == '-' && digits.size() > 1;
  if (!after_dot && !after_dash) return name;
  if (static_cast<std::size_t>(std::ranges::count_if(digits, is_digit)) > 2 * kRotationDigitsMax) return name;
  name.resize(after_dot ? end - 1 : end);
  return name;
}

bool TrialLogs::calls_log(const std::string& path) const { return trial_ != nullptr && is_log(*trial_, path); }

bool TrialLogs::either_calls_log(const std::string& path) const { return calls_log(path) || is_log(original_, path); }

bool TrialLogs::may_hold_log(const std::string& path) const {
  if (calls_log(path)) return true;
  for (std::string above = parent_of(path); above != "." && !above.empty(); above = parent_of(above)) {
    if (either_calls_log(above)) return true;
  }
  const std::string name = without_rotation(path);
  return name != path && !last_name_of(name).empty() && either_calls_log(name);
}

}  // namespace slotkeeper::permanent
