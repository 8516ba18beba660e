#include "engine/transaction/steps/fallback_check.hpp"

#include <chrono>

#include "partitions/slot_hash.hpp"

namespace slotkeeper {
namespace {

constexpr std::uint64_t kAheadPermille = 50;
constexpr std::chrono::milliseconds kLookInterval{50};  ///< between two looks for a cancellation

}  // namespace

/// Holds the reading back until the staging is as far.
class FallbackCheck::PacedSink final : public ProgressSink {
 public:
  explicit PacedSink(FallbackCheck& check) : check_(check) {}
  void progress(Phase, std::uint64_t done_bytes, std::uint64_t) override {
    const std::lock_guard lock(check_.mutex_);
    check_.read_bytes_ = check_.read_before_ + done_bytes;
  }
  void notice(std::string_view) override {}
  [[nodiscard]] bool cancel_requested() const override { return false; }
  [[nodiscard]] Result<void> check_cancelled() override {
    std::unique_lock lock(check_.mutex_);
    check_.changed_.wait(lock, [this] {
      return check_.is_stopped_ || check_.staged_permille_ >= 1000 ||
             check_.read_permille() <= check_.staged_permille_ + kAheadPermille;
    });
    if (check_.is_stopped_) return make_error(Errc::cancelled, "the staging was given up");
    return success();
  }

 private:
  FallbackCheck& check_;
};

FallbackCheck::FallbackCheck(Device& device, const SlotReading& reading) : device_(device), reading_(reading) {
  const auto& baseline = device_.facts[device_.booted];
  SK_INVARIANT(baseline.has_value());  // preflight refuses without
  for (const auto& expected : baseline->volumes) {
    if (reading_.contains(expected.volume)) total_bytes_ += expected.length_bytes;
  }
  if (device.settings.helpers == 0) return;
  thread_.emplace([this] {
    PacedSink sink(*this);
    Result<void> result = read_all(sink, 0);
    const std::lock_guard lock(mutex_);
    result_.emplace(std::move(result));
    changed_.notify_all();
  });
}

FallbackCheck::~FallbackCheck() {
  const std::lock_guard lock(mutex_);
  is_stopped_ = true;
  changed_.notify_all();
}

void FallbackCheck::follow(std::uint64_t done, std::uint64_t total) {
  const std::uint64_t permille = total == 0 ? 1000 : done * 1000 / total;
  const std::lock_guard lock(mutex_);
  if (permille == staged_permille_) return;
  staged_permille_ = permille;
  changed_.notify_all();
}

Result<void> FallbackCheck::finish() {
  if (!thread_) return read_all(device_.sink(), device_.settings.helpers);
  follow(1, 1);
  std::unique_lock lock(mutex_);
  for (;;) {
    const std::uint64_t done = read_bytes_;
    const bool is_over = result_.has_value();
    lock.unlock();
    device_.sink().progress(Phase::check, done, total_bytes_);
    if (is_over) return *result_;
    SK_TRY(device_.sink().check_cancelled());
    lock.lock();
    if (!result_) changed_.wait_for(lock, kLookInterval);
  }
}

std::uint64_t FallbackCheck::read_permille() const {
  return total_bytes_ == 0 ? 1000 : read_bytes_ * 1000 / total_bytes_;
}

Result<void> FallbackCheck::read_all(ProgressSink& sink, Helpers helpers) {
  const Slot& slot = device_.configuration().slots[device_.booted];
  for (const auto& expected : device_.facts[device_.booted]->volumes) {
    const auto before = reading_.find(expected.volume);
    if (before == reading_.end()) continue;  // not to be verified
    SK_TRY_ASSIGN(const bool is_same,
                  reads_the_same(device_.storage(), *slot.find(expected.volume), expected.length_bytes, before->second,
                                 sink, Phase::check, helpers));
    {
      const std::lock_guard lock(mutex_);
      read_before_ += expected.length_bytes;
    }
    if (is_same) continue;
    return make_error(Errc::readback_mismatch, "slot " + std::string(name_of(device_.booted)) +
                                                   " no longer reads as recorded (volume " + expected.volume +
                                                   "): there would be nothing to fall back to");
  }
  return success();
}

}  // namespace slotkeeper
