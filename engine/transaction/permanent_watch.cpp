#include "engine/transaction/permanent_watch.hpp"

#include <algorithm>

#include "partitions/permanent/reserve.hpp"

namespace slotkeeper {
namespace {

using std::chrono::nanoseconds;

std::uint64_t minus(std::uint64_t a, std::uint64_t b) { return a > b ? a - b : 0; }

std::string kibibytes(std::uint64_t bytes) { return std::to_string(bytes / 1024) + " KiB"; }

}  // namespace

Result<std::unique_ptr<PermanentWatch>> PermanentWatch::begin(EngineSink& inner, io::Storage& storage, io::Host& host,
                                                              WatchSettings settings) {
  SK_TRY_ASSIGN(auto root, with_context(storage.open_directory(settings.path), "permanent partition"));
  std::unique_ptr<PermanentWatch> watch(new PermanentWatch(inner, storage, host, std::move(root), std::move(settings)));
  watch->thread_ = host.repeat(kThreadInterval, [raw = watch.get()] { raw->look_from_thread(); });
  return watch;
}

void PermanentWatch::progress(Phase phase, std::uint64_t done_bytes, std::uint64_t total_bytes) {
  {
    const std::lock_guard lock(mutex_);
    look_when_due();
  }
  say_what_is_pending();
  ForwardingSink::progress(phase, done_bytes, total_bytes);
}

Result<void> PermanentWatch::check_cancelled() {
  {
    const std::lock_guard lock(mutex_);
    look_when_due();
    if (found_) return *found_;
  }
  say_what_is_pending();
  return ForwardingSink::check_cancelled();
}

void PermanentWatch::enter(State state) {
  const std::lock_guard lock(mutex_);
  state_ = state;
  samples_.clear();
}

void PermanentWatch::say_what_is_pending() {
  std::string pending;
  {
    const std::lock_guard lock(mutex_);
    pending.swap(pending_notice_);
  }
  if (!pending.empty()) notice(pending);
}

void PermanentWatch::look_when_due() {
  if (found_) return;
  const nanoseconds now = host_.monotonic();
  const bool errors_too = !errors_looked_at_ || now - *errors_looked_at_ >= kErrorsInterval;
  if (!errors_too && looked_at_ && now - *looked_at_ < kLookInterval) return;
  auto looked = look_at(now, errors_too);
  if (!looked.has_value()) found_ = std::move(looked).assume_error();
}

void PermanentWatch::look_from_thread() {
  {
    const std::lock_guard lock(mutex_);
    if (found_) return;
    auto looked = look_at(host_.monotonic(), false);
    if (looked.has_value()) return;
    found_ = std::move(looked).assume_error();
    if (found_->code != Errc::storage_full) return;
  }
  // Without the mutex, so that the work that is told to end does not wait for it. What fails here is done again, and
  // reported, when the transaction is closed.
  static_cast<void>(permanent::release_reserve(*root_));
}

Result<void> PermanentWatch::look() {
  const std::lock_guard lock(mutex_);
  if (!found_) {
    auto looked = look_at(host_.monotonic(), true);
    if (!looked.has_value()) found_ = std::move(looked).assume_error();
  }
  if (found_) return *found_;
  return success();
}

Result<void> PermanentWatch::end() {
  thread_.reset();
  return look();
}

Error PermanentWatch::reason(Error other) {
  thread_.reset();
  return found_ ? *found_ : std::move(other);
}

Result<void> PermanentWatch::look_at(nanoseconds now, bool errors_too) {
  looked_at_ = now;
  SK_TRY_ASSIGN(const io::SpaceFacts space, root_->space());
  // Errors first: they are why a kernel makes a filesystem read-only.
  if (errors_too || space.read_only) {
    errors_looked_at_ = now;
    SK_TRY(check_errors());
  }
  if (space.read_only) {
    return make_error(Errc::read_only, "the permanent partition turned read-only during the update: " + settings_.path);
  }
  return check_room(space, now);
}

Result<void> PermanentWatch::check_errors() {
  SK_TRY_ASSIGN(const auto errors, storage_.filesystem_errors(settings_.path));
  const std::uint64_t risen = minus(errors.value_or(0), settings_.filesystem_errors);
  if (risen == 0) return success();
  return make_error(Errc::io_error, "the filesystem of the permanent partition counted " + std::to_string(risen) +
                                        " new errors during the update: " + settings_.path)
      .with_detail({"filesystem_errors", static_cast<std::int64_t>(*errors)});
}

Result<void> PermanentWatch::check_room(const io::SpaceFacts& space, nanoseconds now) {
  if (state_ == State::compacting) return success();
  permanent::Amount needed = state_ == State::before_reserve ? settings_.before_reserve : settings_.with_reserve;
  if (state_ != State::building) {
    samples_.push_back({.at = now, .available_bytes = space.available_bytes});
    while (samples_.size() > 2 && now - samples_.front().at > kRateWindow) samples_.pop_front();
    needed.bytes += std::min(fall_within_window(), ~std::uint64_t{0} - needed.bytes);
  }
  const bool inodes_are_short = space.inodes != 0 && space.inodes_free < needed.inodes;
  if (space.available_bytes < needed.bytes || inodes_are_short) {
    const bool by_bytes = space.available_bytes < needed.bytes;
    const std::string left = by_bytes ? kibibytes(space.available_bytes) : std::to_string(space.inodes_free) + " files";
    const std::string wanted = by_bytes ? kibibytes(needed.bytes) : std::to_string(needed.inodes) + " files";
    return make_error(Errc::storage_full, "the permanent partition filled up during the update: " + left +
                                              " are left and " + wanted +
                                              " are needed for the rest of it, a rollback and the live system's logs")
        .with_detail({"measured", static_cast<std::int64_t>(by_bytes ? space.available_bytes : space.inodes_free)})
        .with_detail({"limit", static_cast<std::int64_t>(by_bytes ? needed.bytes : needed.inodes)})
        .with_detail({"unit", std::string(by_bytes ? "bytes" : "inodes")});
  }
  if (state_ != State::with_reserve) return success();
  if (!available_at_first_) available_at_first_ = space.available_bytes;
  const std::uint64_t grown = minus(*available_at_first_, space.available_bytes);
  if (grown > settings_.growth_bytes && !growth_was_noticed_) {
    growth_was_noticed_ = true;
    pending_notice_ = "the live system has written " + kibibytes(grown) +
                      " to the permanent partition, more than the " + kibibytes(settings_.growth_bytes) +
                      " that were forecast; there is room for it so far";
  }
  return success();
}

/// What the live system wrote in the last kRateWindow.
std::uint64_t PermanentWatch::fall_within_window() const {
  if (samples_.empty()) return 0;
  return minus(samples_.front().available_bytes, samples_.back().available_bytes);
}

}  // namespace slotkeeper
