// A process that writes all the time, and tells how long it had to wait.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <sys/types.h>

namespace slotkeeper::test {

class LiveWriter {
 public:
  /// Does one piece of work; gets its number, from 0. Must not throw: what it cannot do it leaves.
  using Step = std::function<void(std::uint64_t number)>;

  /// Starts at once, with `pause` between two steps.
  explicit LiveWriter(Step step, std::chrono::microseconds pause = std::chrono::microseconds(500));
  LiveWriter(const LiveWriter&) = delete;
  LiveWriter& operator=(const LiveWriter&) = delete;
  ~LiveWriter();  ///< stops

  /// Kills the process; returns when it is gone, and so not before a freeze is over that holds it.
  void stop();

  [[nodiscard]] std::uint64_t steps() const;               ///< done so far
  [[nodiscard]] std::chrono::nanoseconds longest() const;  ///< step so far, the present one included
  [[nodiscard]] std::chrono::nanoseconds waiting() const;  ///< how long the present step takes already; 0: none runs
  /// Waits until that many more steps are done; false when it takes longer than `limit`.
  [[nodiscard]] bool does(std::uint64_t more, std::chrono::milliseconds limit) const;
  /// Waits until a step takes longer than this; false when none does within `limit`.
  [[nodiscard]] bool waits(std::chrono::milliseconds at_least, std::chrono::milliseconds limit) const;

 private:
  struct Shared;
  Shared* shared_;
  pid_t process_;
};

/// Appends a line to a file, creating it where it is missing; with `sync`, flushes it.
void append_line(const std::string& path, const std::string& line, bool sync = false);

}  // namespace slotkeeper::test
