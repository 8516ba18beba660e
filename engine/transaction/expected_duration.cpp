#include "engine/transaction/expected_duration.hpp"

#include <algorithm>
#include <limits>

namespace slotkeeper {
namespace {

__extension__ using Wide = unsigned __int128;

}  // namespace

std::uint64_t expected_duration_s(const WorkAhead& work) {
  const std::uint64_t reading =
      std::clamp(work.read_bytes_per_s.value_or(kReadRateAssumed), kReadRateMin, kReadRateMax);
  const std::uint64_t writing = std::max(reading / kWriteShare, kWriteRateMin);
  const Wide read =
      Wide(work.image_bytes) + work.fallback_bytes + 3 * Wide(work.protected_bytes) + work.compacted_bytes;
  const Wide written = Wide(work.image_bytes) + 2 * Wide(work.protected_bytes) + work.compacted_bytes;
  // Fetching goes on beside the writing, but not evenly: the sum is what is safe to assume.
  const std::uint64_t fetching = std::max<std::uint64_t>(work.fetch_bytes_per_s.value_or(0), 1);
  const Wide fetched = work.fetch_bytes_per_s ? work.fetched_bytes : 0;
  const Wide seconds = kFixedSeconds + (read + reading - 1) / reading + (written + writing - 1) / writing +
                       (fetched + fetching - 1) / fetching;
  return seconds > std::numeric_limits<std::uint64_t>::max() ? std::numeric_limits<std::uint64_t>::max()
                                                             : static_cast<std::uint64_t>(seconds);
}

}  // namespace slotkeeper
