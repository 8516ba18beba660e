#include "engine/source/line_manners.hpp"

#include <algorithm>
#include <cmath>

namespace slotkeeper {
namespace {

constexpr double kBurstSeconds = 0.1;

}  // namespace

std::chrono::milliseconds retry_delay(unsigned int failures, std::uint32_t dice,
                                      std::optional<std::chrono::seconds> retry_after) {
  auto delay = kFirstRetryDelay;
  for (unsigned int i = 1; i < failures && delay < kRetryDelayMax; ++i) delay *= 2;
  delay = std::min(delay, kRetryDelayMax);
  const auto half = static_cast<std::uint32_t>(delay.count() / 2);
  delay -= std::chrono::milliseconds(dice % (half + 1));
  if (!retry_after) return delay;
  return std::max(delay, std::min<std::chrono::milliseconds>(*retry_after, kRetryAfterMax));
}

RateLimit::RateLimit(std::optional<std::uint64_t> bytes_per_second, Clock::time_point now)
    : rate_(static_cast<double>(bytes_per_second.value_or(0))),
      burst_(std::max(static_cast<double>(kBurstMinBytes), rate_ * kBurstSeconds)),
      saved_(burst_),
      refilled_(now) {}

void RateLimit::refill(Clock::time_point now) {
  saved_ = std::min(burst_, saved_ + rate_ * std::chrono::duration<double>(now - refilled_).count());
  refilled_ = now;
}

bool RateLimit::is_ready(Clock::time_point now) {
  if (rate_ == 0) return true;
  refill(now);
  return saved_ > 0;
}

void RateLimit::take(std::uint64_t bytes) {
  if (rate_ != 0) saved_ -= static_cast<double>(bytes);
}

std::chrono::milliseconds RateLimit::until_ready(Clock::time_point now) {
  if (is_ready(now)) return std::chrono::milliseconds(0);
  return std::chrono::milliseconds(static_cast<std::int64_t>(std::ceil(-saved_ / rate_ * 1000)) + 1);
}

}  // namespace slotkeeper
