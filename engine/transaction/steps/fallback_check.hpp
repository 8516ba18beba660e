// The second look at the slot that runs, before the switch: it still reads as it did in preflight, when it matched its
// recorded checksums. Part of step 7 of 9; with helpers it goes on beside step 6, never ahead of what is staged by more
// than a little, so that it sees what the writing of the target may have done to it.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <thread>

#include "engine/transaction/device.hpp"

namespace slotkeeper {

class FallbackCheck {
 public:
  /// `reading` is that of preflight. Both must stay where they are.
  FallbackCheck(Device& device, const SlotReading& reading);
  FallbackCheck(const FallbackCheck&) = delete;
  FallbackCheck& operator=(const FallbackCheck&) = delete;
  ~FallbackCheck();

  /// How far the staging is, in bytes.
  void follow(std::uint64_t done, std::uint64_t total);
  /// Reads what is left. Errors: readback_mismatch, io_error, cancelled.
  [[nodiscard]] Result<void> finish();

 private:
  class PacedSink;
  [[nodiscard]] std::uint64_t read_permille() const;
  [[nodiscard]] Result<void> read_all(ProgressSink& sink, Helpers helpers);

  Device& device_;
  const SlotReading& reading_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::uint64_t total_bytes_ = 0;
  std::uint64_t read_before_ = 0;  ///< of the volumes before
  std::uint64_t read_bytes_ = 0;
  std::uint64_t staged_permille_ = 0;
  bool is_stopped_ = false;
  std::optional<Result<void>> result_;
  std::optional<std::jthread> thread_;
};

}  // namespace slotkeeper
