// How long an update will take, estimated so that it rather takes less. A pure function of amounts.
#pragma once

#include <cstdint>
#include <optional>

namespace slotkeeper {

/// Assumptions, in bytes per second. What an update reads and writes passes SHA-256 or zstd on the way, so they stand
/// for the whole chain. Flash of the class that appliances have writes at a quarter of its reading rate when its cache
/// is used up; where nothing was measured, 16 MiB/s reading and 4 MiB/s writing are what cheap eMMC keeps up.
inline constexpr std::uint64_t kReadRateAssumed = std::uint64_t{16} << 20U;
inline constexpr std::uint64_t kReadRateMin = std::uint64_t{1} << 20U;
inline constexpr std::uint64_t kReadRateMax = std::uint64_t{400} << 20U;
inline constexpr std::uint64_t kWriteShare = 4;
inline constexpr std::uint64_t kWriteRateMin = std::uint64_t{1} << 19U;
/// For all that takes time whatever the amounts: flushes, boot environment, hooks, the last check under a freeze.
inline constexpr std::uint64_t kFixedSeconds = 5;

struct WorkAhead {
  std::uint64_t image_bytes = 0;      ///< written to the target, read back
  std::uint64_t fallback_bytes = 0;   ///< of the booted slot, read once more before the switch
  std::uint64_t protected_bytes = 0;  ///< configuration and state: read for checksums, snapshot and check; written to
                                      ///< the snapshot and as reserve
  std::uint64_t compacted_bytes = 0;  ///< read, and at most as many written
  std::optional<std::uint64_t> read_bytes_per_s = {};   ///< as measured, through SHA-256
  std::uint64_t fetched_bytes = 0;                      ///< over a line of which nothing but a limit is known
  std::optional<std::uint64_t> fetch_bytes_per_s = {};  ///< that limit
  std::optional<std::uint64_t> write_bytes_per_s = {};  ///< what may be written to the slot
  std::uint64_t slot_factor = 1;  ///< so many times as long takes what is read of or written to slots
};

/// From the gates to the switch, rounded up to seconds.
[[nodiscard]] std::uint64_t expected_duration_s(const WorkAhead& work);

}  // namespace slotkeeper
