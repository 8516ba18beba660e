#include "engine/source/http_answer.hpp"

#include <algorithm>
#include <array>
#include <charconv>

namespace slotkeeper {
namespace {

/// All of `text` as a number that fits a signed 64-bit integer, as offsets do.
std::optional<std::uint64_t> parse_number(std::string_view text) {
  std::int64_t number = 0;
  if (text.empty() || text.front() < '0' || text.front() > '9') return std::nullopt;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (failure != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return static_cast<std::uint64_t>(number);
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const std::size_t first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

std::string lower_case(std::string_view text) {
  std::string lower(text);
  for (char& letter : lower) {
    if (letter >= 'A' && letter <= 'Z') letter = static_cast<char>(letter - 'A' + 'a');
  }
  return lower;
}

struct StatusWords {
  int status;
  std::string_view words;
};
constexpr std::array kStatusWords = {
    StatusWords{400,
                "bad request; a server that wants a client certificate says this, too: see source.client-certificate"},
    StatusWords{401, "unauthorized; check user and password in the URL"},
    StatusWords{403, "forbidden; check the URL and what this device may read on the server"},
    StatusWords{404, "not found; check the URL"},
    StatusWords{407, "proxy authentication required; check source.proxy"},
    StatusWords{410, "gone; the bundle was removed from the server"},
    StatusWords{429, "too many requests; try again later"},
    StatusWords{500, "internal server error; try again later"},
    StatusWords{502, "bad gateway; try again later"},
    StatusWords{503, "service unavailable; try again later"},
    StatusWords{504, "gateway timeout; try again later"},
};

}  // namespace

std::optional<ContentRange> parse_content_range(std::string_view value) {
  value = trimmed(value);
  constexpr std::string_view kUnit = "bytes";
  if (value.size() <= kUnit.size() || lower_case(value.substr(0, kUnit.size())) != kUnit) return std::nullopt;
  if (value[kUnit.size()] != ' ') return std::nullopt;
  value = trimmed(value.substr(kUnit.size()));
  const std::size_t slash = value.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  const std::string_view range = value.substr(0, slash);
  const std::string_view total = value.substr(slash + 1);
  ContentRange parsed;
  if (total != "*") {
    parsed.total = parse_number(total);
    if (!parsed.total) return std::nullopt;
  }
  if (range == "*") return parsed.total ? std::optional(parsed) : std::nullopt;
  const std::size_t dash = range.find('-');
  if (dash == std::string_view::npos) return std::nullopt;
  const auto first = parse_number(range.substr(0, dash));
  const auto last = parse_number(range.substr(dash + 1));
  if (!first || !last || *first > *last || (parsed.total && *last >= *parsed.total)) return std::nullopt;
  parsed.range = ByteRange{*first, *last + 1};
  return parsed;
}

const std::string& ContentIdentity::condition() const {
  return !etag.empty() && !etag.starts_with("W/") ? etag : last_modified;
}

std::optional<std::string> ContentIdentity::difference(const ContentIdentity& later) const {
  if (total && later.total && *total != *later.total) {
    return "its size was " + std::to_string(*total) + " bytes and is " + std::to_string(*later.total) + " now";
  }
  // A header that is only there sometimes, or not at all behind some proxy, proves nothing.
  if (!etag.empty() && !later.etag.empty() && etag != later.etag) {
    return "its entity tag was " + etag + " and is " + later.etag + " now";
  }
  if (!last_modified.empty() && !later.last_modified.empty() && last_modified != later.last_modified) {
    return "it was last modified " + last_modified + " and now " + later.last_modified;
  }
  return std::nullopt;
}

void HttpAnswer::take_line(std::string_view line) {
  if (line.starts_with("HTTP/")) {
    std::string same_host = std::move(host);
    *this = HttpAnswer{};
    host = std::move(same_host);
    const std::size_t space = line.find(' ');
    if (space == std::string_view::npos) return;
    status = static_cast<int>(parse_number(trimmed(line.substr(space)).substr(0, 3)).value_or(0));
    return;
  }
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos) return;
  const std::string name = lower_case(trimmed(line.substr(0, colon)));
  const std::string_view value = trimmed(line.substr(colon + 1));
  if (value.size() > kHeaderValueMaxBytes) return;
  if (name == "content-length") content_length = parse_number(value);
  if (name == "content-range") content_range = parse_content_range(value);
  if (name == "etag") etag = value;
  if (name == "last-modified") last_modified = value;
  if (name == "content-encoding") content_encoding = lower_case(value);
  if (name == "retry-after") {
    constexpr std::uint64_t kSecondsMax = 24ULL * 3600;
    if (const auto seconds = parse_number(value)) {
      retry_after = std::chrono::seconds(static_cast<std::int64_t>(std::min(*seconds, kSecondsMax)));
    }
  }
}

ContentIdentity HttpAnswer::identity() const {
  ContentIdentity identity{.total = content_length, .etag = etag, .last_modified = last_modified};
  // The length of a part says nothing about the whole.
  if (status == 206) identity.total = content_range ? content_range->total : std::nullopt;
  return identity;
}

bool is_passing(int status) { return status >= 500 || status == 408 || status == 425 || status == 429; }

std::string status_text(int status) {
  std::string text = "answered " + std::to_string(status);
  const auto* const known = std::ranges::find(kStatusWords, status, &StatusWords::status);
  if (known != kStatusWords.end()) text += " (" + std::string(known->words) + ")";
  return text;
}

}  // namespace slotkeeper
