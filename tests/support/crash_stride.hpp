// How much of the cuts and faults a run takes: CI one in some, a campaign all.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>

namespace slotkeeper::test {

/// Of so many cases one: SLOTKEEPER_CRASH_STRIDE, 1 where nothing is said.
inline std::uint64_t crash_stride() {
  const char* const value = std::getenv("SLOTKEEPER_CRASH_STRIDE");
  return value == nullptr ? 1 : std::max<std::uint64_t>(1, std::strtoull(value, nullptr, 10));
}

}  // namespace slotkeeper::test
