#include "partitions/permanent/retention.hpp"

#include <vector>

namespace slotkeeper::permanent {
namespace {

constexpr std::int64_t kSecondsPerDay = 86'400;
/// 2015-01-01: what is older was written while the clock stood at its start value.
constexpr io::TimeStamp kEarliest{.seconds = 1'420'070'400, .nanoseconds = 0};

bool is_past(io::TimeStamp time, std::uint32_t keep_days, io::TimeStamp now) {
  io::TimeStamp until = time;
  until.seconds += std::int64_t{keep_days} * kSecondsPerDay;
  return until < now;
}

}  // namespace

std::size_t expired_segments(std::span<const SegmentAge> oldest_first, io::TimeStamp now) {
  // What can be right, from the oldest on: times that do not run backwards.
  std::vector<bool> is_credible(oldest_first.size());
  io::TimeStamp latest = kEarliest;
  for (std::size_t i = 0; i < oldest_first.size(); ++i) {
    is_credible[i] = oldest_first[i].modified >= latest;
    if (is_credible[i]) latest = oldest_first[i].modified;
  }
  // The time each one has at most: its own, or that of the next newer one.
  std::vector<io::TimeStamp> at_most(oldest_first.size());
  io::TimeStamp next = now;
  for (std::size_t i = oldest_first.size(); i-- > 0;) {
    if (is_credible[i]) next = oldest_first[i].modified;
    at_most[i] = next;
  }
  std::size_t expired = 0;
  while (expired < oldest_first.size() && oldest_first[expired].keep_days &&
         is_past(at_most[expired], *oldest_first[expired].keep_days, now)) {
    ++expired;
  }
  return expired;
}

}  // namespace slotkeeper::permanent
