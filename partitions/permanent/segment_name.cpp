#include "partitions/permanent/segment_name.hpp"

#include <algorithm>
#include <array>

namespace slotkeeper::permanent {
namespace {

constexpr std::string_view kLogExtension = ".log";
constexpr std::string_view kJournalExtension = ".journal";
constexpr std::size_t kNumberDigitsMax = 5;
constexpr std::uint32_t kNumberEnd = 100'000;  ///< first number with more digits

bool is_digit(char byte) { return byte >= '0' && byte <= '9'; }
bool is_hex(char byte) { return is_digit(byte) || (byte >= 'a' && byte <= 'f'); }

std::optional<std::uint32_t> number_of(std::string_view digits) {
  if (digits.empty() || digits.size() > kNumberDigitsMax || !std::ranges::all_of(digits, is_digit)) return std::nullopt;
  std::uint32_t number = 0;
  for (const char digit : digits) number = number * 10 + static_cast<std::uint32_t>(digit - '0');
  return number;
}

std::string padded(std::uint32_t number) {
  std::string digits = std::to_string(number);
  digits.insert(0, kNumberDigitsMax + 1 - digits.size(), '0');
  return digits;
}

SegmentName segment(SegmentMark mark, std::string_view active, std::string order) {
  SegmentName name{.mark = mark, .series = {}, .active = std::string(active), .order = std::move(order)};
  name.series = name.active + '\0' + static_cast<char>('a' + static_cast<int>(mark));
  return name;
}

/// Length of a date at the start of the text: YYYYMMDD or YYYY-MM-DD, of a day that there can be; 0 when there is none.
std::size_t date_length(std::string_view text) {
  const auto is_day = [](std::string_view month, std::string_view day) {
    const auto m = number_of(month);
    const auto d = number_of(day);
    return m && d && *m >= 1 && *m <= 12 && *d >= 1 && *d <= 31;
  };
  const auto year = number_of(text.substr(0, std::min<std::size_t>(4, text.size())));
  if (text.size() < 8 || !year || *year < 1970) return 0;
  if (is_day(text.substr(4, 2), text.substr(6, 2))) return 8;
  const bool dashed = text.size() >= 10 && text[4] == '-' && text[7] == '-';
  return dashed && is_day(text.substr(5, 2), text.substr(8, 2)) ? 10 : 0;
}

bool is_time_of_day(std::string_view text) {
  return std::ranges::all_of(
      text, [](char byte) { return is_digit(byte) || std::string_view("-_:T").find(byte) != std::string_view::npos; });
}

/// "STEM@" 32 hex digits "-" 16 hex digits "-" 16 hex digits ".journal"
std::optional<SegmentName> archived_journal(std::string_view name) {
  constexpr std::size_t kIdDigits = 32;
  constexpr std::size_t kPartDigits = 16;
  constexpr std::size_t kMarkLength = 1 + kIdDigits + 1 + kPartDigits + 1 + kPartDigits;
  if (!name.ends_with(kJournalExtension)) return std::nullopt;
  const std::string_view rest = name.substr(0, name.size() - kJournalExtension.size());
  if (rest.size() <= kMarkLength) return std::nullopt;
  const std::string_view mark = rest.substr(rest.size() - kMarkLength);
  const std::string_view id = mark.substr(1, kIdDigits);
  const std::string_view sequence = mark.substr(2 + kIdDigits, kPartDigits);
  const std::string_view time = mark.substr(3 + kIdDigits + kPartDigits);
  const bool dashes = mark[0] == '@' && mark[1 + kIdDigits] == '-' && mark[2 + kIdDigits + kPartDigits] == '-';
  if (!dashes || !std::ranges::all_of(id, is_hex) || !std::ranges::all_of(sequence, is_hex) ||
      !std::ranges::all_of(time, is_hex)) {
    return std::nullopt;
  }
  const std::string_view stem = rest.substr(0, rest.size() - kMarkLength);
  SegmentName found =
      segment(SegmentMark::archived, std::string(stem) + std::string(kJournalExtension), std::string(sequence));
  found.series += id;  // a sequence of its own counts in each
  return found;
}

/// STEM, then "-" or ".", a date, perhaps a time of day, perhaps ".log".
std::optional<SegmentName> dated(std::string_view name) {
  const bool has_extension = name.ends_with(kLogExtension);
  const std::string_view rest = has_extension ? name.substr(0, name.size() - kLogExtension.size()) : name;
  for (std::size_t at = 1; at < rest.size(); ++at) {
    if (rest[at] != '-' && rest[at] != '.') continue;
    const std::string_view mark = rest.substr(at + 1);
    const std::size_t length = date_length(mark);
    if (length == 0 || !is_time_of_day(mark.substr(length))) continue;
    const std::string active = std::string(rest.substr(0, at)) + std::string(has_extension ? kLogExtension : "");
    SegmentName found = segment(SegmentMark::date, active, std::string(mark));
    found.series += length == 8 ? '8' : '-';  // two spellings do not compare
    return found;
  }
  return std::nullopt;
}

/// STEM "." N, STEM "." N ".log", STEM "-" N ".log"
std::optional<SegmentName> numbered(std::string_view name) {
  const bool has_extension = name.ends_with(kLogExtension);
  const std::string_view rest = has_extension ? name.substr(0, name.size() - kLogExtension.size()) : name;
  const std::size_t at = rest.find_last_of(has_extension ? "-." : ".");
  if (at == std::string_view::npos || at == 0) return std::nullopt;
  const auto number = number_of(rest.substr(at + 1));
  if (!number) return std::nullopt;
  if (!has_extension) return segment(SegmentMark::number, rest.substr(0, at), padded(kNumberEnd - *number));
  SegmentName found =
      segment(SegmentMark::infix, std::string(rest.substr(0, at)) + std::string(kLogExtension), padded(*number));
  found.series += rest[at];
  return found;
}

}  // namespace

std::size_t compressor_suffix(std::string_view name) {
  constexpr std::array<std::string_view, 5> kSuffixes = {kCompressedSuffix, ".gz", ".xz", ".bz2", ".lz4"};
  for (const std::string_view suffix : kSuffixes) {
    if (name.size() > suffix.size() && name.ends_with(suffix)) return suffix.size();
  }
  return 0;
}

std::optional<SegmentName> understand_segment(std::string_view name) {
  const std::size_t suffix = compressor_suffix(name);
  const std::string_view plain = name.substr(0, name.size() - suffix);
  std::optional<SegmentName> found = archived_journal(plain);
  if (!found) found = dated(plain);
  if (!found) found = numbered(plain);
  for (const std::string_view word : {".old", ".prev"}) {
    if (!found && plain.size() > word.size() && plain.ends_with(word)) {
      found = segment(SegmentMark::word, plain.substr(0, plain.size() - word.size()), "");
      found->series += word;
    }
  }
  if (found) found->is_compressed = suffix != 0;
  return found;
}

}  // namespace slotkeeper::permanent
