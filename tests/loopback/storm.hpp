// A live system that writes: processes that append to logs on the permanent partition.
#pragma once

#include <cstdint>
#include <string>
#include <sys/types.h>
#include <vector>

namespace slotkeeper::test {

/// What a writer met, written down by it when it ends.
struct WriterReport {
  std::uint64_t written_bytes = 0;
  bool failed = false;  ///< a write was refused
  bool reserve_was_there_at_failure = false;
};

/// A process of its own that appends numbered lines to a log, `bytes_per_s` of them or as fast as it can (0), until it
/// is stopped or a write fails.
class LogWriter {
 public:
  LogWriter(const std::string& permanent, const std::string& log, std::uint64_t bytes_per_s);
  LogWriter(const LogWriter&) = delete;
  LogWriter& operator=(const LogWriter&) = delete;
  ~LogWriter();

  /// Returns when its first write is done.
  void wait_until_it_writes() const;
  /// Ends it, unless it has ended by itself, and reads its report.
  [[nodiscard]] WriterReport stop();
  /// Waits until a write of it failed.
  [[nodiscard]] WriterReport wait_for_failure();

 private:
  [[nodiscard]] WriterReport read_report();
  std::string log_;
  pid_t process_ = -1;
  int report_ = -1;  ///< pipe
};

}  // namespace slotkeeper::test
