#include "engine/source/range_plan.hpp"

#include <algorithm>

namespace slotkeeper {

std::vector<ByteRange> coalesce(std::span<const ByteRange> ranges, std::uint64_t gap_max_bytes) {
  std::vector<ByteRange> joined;
  std::uint64_t before = 0;
  for (const ByteRange& range : ranges) {
    SK_INVARIANT(range.begin <= range.end && range.begin >= before);
    before = range.begin;
    if (range.length() == 0) continue;
    if (!joined.empty() && (range.begin <= joined.back().end || range.begin - joined.back().end <= gap_max_bytes)) {
      joined.back().end = std::max(joined.back().end, range.end);
    } else {
      joined.push_back(range);
    }
  }
  return joined;
}

std::optional<ByteRange> RangePlan::next(std::uint64_t piece_max_bytes) {
  if (current_ == ranges_.size()) return std::nullopt;
  ByteRange& range = ranges_[current_];
  const ByteRange piece{range.begin, range.begin + std::min(range.length(), piece_max_bytes)};
  range.begin = piece.end;
  if (range.length() == 0) ++current_;
  return piece;
}

bool RangePlan::contains(std::uint64_t position) const {
  const auto after = std::ranges::upper_bound(ranges_.begin() + static_cast<std::ptrdiff_t>(current_), ranges_.end(),
                                              position, {}, &ByteRange::end);
  return after != ranges_.end() && after->contains(position);
}

void RangePlan::skip_to(std::uint64_t position) {
  while (current_ < ranges_.size() && ranges_[current_].end <= position) ++current_;
  if (current_ < ranges_.size()) ranges_[current_].begin = std::max(ranges_[current_].begin, position);
}

}  // namespace slotkeeper
