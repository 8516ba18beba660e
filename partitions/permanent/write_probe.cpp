#include "partitions/permanent/write_probe.hpp"

#include <algorithm>

#include "partitions/permanent/steady_file.hpp"

namespace slotkeeper::permanent {
namespace {

using std::chrono::nanoseconds;

/// Nothing shorter says anything about a second.
constexpr nanoseconds kShortestWindow = std::chrono::milliseconds(100);
constexpr nanoseconds kShortestSlice = std::chrono::milliseconds(20);

std::uint64_t per_second(std::uint64_t bytes, nanoseconds passed, nanoseconds shortest) {
  const auto divisor = static_cast<std::uint64_t>(std::max(passed, shortest).count());
  __extension__ using Wide = unsigned __int128;
  return static_cast<std::uint64_t>((Wide(bytes) * 1'000'000'000 + divisor - 1) / divisor);
}

std::uint64_t growth(std::uint64_t before, std::uint64_t now) { return now > before ? now - before : 0; }

}  // namespace

Result<WriteProbe> WriteProbe::begin(io::Storage& storage, io::Host& host, io::Directory& root, const std::string& path,
                                     const Inventory& inventory, std::chrono::milliseconds length) {
  WriteProbe probe(storage, host, root, path, length);
  struct Candidate {
    io::TimeStamp changed;
    LogFile file;
  };
  std::vector<Candidate> candidates;
  const auto newest_first = [](const Candidate& a, const Candidate& b) { return a.changed > b.changed; };
  for (const Entry& entry : inventory.entries) {
    const bool is_log = entry.kind == ClassKind::log || entry.kind == ClassKind::security_log;
    if (!is_log || entry.status.type != io::EntryType::regular) continue;
    candidates.push_back({.changed = entry.status.changed, .file = {.path = entry.path}});
    std::ranges::push_heap(candidates, newest_first);
    if (candidates.size() <= kProbedLogsMax) continue;
    std::ranges::pop_heap(candidates, newest_first);  // the oldest of them
    candidates.pop_back();
  }
  for (Candidate& candidate : candidates) {
    const auto status = root.status_of(candidate.file.path);
    if (!status.has_value()) {
      if (is_gone(status.assume_error())) continue;
      return status.assume_error();
    }
    candidate.file.inode = status.assume_value().inode;
    candidate.file.size_bytes = status.assume_value().size_bytes;
    probe.logs_.push_back(std::move(candidate.file));
  }
  SK_TRY_ASSIGN(const io::SpaceFacts space, root.space());
  probe.used_bytes_ = space.used_bytes();
  probe.began_ = host.monotonic();
  SK_TRY(probe.sample_device());
  return probe;
}

Result<void> WriteProbe::sample_device() {
  if (!has_device_) return success();
  SK_TRY_ASSIGN(const auto written, storage_->bytes_written(path_));
  has_device_ = written.has_value();
  if (written) device_.push_back({.at = host_->monotonic(), .written = *written});
  return success();
}

Result<void> WriteProbe::look() {
  if (!has_device_ || host_->monotonic() - device_.back().at < std::max(length_ / kProbeSlices, kShortestSlice)) {
    return success();
  }
  return sample_device();
}

Result<std::uint64_t> WriteProbe::log_growth() const {
  std::uint64_t sum = 0;
  for (const LogFile& log : logs_) {
    const auto status = root_->status_of(log.path);
    if (!status.has_value()) {
      if (is_gone(status.assume_error())) continue;
      return status.assume_error();
    }
    const io::EntryStatus& now = status.assume_value();
    // Rotated meanwhile: all of the new file was written since.
    sum += now.inode == log.inode ? growth(log.size_bytes, now.size_bytes) : now.size_bytes;
  }
  return sum;
}

std::optional<std::uint64_t> WriteProbe::device_rate() const {
  std::vector<std::uint64_t> rates;
  for (std::size_t i = 1; i < device_.size(); ++i) {
    rates.push_back(per_second(growth(device_[i - 1].written, device_[i].written), device_[i].at - device_[i - 1].at,
                               kShortestSlice));
  }
  if (rates.empty()) return std::nullopt;
  const auto middle = rates.begin() + static_cast<std::ptrdiff_t>(rates.size() / 2);
  std::ranges::nth_element(rates, middle);
  return *middle;
}

Result<WriteRate> WriteProbe::finish(ProgressSink& progress) {
  // A bounded number of naps, whatever the clock does.
  for (unsigned int nap = 0; nap < kProbeSlices; ++nap) {
    const nanoseconds left = began_ + length_ - host_->monotonic();
    if (left <= nanoseconds(0)) break;
    SK_TRY(progress.check_cancelled());
    host_->sleep(std::min(left, length_ / kProbeSlices));
    SK_TRY(look());
  }
  const nanoseconds passed = host_->monotonic() - began_;
  WriteRate rate;
  SK_TRY_ASSIGN(const std::uint64_t log_bytes, log_growth());
  SK_TRY_ASSIGN(const io::SpaceFacts space, root_->space());
  if (device_.size() == 1) SK_TRY(sample_device());
  rate.logs = per_second(log_bytes, passed, kShortestWindow);
  rate.blocks = per_second(growth(used_bytes_, space.used_bytes()), passed, kShortestWindow);
  rate.device = device_rate();
  rate.measured_over = std::chrono::duration_cast<std::chrono::milliseconds>(passed);
  return rate;
}

}  // namespace slotkeeper::permanent
