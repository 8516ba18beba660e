#include "partitions/parallel.hpp"

#include <algorithm>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

namespace slotkeeper {
namespace {

class Pieces {
 public:
  Pieces(std::size_t count, const std::function<Result<void>(std::size_t)>& work) : count_(count), work_(work) {}

  /// Takes one and works on it. False when there is none left, or when one has failed.
  bool work_on_next() {
    std::size_t piece = 0;
    {
      const std::lock_guard lock(mutex_);
      if (next_ == count_ || failure_) return false;
      piece = next_++;
    }
    Result<void> result = work_(piece);
    const std::lock_guard lock(mutex_);
    ++done_;
    if (!result.has_value() && (!failure_ || piece < failed_)) {
      failed_ = piece;
      failure_.emplace(std::move(result).assume_error());
    }
    return true;
  }
  void stop() {
    const std::lock_guard lock(mutex_);
    next_ = count_;
  }
  [[nodiscard]] std::size_t done() {
    const std::lock_guard lock(mutex_);
    return done_;
  }
  /// When all threads have ended.
  [[nodiscard]] std::optional<Error>& failure() { return failure_; }

 private:
  std::size_t count_;
  const std::function<Result<void>(std::size_t)>& work_;
  std::mutex mutex_;
  std::size_t next_ = 0;
  std::size_t done_ = 0;
  std::size_t failed_ = 0;
  std::optional<Error> failure_;
};

}  // namespace

Result<void> for_each_piece(Helpers helpers, std::size_t count,
                            const std::function<Result<void>(std::size_t piece)>& work,
                            const std::function<Result<void>(std::size_t done)>& between) {
  Pieces pieces(count, work);
  Result<void> went_on = success();
  {
    std::vector<std::jthread> threads;
    for (std::size_t i = 1; i < std::min<std::size_t>(count, std::size_t{helpers} + 1); ++i) {
      threads.emplace_back([&pieces] {
        while (pieces.work_on_next()) continue;
      });
    }
    while (went_on.has_value() && pieces.work_on_next()) went_on = between(pieces.done());
    if (!went_on.has_value()) pieces.stop();
  }
  if (pieces.failure()) return std::move(*pieces.failure());
  return went_on;
}

}  // namespace slotkeeper
