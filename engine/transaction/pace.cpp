#include "engine/transaction/pace.hpp"

#include <algorithm>

#include "engine/transaction/device.hpp"

namespace slotkeeper {
namespace {

using std::chrono::nanoseconds;

/// Between two questions of a pause.
constexpr std::chrono::milliseconds kStep{10};
/// What was not written in time is not made up for: after a slow second there is no fast one.
constexpr std::chrono::milliseconds kBurst{50};
/// Where the configuration is gentle and names no priority.
constexpr int kGentleNice = 19;

nanoseconds time_for(std::uint64_t bytes, std::uint64_t bytes_per_s) {
  const nanoseconds second = std::chrono::seconds(1);
  return second * static_cast<std::int64_t>(bytes / bytes_per_s) +
         nanoseconds(static_cast<std::int64_t>(static_cast<double>(bytes % bytes_per_s) /
                                               static_cast<double>(bytes_per_s) * static_cast<double>(second.count())));
}

std::optional<io::Priority> wanted_priority(const InstallSettings& settings) {
  if (!settings.nice && !settings.io_priority && !settings.gentle) return std::nullopt;
  return io::Priority{.nice = settings.nice.value_or(settings.gentle ? kGentleNice : 0),
                      .io = settings.io_priority.value_or(settings.gentle ? io::kIoIdle : 0)};
}

}  // namespace

Pace::Pace(EngineSink& inner, io::Host& host, const InstallSettings& settings)
    : ForwardingSink(inner),
      host_(host),
      max_write_rate_(settings.max_write_rate),
      gentle_(settings.gentle),
      slice_began_(host.monotonic()) {}

void Pace::wrote(std::uint64_t bytes) {
  if (!max_write_rate_ || bytes <= written_bytes_) return;
  const nanoseconds now = host_.monotonic();
  not_before_ = std::max(not_before_, now - kBurst) + time_for(bytes - written_bytes_, *max_write_rate_);
  written_bytes_ = bytes;
}

bool Pace::pauses_next() {
  const nanoseconds now = host_.monotonic();
  return now < not_before_ || (gentle_ && now - slice_began_ >= kSlice);
}

Result<void> Pace::check_cancelled() {
  SK_TRY(ForwardingSink::check_cancelled());
  if (!pauses_next()) return success();
  SK_TRY(sleep_until(not_before_));
  if (gentle_) SK_TRY(leave_the_device_alone());
  slice_began_ = host_.monotonic();
  return success();
}

Result<void> Pace::sleep_until(nanoseconds end) {
  for (nanoseconds now = host_.monotonic(); now < end; now = host_.monotonic()) {
    host_.sleep(std::min<nanoseconds>(end - now, kStep));
    SK_TRY(ForwardingSink::check_cancelled());
  }
  return success();
}

Result<void> Pace::leave_the_device_alone() {
  const nanoseconds began = host_.monotonic();
  const auto before = host_.work_done();
  SK_TRY(sleep_until(began + kShortestPause));
  while (before && host_.monotonic() - began < kLongestPause && others_work(*before, began)) {
    SK_TRY(sleep_until(host_.monotonic() + kStep));
  }
  return success();
}

bool Pace::others_work(const io::MachineWork& before, nanoseconds since) {
  const auto now = host_.work_done();
  if (!now) return false;
  const nanoseconds passed = host_.monotonic() - since;
  return (now->disks - before.disks) * 100 > passed * kDisksIdlePercent ||
         (now->processors - before.processors) * 100 > passed * kProcessorsIdlePercent;
}

BackgroundWork::BackgroundWork(Device& device) : device_(device) {
  const InstallSettings& settings = device_.configuration().install;
  if (const auto wanted = wanted_priority(settings)) {
    auto before = device_.settings.host.set_priority(*wanted);
    if (before.has_value()) {
      before_ = before.assume_value();
    } else {
      device_.sink().notice("the update goes on at the usual priority: " + before.assume_error().message);
    }
  }
  if (!settings.gentle && !settings.max_write_rate) return;
  SK_INVARIANT(device_.pace == nullptr);
  device_.pace = std::make_unique<Pace>(device_.sink(), device_.settings.host, settings);
}

BackgroundWork::~BackgroundWork() {
  device_.pace.reset();
  if (!before_) return;
  const auto restored = device_.settings.host.set_priority(*before_);
  if (!restored.has_value()) {
    device_.sink().notice("the priority of before could not be had back, and hooks run at the lower one: " +
                          restored.assume_error().message);
  }
}

}  // namespace slotkeeper
