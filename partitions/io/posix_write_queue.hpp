// Writes of one descriptor that are carried out in the background, several at a time. Private to partitions/io.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "partitions/io/file.hpp"

namespace slotkeeper::io {

inline constexpr std::size_t kQueuedWritesMax = 32;  ///< what is submitted beyond waits for a place

/// One write that is over: everything was written, or `os_errno` says why not.
struct FinishedWrite {
  WriteRequest request;
  int os_errno = 0;
};

/// Used by one thread. Short writes and interruptions are handled inside; a write that stops making progress is EIO.
class WriteQueue {
 public:
  enum class Kind : std::uint8_t {
    best,     ///< io_uring where the kernel has it and we were built with it, else threads
    threads,  ///< for tests of what older kernels get
  };
  [[nodiscard]] static std::unique_ptr<WriteQueue> make(int descriptor, Kind kind = Kind::best);
  WriteQueue() = default;
  WriteQueue(const WriteQueue&) = delete;
  WriteQueue& operator=(const WriteQueue&) = delete;
  /// Waits until no write uses its data any more.
  virtual ~WriteQueue() = default;

  /// Returns 0 or the errno with which nothing was taken. The data must stay valid until the write is over.
  [[nodiscard]] virtual int submit(const WriteRequest& request) = 0;
  [[nodiscard]] virtual std::size_t pending() const = 0;
  /// What is over; waits until it is at least `minimum` of those that are pending.
  [[nodiscard]] virtual std::vector<FinishedWrite> reap(std::size_t minimum) = 0;
};

}  // namespace slotkeeper::io
