// How a source behaves on the line: how long it waits before it asks again, and how fast it takes what comes.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

namespace slotkeeper {

using Clock = std::chrono::steady_clock;

inline constexpr std::chrono::milliseconds kFirstRetryDelay{500};
inline constexpr std::chrono::milliseconds kRetryDelayMax{30'000};
inline constexpr std::chrono::milliseconds kRetryAfterMax{120'000};  ///< however long the server asks for

/// How long to wait after the n-th failure in a row, counted from 1: it doubles up to kRetryDelayMax. `dice`, any
/// number, takes up to half of it off, so that devices whose server restarts do not come back all at once. A server's
/// Retry-After counts instead, where it is longer.
[[nodiscard]] std::chrono::milliseconds retry_delay(unsigned int failures, std::uint32_t dice,
                                                    std::optional<std::chrono::seconds> retry_after = std::nullopt);

/// A limit in bytes per second over everything that is taken. Without a limit always ready.
class RateLimit {
 public:
  /// Never less than one piece that comes from the line at once.
  static constexpr std::uint64_t kBurstMinBytes = 16 * 1024;

  RateLimit(std::optional<std::uint64_t> bytes_per_second, Clock::time_point now);

  /// Whether the next bytes may be taken.
  [[nodiscard]] bool is_ready(Clock::time_point now);
  /// They were.
  void take(std::uint64_t bytes);
  /// When it will be ready, from now.
  [[nodiscard]] std::chrono::milliseconds until_ready(Clock::time_point now);

 private:
  void refill(Clock::time_point now);

  double rate_;   ///< bytes per second; 0: no limit
  double burst_;  ///< bytes that are saved up at most
  double saved_;  ///< below 0 where the last bytes were more than that
  Clock::time_point refilled_;
};

}  // namespace slotkeeper
