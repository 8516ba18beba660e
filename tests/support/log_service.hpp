// Services that keep their logs on the permanent partition while something else happens there: processes of their own
// that append numbered lines with a checksum, rotate, drop their oldest segments, and hold a rotated segment open for a
// while and write on. Afterwards every line whose write was acknowledged must be there exactly once, whole and in
// order.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <sys/types.h>
#include <vector>

namespace slotkeeper::test {

struct LogServiceSettings {
  std::string folder;  ///< must exist; one log in it: NAME.log, NAME.log.1 (newest) ...
  std::string name;
  std::uint64_t segment_bytes = 32 * 1024;  ///< rotated when it is larger
  std::uint32_t segments_max = 4;           ///< rotated ones that are kept; 0: all
  std::uint32_t lines_per_pause = 4;        ///< lines between two pauses
  std::uint32_t pause_us = 2000;            ///< 0: as fast as the disk takes it
  std::uint32_t hold_ms = 0;                ///< how long the writer goes on in a segment that was rotated away
  std::string watched_path = {};            ///< whether it exists is noted at the first write that fails
  bool syncs = false;                       ///< fsync after every burst of lines, as a security log does
};

/// One writer. It dies with this object at the latest.
class LogService {
 public:
  explicit LogService(LogServiceSettings settings);
  LogService(const LogService&) = delete;
  LogService& operator=(const LogService&) = delete;
  ~LogService();

  void stop();  ///< after the line it is at
  /// As `problem`, while the service goes on: it stands still for the time of the look.
  [[nodiscard]] std::string problem_now();

  [[nodiscard]] std::uint64_t acknowledged() const;                 ///< lines whose write returned in full
  [[nodiscard]] std::uint64_t failed_writes() const;                ///< ENOSPC and the like; each line was tried again
  [[nodiscard]] std::uint64_t longest_write_us() const;             ///< one line, from the writer's own view
  [[nodiscard]] bool watched_path_was_there() const;                ///< at the first write that failed
  [[nodiscard]] std::uint64_t free_bytes_at_first_failure() const;  ///< as statvfs told the writer then

  /// What is wrong with the log, "" when nothing is: reads all segments, plain and compressed, from the oldest.
  [[nodiscard]] std::string problem() const;
  [[nodiscard]] const LogServiceSettings& settings() const { return settings_; }

 private:
  struct Shared;
  LogServiceSettings settings_;
  Shared* shared_ = nullptr;
  pid_t process_ = -1;
};

/// Lines of such a log: "000000042 text sum=XXXXXXXX\n".
[[nodiscard]] std::string log_line(std::uint64_t number, const std::string& text);
/// The line that the log service of this name writes.
[[nodiscard]] std::string service_log_line(std::uint64_t number, const std::string& name);
/// What is wrong with a log whose lines `first` to `last` must be there exactly once and in order.
[[nodiscard]] std::string log_problem(const std::string& folder, const std::string& name, std::uint64_t first,
                                      std::uint64_t last);
/// Lines of a log without a writer: rotated segments of this size, oldest first, the newest NAME.log. Returns the
/// number of the last line.
std::uint64_t write_rotated_log(const std::string& folder, const std::string& name, std::uint64_t segments,
                                std::uint64_t segment_bytes);

}  // namespace slotkeeper::test
