#include "engine/cli/figures.hpp"

#include <algorithm>
#include <array>

namespace slotkeeper::cli {
namespace {

std::string tenths(std::uint64_t value) { return std::to_string(value / 10) + "." + std::to_string(value % 10); }

std::string two_digits(std::int64_t value) { return (value < 10 ? "0" : "") + std::to_string(value); }

}  // namespace

std::string format_bytes(std::uint64_t bytes) {
  constexpr std::array<std::string_view, 4> kUnits = {"KiB", "MiB", "GiB", "TiB"};
  if (bytes < 1024) return std::to_string(bytes) + " B";
  std::uint64_t factor = 1024;
  std::size_t unit = 0;
  while (unit + 1 < kUnits.size() && bytes / factor >= 1024) {
    factor *= 1024;
    ++unit;
  }
  const std::uint64_t whole = bytes / factor;
  const std::uint64_t rest = bytes % factor;
  return tenths(whole * 10 + rest / (factor / 1024) * 10 / 1024) + " " + std::string(kUnits[unit]);
}

std::string format_time_left(std::chrono::seconds duration) {
  const std::int64_t seconds = duration.count();
  const std::string tail = two_digits(seconds % 60);
  if (seconds < 3600) return std::to_string(seconds / 60) + ":" + tail;
  return std::to_string(seconds / 3600) + ":" + two_digits(seconds / 60 % 60) + ":" + tail;
}

std::string format_seconds(std::chrono::nanoseconds duration) {
  return tenths(static_cast<std::uint64_t>(std::max<std::int64_t>(0, duration.count()) / 100'000'000)) + " s";
}

unsigned percent_of(std::uint64_t done, std::uint64_t total) {
  if (done >= total) return 100;
  // Without overflow: totals beyond 2^57 lose nothing that a percentage shows.
  if (total > (1ull << 57)) return static_cast<unsigned>(done / (total / 100));
  return static_cast<unsigned>(done * 100 / total);
}

std::size_t columns_of(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(
      text.begin(), text.end(), [](char byte) { return (static_cast<unsigned char>(byte) & 0xC0) != 0x80; }));
}

std::string wrap(std::string_view first, std::string_view text, std::size_t width) {
  const std::string indent(columns_of(first), ' ');
  std::string out(first);
  std::size_t column = indent.size();
  bool line_is_empty = true;
  while (!text.empty()) {
    const std::string_view word = text.substr(0, text.find(' '));
    text.remove_prefix(std::min(text.size(), word.size() + 1));
    if (word.empty()) continue;
    const std::size_t needed = columns_of(word);
    if (!line_is_empty && column + 1 + needed > width) {
      out += "\n" + indent;
      column = indent.size();
      line_is_empty = true;
    }
    if (!line_is_empty) {
      out += ' ';
      ++column;
    }
    out += word;
    column += needed;
    line_is_empty = false;
  }
  return out;
}

std::vector<std::string> TextTable::lines() const {
  std::vector<std::size_t> widths(right.size(), 0);
  for (const auto& row : rows)
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], columns_of(row[i]));
  std::vector<std::string> lines;
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      const std::string padding(widths[i] - columns_of(row[i]), ' ');
      if (i != 0) line += "  ";
      line += right[i] ? padding + row[i] : row[i] + padding;
    }
    line.erase(line.find_last_not_of(' ') + 1);
    lines.push_back(std::move(line));
  }
  return lines;
}

}  // namespace slotkeeper::cli
