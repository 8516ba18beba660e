// Figures and lines as people read them.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace slotkeeper::cli {

/// "512 B", "12.3 KiB", "245.0 MiB"
[[nodiscard]] std::string format_bytes(std::uint64_t bytes);
/// "0:03", "12:40", "1:02:03"
[[nodiscard]] std::string format_time_left(std::chrono::seconds duration);
/// "6.4 s"
[[nodiscard]] std::string format_seconds(std::chrono::nanoseconds duration);
/// 0 to 100, rounded down; 100 only when everything is done.
[[nodiscard]] unsigned percent_of(std::uint64_t done, std::uint64_t total);

/// Breaks text at blanks: `first` before the first line, as many blanks as it is wide before the others.
[[nodiscard]] std::string wrap(std::string_view first, std::string_view text, std::size_t width = 80);

/// Columns as wide as their widest cell, two blanks between them, numbers right-aligned where `right` says so.
struct TextTable {
  std::vector<bool> right;
  std::vector<std::vector<std::string>> rows;  ///< the first one is the heading
  [[nodiscard]] std::vector<std::string> lines() const;
};

/// How many columns valid UTF-8 takes, counting one for each code point.
[[nodiscard]] std::size_t columns_of(std::string_view text);

}  // namespace slotkeeper::cli
