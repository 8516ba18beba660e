// What an HTTP server says about the bytes that it sends. Nothing here is trusted: it tells pieces of one bundle from
// pieces of another, what is in them is proven by the bundle's signature.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "engine/source/source.hpp"

namespace slotkeeper {

/// Of a header whose value is longer nothing is kept.
inline constexpr std::size_t kHeaderValueMaxBytes = 1024;

/// The value of a header Content-Range.
struct ContentRange {
  std::optional<ByteRange> range;      ///< nothing: the range that was asked for is outside ("bytes */123")
  std::optional<std::uint64_t> total;  ///< nothing: the server does not know ("bytes 0-9/*")
  auto operator<=>(const ContentRange&) const = default;
};
/// Nothing for what is no such value, or contradicts itself.
[[nodiscard]] std::optional<ContentRange> parse_content_range(std::string_view value);

/// What tells one content under a URL from another.
struct ContentIdentity {
  std::optional<std::uint64_t> total;
  std::string etag;           ///< as sent, with its quotes; "" where there is none
  std::string last_modified;  ///< as sent

  /// What a request for a part makes its condition ("If-Range"): the entity tag if it is a strong one, else the date;
  /// "" where there is neither.
  [[nodiscard]] const std::string& condition() const;
  /// How a later answer contradicts this one, as a clause; nothing where it does not.
  [[nodiscard]] std::optional<std::string> difference(const ContentIdentity& later) const;
  bool operator==(const ContentIdentity&) const = default;
};

/// Status and headers of one answer.
struct HttpAnswer {
  std::string host;  ///< that gave it, after redirects
  int status = 0;
  std::optional<std::uint64_t> content_length;
  std::optional<ContentRange> content_range;
  std::string etag;
  std::string last_modified;
  std::string content_encoding;
  std::optional<std::chrono::seconds> retry_after;

  /// One line as it was received. A status line begins a new answer: a redirect has several.
  void take_line(std::string_view line);
  /// Of an answer with status 200 or 206.
  [[nodiscard]] ContentIdentity identity() const;
};

/// Whether asking again may help: the server is overloaded or out of order for a moment.
[[nodiscard]] bool is_passing(int status);
/// "answered 404 (not found)" and what to do about it.
[[nodiscard]] std::string status_text(int status);

}  // namespace slotkeeper
