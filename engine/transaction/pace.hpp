// How an update shares the device with what else runs on it: `[install]`. Holds where an update reads and writes whole
// slots, which takes nearly all of its time; the permanent partition is compacted and secured without pauses, since
// what it has to withstand does not wait.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

#include "engine/transaction/forwarding_sink.hpp"
#include "partitions/io/host.hpp"

namespace slotkeeper {

/// Stands between the work and its reporter, and makes pauses where the work asks whether it shall stop.
///
/// Gentle: the work goes on in slices. In the pause after each one nothing of ours is under way, so what the machine
/// does then is the work of others; the more of that, the longer the pause, up to kLongestPause.
class Pace final : public ForwardingSink {
 public:
  static constexpr std::chrono::milliseconds kSlice{10};
  static constexpr std::chrono::milliseconds kShortestPause{10};
  static constexpr std::chrono::milliseconds kLongestPause{40};
  /// So much of a pause, in percent, a disk may have had to do (the processors may have been busy) on an idle device.
  static constexpr int kDisksIdlePercent = 2;
  static constexpr int kProcessorsIdlePercent = 50;
  /// An update takes at most so many times as long.
  static constexpr std::uint64_t kSlowestFactor = (kSlice + kLongestPause) / kSlice;

  /// `inner` and `host` must outlive it.
  Pace(EngineSink& inner, io::Host& host, const InstallSettings& settings);

  [[nodiscard]] bool is_gentle() const { return gentle_; }
  /// How many bytes were written to the slot up to now: what exceeds the rate is waited for at the next question.
  void wrote(std::uint64_t bytes);
  /// Whether the next question is answered after a pause. What is on its way to the device should be over by then.
  [[nodiscard]] bool pauses_next();
  /// As of the inner sink, asked again and again in a pause.
  [[nodiscard]] Result<void> check_cancelled() override;

 private:
  [[nodiscard]] Result<void> sleep_until(std::chrono::nanoseconds end);
  [[nodiscard]] Result<void> leave_the_device_alone();
  [[nodiscard]] bool others_work(const io::MachineWork& before, std::chrono::nanoseconds since);

  io::Host& host_;
  std::optional<std::uint64_t> max_write_rate_;
  bool gentle_;
  std::uint64_t written_bytes_ = 0;
  std::chrono::nanoseconds not_before_{0};  ///< by the rate
  std::chrono::nanoseconds slice_began_;
};

struct Device;

/// While it exists, the calling thread and those it starts work at the configured priority, and `Device::sink` is a
/// Pace. Nothing is changed where the configuration asks for nothing. Programs started meanwhile would inherit the
/// priority: hooks must not run in it.
class BackgroundWork {
 public:
  explicit BackgroundWork(Device& device);
  BackgroundWork(const BackgroundWork&) = delete;
  BackgroundWork& operator=(const BackgroundWork&) = delete;
  ~BackgroundWork();

 private:
  Device& device_;
  std::optional<io::Priority> before_;
};

}  // namespace slotkeeper
