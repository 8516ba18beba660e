// Paths on the permanent partition: relative, raw bytes; "." is the root itself.
#pragma once

#include <string>
#include <string_view>

namespace slotkeeper::permanent {

/// "." first, then by bytes; so every directory comes before what is in it.
[[nodiscard]] inline bool path_before(std::string_view a, std::string_view b) {
  if (b == ".") return false;
  return a == "." || a < b;
}

/// Path of the directory that holds this entry; "." for those at the top, "" for the root itself.
[[nodiscard]] inline std::string parent_of(std::string_view path) {
  const std::size_t slash = path.rfind('/');
  if (slash != std::string_view::npos) return std::string(path.substr(0, slash));
  return path == "." ? std::string() : std::string(".");
}

/// The last component.
[[nodiscard]] inline std::string last_name_of(std::string_view path) {
  return std::string(path.substr(path.rfind('/') + 1));
}

/// True when `path` is `ancestor` or below it; everything is below ".".
[[nodiscard]] inline bool is_at_or_below(std::string_view path, std::string_view ancestor) {
  if (ancestor == "." || path == ancestor) return true;
  return path.size() > ancestor.size() && path.starts_with(ancestor) && path[ancestor.size()] == '/';
}

}  // namespace slotkeeper::permanent
