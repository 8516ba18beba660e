// Reads and hashes files on all processors while the walk of an inventory goes on. What is done comes back in no order.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "partitions/io/directory.hpp"
#include "partitions/permanent/entry_list.hpp"

namespace slotkeeper::permanent {

inline constexpr int kReadAttemptsMax = 3;            ///< of a config file that changes while it is read
inline constexpr unsigned int kReadersMax = 4;        ///< more than a disk has use for
inline constexpr std::size_t kReadsInFlightMax = 64;  ///< handed over and not taken back

class ContentsReaders {
 public:
  struct Done {
    Entry entry;                  ///< with status, attributes and digest of one moment
    bool keeps_changing = false;  ///< although it was read as often as its class is
    std::optional<Error> error;   ///< then the entry is only what was handed over
  };

  /// With no `threads` each file is read where it is handed over. `root` must outlive this.
  ContentsReaders(io::Directory& root, unsigned int threads);
  ContentsReaders(const ContentsReaders&) = delete;
  ContentsReaders& operator=(const ContentsReaders&) = delete;
  ~ContentsReaders();  ///< gives up what is not done

  /// Hands over a regular file: path, kind and rule are set. At most kReadsInFlightMax are in flight.
  void hand_over(Entry entry);
  [[nodiscard]] std::size_t in_flight() const { return in_flight_; }
  /// What is done by now; waits for the first one, but no longer than `wait`, when nothing is.
  [[nodiscard]] std::vector<Done> take_back(std::chrono::milliseconds wait);

 private:
  void work();
  [[nodiscard]] Done read(Entry entry, io::Bytes buffer) const;
  [[nodiscard]] Result<bool> read_once(Entry& entry, io::Bytes buffer) const;

  io::Directory& root_;
  std::size_t in_flight_ = 0;          ///< of the caller's thread only
  std::vector<std::byte> own_buffer_;  ///< where there are no threads
  std::atomic<bool> given_up_ = false;
  std::mutex mutex_;  ///< of the queue and of what is done
  std::condition_variable is_queued_;
  std::condition_variable is_done_;
  std::deque<Entry> queue_;
  std::vector<Done> done_;
  std::vector<std::jthread> threads_;  // last: they use all of the above
};

/// How many readers suit this directory: none where it is not for several threads or there is one processor.
[[nodiscard]] unsigned int readers_for(const io::Directory& root);

}  // namespace slotkeeper::permanent
