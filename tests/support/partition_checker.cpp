#include "tests/support/partition_checker.hpp"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>
#include <sstream>
#include <stdexcept>

#include "tests/support/device_checker.hpp"
#include "tests/support/file_contents.hpp"
#include "tests/support/log_lines.hpp"

namespace slotkeeper::test {
namespace {

std::string checksum_of(const std::string& text) {
  std::uint32_t sum = 2'166'136'261u;  // FNV-1a
  for (const char byte : text) sum = (sum ^ static_cast<unsigned char>(byte)) * 16'777'619u;
  char hex[9];
  std::snprintf(hex, sizeof hex, "%08x", sum);
  return hex;
}

std::string entry(const std::string& stream, std::uint64_t number) {
  const std::string text = stream + " " + std::to_string(number) + " something happened";
  return text + " " + checksum_of(text);
}

std::string contents_of_segment(const std::filesystem::path& path) {
  if (path.extension() == ".zst") return output_of("zstd -dcq '" + path.string() + "'");
  return contents_of(path.string());
}

struct Segment {
  std::string name;
  std::uint64_t first = 0;
  std::uint64_t end = 0;
};

/// The entries of one segment, which must follow each other; nothing for a file without entries of the stream.
std::vector<std::string> read_segment(const std::string& contents, const std::string& stream, Segment& segment) {
  std::istringstream lines(contents);
  bool any = false;
  if (!contents.empty() && contents.back() != '\n') return {segment.name + " ends within an entry"};
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string name;
    std::uint64_t number = 0;
    if (!(words >> name >> number) || line != entry(name, number))
      return {segment.name + " has a damaged entry: " + line};
    if (name != stream) return {};
    if (any && number != segment.end) {
      return {segment.name + ": entry " + std::to_string(number) + " follows " + std::to_string(segment.end - 1)};
    }
    if (!any) segment.first = number;
    segment.end = number + 1;
    any = true;
  }
  return {};
}

std::string plain_name(std::string name) { return name.ends_with(".zst") ? name.substr(0, name.size() - 4) : name; }

}  // namespace

std::string log_entries(const std::string& stream, std::uint64_t first, std::uint64_t count) {
  std::string text;
  for (std::uint64_t number = first; number < first + count; ++number) text += entry(stream, number) + "\n";
  return text;
}

std::vector<std::string> missing_log_entries(const LogExpectation& expected) {
  std::vector<std::string> problems;
  std::vector<Segment> segments;
  for (const auto& file : std::filesystem::directory_iterator(expected.folder)) {
    if (!file.is_regular_file()) continue;
    Segment segment{.name = file.path().filename().string()};
    try {
      const auto wrong = read_segment(contents_of_segment(file.path()), expected.stream, segment);
      problems.insert(problems.end(), wrong.begin(), wrong.end());
    } catch (const std::exception& problem) {
      problems.push_back(segment.name + ": " + problem.what());
    }
    if (segment.end > segment.first) segments.push_back(segment);
  }
  std::ranges::sort(segments, [](const Segment& a, const Segment& b) {
    return std::tie(a.first, a.name) < std::tie(b.first, b.name);
  });
  std::uint64_t next = expected.first;
  const Segment* before = nullptr;
  for (const Segment& segment : segments) {
    const bool is_copy = before != nullptr && plain_name(before->name) == plain_name(segment.name) &&
                         before->first == segment.first && before->end == segment.end;
    if (is_copy && expected.allows_copies) continue;
    if (segment.first != next) {
      problems.push_back(segment.name + " begins with entry " + std::to_string(segment.first) + ", expected was " +
                         std::to_string(next));
    }
    next = segment.end;
    before = &segment;
  }
  if (next != expected.first + expected.count) {
    problems.push_back(expected.stream + " ends with entry " + std::to_string(next) + " instead of " +
                       std::to_string(expected.first + expected.count));
  }
  return problems;
}

std::vector<std::string> neither_old_nor_new(const TreeListing& old_side, const TreeListing& new_side,
                                             const TreeListing& now) {
  std::vector<std::string> problems;
  for (Violation& one : check_complete({&old_side, &new_side}, now)) problems.push_back(std::move(one.what));
  return problems;
}

}  // namespace slotkeeper::test
