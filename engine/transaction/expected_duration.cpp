#include "engine/transaction/expected_duration.hpp"

#include <algorithm>
#include <limits>

namespace slotkeeper {
namespace {

__extension__ using Wide = unsigned __int128;

Wide seconds_for(Wide bytes, std::uint64_t bytes_per_s) { return (bytes + bytes_per_s - 1) / bytes_per_s; }

}  // namespace

std::uint64_t expected_duration_s(const WorkAhead& work) {
  const std::uint64_t reading =
      std::clamp(work.read_bytes_per_s.value_or(kReadRateAssumed), kReadRateMin, kReadRateMax);
  const std::uint64_t writing = std::max(reading / kWriteShare, kWriteRateMin);
  const std::uint64_t writing_images =
      std::min(writing, std::max<std::uint64_t>(work.write_bytes_per_s.value_or(writing), 1));
  // Fetching goes on beside the writing, but not evenly: the sum is what is safe to assume.
  const std::uint64_t fetching = std::max<std::uint64_t>(work.fetch_bytes_per_s.value_or(0), 1);
  const Wide fetched = work.fetch_bytes_per_s ? work.fetched_bytes : 0;
  const Wide slots = seconds_for(Wide(work.image_bytes) + work.fallback_bytes, reading) +
                     seconds_for(work.image_bytes, writing_images);
  const Wide permanent = seconds_for(3 * Wide(work.protected_bytes) + work.compacted_bytes, reading) +
                         seconds_for(2 * Wide(work.protected_bytes) + work.compacted_bytes, writing);
  const Wide seconds = kFixedSeconds + slots * work.slot_factor + permanent + seconds_for(fetched, fetching);
  return seconds > std::numeric_limits<std::uint64_t>::max() ? std::numeric_limits<std::uint64_t>::max()
                                                             : static_cast<std::uint64_t>(seconds);
}

}  // namespace slotkeeper
