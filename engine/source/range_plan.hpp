// Which bytes are fetched ahead, and in which pieces.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "engine/source/source.hpp"

namespace slotkeeper {

/// Joins ranges that ascend where no more than `gap_max_bytes` lie between two of them: fetching the gap is cheaper
/// than another request. Empty ranges vanish.
[[nodiscard]] std::vector<ByteRange> coalesce(std::span<const ByteRange> ranges, std::uint64_t gap_max_bytes);

/// Ranges that ascend and do not touch, handed out front to back in pieces.
class RangePlan {
 public:
  RangePlan() = default;
  explicit RangePlan(std::vector<ByteRange> ranges) : ranges_(std::move(ranges)) {}

  /// The next piece, at most `piece_max_bytes` long and within one range; nothing when all were handed out.
  [[nodiscard]] std::optional<ByteRange> next(std::uint64_t piece_max_bytes);
  /// Whether a piece with this position is still to come.
  [[nodiscard]] bool contains(std::uint64_t position) const;
  /// Nothing before `position` is wanted any more.
  void skip_to(std::uint64_t position);

 private:
  std::vector<ByteRange> ranges_;
  std::size_t current_ = 0;
};

}  // namespace slotkeeper
