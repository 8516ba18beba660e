// For what somebody else does in the background.
#pragma once

#include <chrono>
#include <functional>
#include <thread>

namespace slotkeeper::test {

/// Looks again and again until it holds, for at most ten seconds.
[[nodiscard]] inline bool comes_true(const std::function<bool()>& condition) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (!condition()) {
    if (std::chrono::steady_clock::now() >= until) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return true;
}

}  // namespace slotkeeper::test
