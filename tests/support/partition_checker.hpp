// Is everything still there that may never be lost? Numbered log entries, found exactly once and in order; files that
// are old or new, but complete. Uses nothing of what it checks.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/support/tree_listing.hpp"

namespace slotkeeper::test {

/// Entries FIRST to FIRST+COUNT-1 of a stream, one a line, each with a checksum.
[[nodiscard]] std::string log_entries(const std::string& stream, std::uint64_t first, std::uint64_t count);

struct LogExpectation {
  std::string folder;  ///< with all segments of the stream, plain or as .zst, and whatever else
  std::string stream;
  std::uint64_t first = 0;  ///< entries that must be there
  std::uint64_t count = 0;
  /// A segment may be there twice, plain and compressed (while one replaces the other).
  bool allows_copies = false;
};
/// What is wrong, in words; empty when every entry is there once, whole, and in order within and between segments.
[[nodiscard]] std::vector<std::string> missing_log_entries(const LogExpectation& expected);

/// Every path of `now` has the line that one of the two sides has for it; only what one side alone knows may be
/// missing. Times of directories do not count. What is wrong, in words.
[[nodiscard]] std::vector<std::string> neither_old_nor_new(const TreeListing& old_side, const TreeListing& new_side,
                                                           const TreeListing& now);

}  // namespace slotkeeper::test
