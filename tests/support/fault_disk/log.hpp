// The log of a fault disk: every call that reached it, in the one order in which it served them. Written by the server,
// read by whoever rebuilds what a power cut would have left.
//
//   log    = record*
//   record = "SKFL" . kind:1 . disk:1 . zero:2 . sequence:8 . offset:8 . length:8 . data{length}     ; native byte
//   order
//            ; sequence counts from 0 without gaps; only write, lost write and mark have data
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace slotkeeper::test {

enum class LogKind : std::uint8_t {
  write = 1,       ///< what arrived, where it arrived: a torn write is short, a flipped one flipped
  discard = 2,     ///< zeros from `offset` on
  flush = 3,       ///< everything before it on this disk is durable
  lost_flush = 4,  ///< was answered like a flush and did nothing
  lost_write = 5,  ///< was answered like a write and did nothing; with what should have arrived
  failed = 6,      ///< did nothing: was answered with an error, or is a lost discard
  mark = 7,        ///< a text of the test
};

struct LogRecord {
  LogKind kind = LogKind::mark;
  std::uint8_t disk = 0;  ///< number of the disk, in the order of the server's arguments
  std::uint64_t sequence = 0;
  std::uint64_t offset = 0;  ///< in bytes; of a mark 0
  std::uint64_t length = 0;
  std::string data;
};

/// Appends records to a file. Throws std::runtime_error when it cannot: a rig without its log proves nothing.
class DiskLogWriter {
 public:
  explicit DiskLogWriter(const std::string& path);
  DiskLogWriter(const DiskLogWriter&) = delete;
  DiskLogWriter& operator=(const DiskLogWriter&) = delete;
  ~DiskLogWriter();

  void append(LogKind kind, std::uint8_t disk, std::uint64_t offset, std::uint64_t length, std::string_view data);
  /// How many records there are: the sequence that the next one gets.
  [[nodiscard]] std::uint64_t position() const { return next_; }

 private:
  int file_ = -1;
  std::uint64_t next_ = 0;
};

/// All records of a log. Throws std::runtime_error where it is not a log or has a gap.
[[nodiscard]] std::vector<LogRecord> read_disk_log(const std::string& path);

}  // namespace slotkeeper::test
