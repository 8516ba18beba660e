// Paths on the permanent partition: relative, raw bytes; "." is the root itself.
#pragma once

#include <string>

namespace slotkeeper::permanent {

/// "." first, then by bytes; so every directory comes before what is in it.
[[nodiscard]] inline bool path_before(const std::string& a, const std::string& b) {
  if (b == ".") return false;
  return a == "." || a < b;
}

/// Path of the directory that holds this entry; "." for those at the top, "" for the root itself.
[[nodiscard]] inline std::string parent_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash != std::string::npos) return path.substr(0, slash);
  return path == "." ? std::string() : std::string(".");
}

/// The last component.
[[nodiscard]] inline std::string last_name_of(const std::string& path) { return path.substr(path.rfind('/') + 1); }

/// True when `path` is `ancestor` or below it; everything is below ".".
[[nodiscard]] inline bool is_at_or_below(const std::string& path, const std::string& ancestor) {
  if (ancestor == "." || path == ancestor) return true;
  return path.size() > ancestor.size() && path.starts_with(ancestor) && path[ancestor.size()] == '/';
}

}  // namespace slotkeeper::permanent
