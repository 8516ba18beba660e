#include "partitions/io/posix_write_queue.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <unistd.h>
#include <utility>

#ifdef SLOTKEEPER_WITH_URING
#include <liburing.h>
#endif

#include "partitions/io/posix_call.hpp"

namespace slotkeeper::io {
namespace {

constexpr std::size_t kThreads = 4;

/// Behind a short write: nothing written, or a direct write cut inside a block, cannot be continued.
bool can_go_on(std::int64_t count) { return count > 0 && static_cast<std::uint64_t>(count) % kDirectAlignment == 0; }

/// 0 or the errno.
int write_all(int descriptor, const WriteRequest& request) {
  for (std::size_t done = 0; done < request.data.size();) {
    const ConstBytes rest = request.data.subspan(done);
    const ssize_t count = uninterrupted(
        [&] { return ::pwrite(descriptor, rest.data(), rest.size(), static_cast<off_t>(request.offset + done)); });
    if (count < 0) return errno;
    done += static_cast<std::size_t>(count);
    if (done < request.data.size() && !can_go_on(count)) return EIO;
  }
  return 0;
}

class ThreadQueue final : public WriteQueue {
 public:
  explicit ThreadQueue(int descriptor) : descriptor_(descriptor) {
    for (std::size_t i = 0; i < kThreads; ++i) threads_.emplace_back([this] { work(); });
  }
  ~ThreadQueue() override {
    {
      const std::lock_guard lock(mutex_);
      is_ending_ = true;
    }
    changed_.notify_all();
  }

  [[nodiscard]] int submit(const WriteRequest& request) override {
    {
      const std::lock_guard lock(mutex_);
      waiting_.push_back(request);
      ++pending_;
    }
    changed_.notify_all();
    return 0;
  }
  [[nodiscard]] std::size_t pending() const override { return pending_; }
  [[nodiscard]] std::vector<FinishedWrite> reap(std::size_t minimum) override {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return finished_.size() >= minimum; });
    pending_ -= finished_.size();
    return std::exchange(finished_, {});
  }

 private:
  void work() {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [this] { return is_ending_ || !waiting_.empty(); });
      if (waiting_.empty()) return;  // only then: what was submitted is written
      const WriteRequest request = waiting_.front();
      waiting_.pop_front();
      lock.unlock();
      const int failure = write_all(descriptor_, request);
      lock.lock();
      finished_.push_back({.request = request, .os_errno = failure});
      changed_.notify_all();
    }
  }

  int descriptor_;
  std::size_t pending_ = 0;  ///< the caller's thread only
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<WriteRequest> waiting_;
  std::vector<FinishedWrite> finished_;
  bool is_ending_ = false;
  std::vector<std::jthread> threads_;  ///< last: ends before what it uses
};

#ifdef SLOTKEEPER_WITH_URING
class UringQueue final : public WriteQueue {
 public:
  /// Nothing where the kernel has no io_uring or does not let us have it.
  static std::unique_ptr<WriteQueue> make(int descriptor) {
    std::unique_ptr<UringQueue> queue(new UringQueue(descriptor));
    if (::io_uring_queue_init(kQueuedWritesMax, &queue->ring_, 0) != 0) return nullptr;
    queue->is_ready_ = true;
    return queue;
  }
  ~UringQueue() override {
    if (!is_ready_) return;
    // The kernel still reads from the caller's buffers.
    while (in_flight_ > 0 && take_one(true)) continue;
    ::io_uring_queue_exit(&ring_);
  }

  [[nodiscard]] int submit(const WriteRequest& request) override {
    while (in_flight_ == kQueuedWritesMax) {
      if (!take_one(true)) return EIO;
    }
    const auto place = std::ranges::find(places_, false, &Place::is_used);
    *place = {.request = request, .done = 0, .is_used = true};
    ++pending_;
    if (const int failure = start(*place); failure != 0) {
      place->is_used = false;
      --pending_;
      return failure;
    }
    return 0;
  }
  [[nodiscard]] std::size_t pending() const override { return pending_; }
  [[nodiscard]] std::vector<FinishedWrite> reap(std::size_t minimum) override {
    while (finished_.size() < minimum && take_one(true)) continue;
    while (take_one(false)) continue;
    pending_ -= finished_.size();
    return std::exchange(finished_, {});
  }

 private:
  struct Place {
    WriteRequest request;
    std::size_t done = 0;
    bool is_used = false;
  };

  explicit UringQueue(int descriptor) : descriptor_(descriptor) {}

  /// Hands over what is left of it. 0 or the errno.
  int start(Place& place) {
    io_uring_sqe* const entry = ::io_uring_get_sqe(&ring_);
    if (entry == nullptr) return EBUSY;  // cannot be: there are as many as places
    const ConstBytes rest = place.request.data.subspan(place.done);
    ::io_uring_prep_write(entry, descriptor_, rest.data(), static_cast<unsigned int>(rest.size()),
                          place.request.offset + place.done);
    ::io_uring_sqe_set_data(entry, &place);
    int taken = 0;
    do {
      taken = ::io_uring_submit(&ring_);
    } while (taken == -EINTR || taken == -EAGAIN);
    if (taken < 0) return -taken;
    ++in_flight_;
    return 0;
  }

  /// Looks at one completion. False when there is none (or waiting failed, which leaves nothing to be done).
  bool take_one(bool waits) {
    if (in_flight_ == 0) return false;
    io_uring_cqe* completion = nullptr;
    int failure = 0;
    do {
      failure = waits ? ::io_uring_wait_cqe(&ring_, &completion) : ::io_uring_peek_cqe(&ring_, &completion);
    } while (failure == -EINTR);
    if (failure != 0) return false;
    Place& place = *static_cast<Place*>(::io_uring_cqe_get_data(completion));
    const int result = completion->res;
    ::io_uring_cqe_seen(&ring_, completion);
    --in_flight_;
    finish(place, result);
    return true;
  }

  void finish(Place& place, int result) {
    int failure = 0;
    if (result == -EINTR || result == -EAGAIN) {
      failure = start(place);
      if (failure == 0) return;
    } else if (result < 0) {
      failure = -result;
    } else {
      place.done += static_cast<std::size_t>(result);
      if (place.done < place.request.data.size()) {
        failure = can_go_on(result) ? start(place) : EIO;
        if (failure == 0) return;
      }
    }
    finished_.push_back({.request = place.request, .os_errno = failure});
    place.is_used = false;
  }

  int descriptor_;
  io_uring ring_{};
  bool is_ready_ = false;
  std::array<Place, kQueuedWritesMax> places_{};
  std::size_t in_flight_ = 0;
  std::size_t pending_ = 0;
  std::vector<FinishedWrite> finished_;
};
#endif

}  // namespace

std::unique_ptr<WriteQueue> WriteQueue::make(int descriptor, [[maybe_unused]] Kind kind) {
#ifdef SLOTKEEPER_WITH_URING
  if (kind == Kind::best) {
    if (auto queue = UringQueue::make(descriptor)) return queue;
  }
#endif
  return std::make_unique<ThreadQueue>(descriptor);
}

}  // namespace slotkeeper::io
