// Which segments of a log may go. Clocks of such devices jump, so the order in which segments were made decides and
// their time stamps only say when the oldest of them may follow. Pure functions of figures.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "partitions/io/types.hpp"

namespace slotkeeper::permanent {

/// One segment of a series.
struct SegmentAge {
  io::TimeStamp modified;                  ///< of its last entry
  std::optional<std::uint32_t> keep_days;  ///< nothing: its class never lets an entry go
};

/// What may be believed of the clock: no more than the newest evidence on the partition shows, so that a clock that
/// jumped ahead makes nothing old. `newest_file` is the newest time stamp there that does not lie behind `now`.
[[nodiscard]] inline io::TimeStamp credible_now(io::TimeStamp now, io::TimeStamp newest_file) {
  return newest_file < now ? newest_file : now;
}

/// How many segments from the oldest on are past their retention; the rest stay. A segment whose time cannot be right
/// (older than one made before it, or from before there was such a device) is as old as the next newer one with a
/// time that can; one from the future is in retention, and so is everything made after it.
[[nodiscard]] std::size_t expired_segments(std::span<const SegmentAge> oldest_first, io::TimeStamp now);

}  // namespace slotkeeper::permanent
