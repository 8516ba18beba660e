// Reads back what was written to a volume, window by window, each after a flush that covers it, and compares. Private
// to partitions.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "partitions/io/aligned_buffer.hpp"
#include "partitions/parallel.hpp"
#include "partitions/progress.hpp"
#include "partitions/volume_device.hpp"

namespace slotkeeper {

/// Chunks of any length are gathered into windows of this size.
inline constexpr std::size_t kWindowBytes = 512 * 1024;
static_assert(kWindowBytes % io::kDirectAlignment == 0);

/// A window as it must read.
struct WrittenWindow {
  std::uint64_t hash = 0;  ///< fast
  bool is_read = false;    ///< nothing was written, because it was just read and found so
};

/// readback_mismatch, with offset and length as details.
[[nodiscard]] Error reads_back_differently(const VolumeDevice& device, std::uint64_t offset, std::uint64_t length);

/// With helpers it has a thread of its own, and a group of windows is flushed and read back while the next one is
/// written. Without, `finish` does both. After an error nothing more is read, and every call returns it.
class SlotReadBack {
 public:
  /// `end` is where the last window ends.
  SlotReadBack(VolumeDevice& device, std::uint64_t end, Helpers helpers) : device_(device), end_(end) {
    if (helpers > 0) thread_.emplace([this] { work(); });
  }
  SlotReadBack(const SlotReadBack&) = delete;
  SlotReadBack& operator=(const SlotReadBack&) = delete;
  ~SlotReadBack() { stop(); }

  [[nodiscard]] bool is_beside() const { return thread_.has_value(); }
  /// What has gone wrong up to now.
  [[nodiscard]] Result<void> failure();
  /// Takes over the next windows. Their writes are over.
  [[nodiscard]] Result<void> check(std::vector<WrittenWindow> windows);
  /// Until everything that was handed over is flushed and read back.
  [[nodiscard]] Result<void> wait_for_idle();
  /// The same, unless `progress` ends it.
  [[nodiscard]] Result<void> finish(ProgressSink& progress);
  /// Ends the thread, whatever it is at. Nothing may be called any more.
  void stop();

 private:
  void work();
  [[nodiscard]] Result<void> check_group(const std::vector<WrittenWindow>& windows, ProgressSink* progress);
  [[nodiscard]] Result<void> failure_locked() const;
  [[nodiscard]] bool is_stopped();
  [[nodiscard]] bool is_idle() const { return groups_.empty() && !is_at_work_; }

  VolumeDevice& device_;
  std::uint64_t end_;
  std::uint64_t next_offset_ = 0;  ///< of whoever reads
  io::AlignedBuffer buffer_{kWindowBytes};

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::vector<WrittenWindow>> groups_;  ///< the oldest first
  bool is_at_work_ = false;
  bool is_ending_ = false;
  std::optional<Error> failure_;
  std::optional<std::jthread> thread_;
};

}  // namespace slotkeeper
