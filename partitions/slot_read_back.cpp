#include "partitions/slot_read_back.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

#include "partitions/digest.hpp"

namespace slotkeeper {
namespace {

constexpr std::chrono::milliseconds kLookInterval{50};  ///< between two looks for a cancellation

}  // namespace

Error reads_back_differently(const VolumeDevice& device, std::uint64_t offset, std::uint64_t length) {
  return make_error(Errc::readback_mismatch, device.description() + ": the " + std::to_string(length) +
                                                 " bytes at offset " + std::to_string(offset) +
                                                 " read back differently from what was written")
      .with_detail({"offset", static_cast<std::int64_t>(offset)})
      .with_detail({"length", static_cast<std::int64_t>(length)});
}

void SlotReadBack::stop() {
  {
    const std::lock_guard lock(mutex_);
    is_ending_ = true;
  }
  changed_.notify_all();
  if (thread_ && thread_->joinable()) thread_->join();
}

bool SlotReadBack::is_stopped() {
  const std::lock_guard lock(mutex_);
  return is_ending_;
}

Result<void> SlotReadBack::failure_locked() const {
  if (!failure_) return success();
  return Error(*failure_);
}

Result<void> SlotReadBack::failure() {
  const std::lock_guard lock(mutex_);
  return failure_locked();
}

Result<void> SlotReadBack::check(std::vector<WrittenWindow> windows) {
  if (windows.empty()) return failure();
  const std::lock_guard lock(mutex_);
  SK_TRY(failure_locked());
  groups_.push_back(std::move(windows));
  changed_.notify_all();
  return success();
}

Result<void> SlotReadBack::wait_for_idle() {
  if (!thread_) return failure();
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return failure_ || is_idle(); });
  return failure_locked();
}

Result<void> SlotReadBack::finish(ProgressSink& progress) {
  if (!thread_) {
    for (const auto& group : std::exchange(groups_, {})) SK_TRY(check_group(group, &progress));
    return success();
  }
  std::unique_lock lock(mutex_);
  while (!failure_ && !is_idle()) {
    changed_.wait_for(lock, kLookInterval);
    lock.unlock();
    SK_TRY(progress.check_cancelled());
    lock.lock();
  }
  return failure_locked();
}

void SlotReadBack::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return is_ending_ || (!groups_.empty() && !failure_); });
    if (is_ending_) return;
    const std::vector<WrittenWindow> group = std::move(groups_.front());
    groups_.erase(groups_.begin());
    is_at_work_ = true;
    lock.unlock();
    Result<void> result = check_group(group, nullptr);
    lock.lock();
    is_at_work_ = false;
    if (!result.has_value()) failure_.emplace(std::move(result).assume_error());
    changed_.notify_all();
  }
}

Result<void> SlotReadBack::check_group(const std::vector<WrittenWindow>& windows, ProgressSink* progress) {
  if (!std::ranges::all_of(windows, &WrittenWindow::is_read)) SK_TRY(device_.sync());
  for (const WrittenWindow& window : windows) {
    if (progress != nullptr) SK_TRY(progress->check_cancelled());
    if (is_stopped()) return success();  // nobody asks any more
    const std::uint64_t offset = next_offset_;
    const std::uint64_t length = std::min<std::uint64_t>(kWindowBytes, end_ - offset);
    next_offset_ += length;
    if (window.is_read) continue;
    const io::Bytes into = buffer_.bytes().first(static_cast<std::size_t>(io::round_up_to_block(length)));
    SK_TRY_ASSIGN(const io::ConstBytes found, device_.read(offset, into));
    if (fast_hash(found) != window.hash) return reads_back_differently(device_, offset, length);
  }
  return success();
}

}  // namespace slotkeeper
