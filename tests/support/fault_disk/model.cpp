#include "tests/support/fault_disk/model.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fcntl.h>
#include <stdexcept>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

namespace slotkeeper::test {
namespace {

std::runtime_error broken(const std::string& what) { return std::runtime_error(what + ": " + std::strerror(errno)); }

void flip_bit(std::string& data, std::uint64_t bit) {
  if (data.empty()) return;
  char& byte = data[static_cast<std::size_t>(bit / 8) % data.size()];
  byte = static_cast<char>(byte ^ (1 << (bit % 8)));
}

}  // namespace

FaultModel::FaultModel(const std::vector<Disk>& disks, const std::string& log) : log_(log) {
  for (const Disk& disk : disks) {
    const int file = ::open(disk.backing_file.c_str(), O_RDWR | O_CLOEXEC);
    struct stat facts {};
    if (file < 0 || ::fstat(file, &facts) != 0) throw broken("cannot open " + disk.backing_file);
    disks_.push_back({disk.name, file, static_cast<std::uint64_t>(facts.st_size)});
  }
}

FaultModel::~FaultModel() {
  for (const OpenDisk& disk : disks_) ::close(disk.file);
}

std::optional<FaultRule> FaultModel::decide(DiskCall call, std::size_t disk, std::uint64_t offset,
                                            std::uint64_t length) {
  FaultRules::Decision decision = rules_.decide({call, disks_.at(disk).name, offset, length});
  if (decision.milliseconds > 0) std::this_thread::sleep_for(std::chrono::milliseconds(decision.milliseconds));
  return std::move(decision.fault);
}

int FaultModel::read(std::size_t disk, std::uint64_t offset, std::string& into) {
  const std::scoped_lock lock(mutex_);
  ++counters_.reads;
  const std::optional<FaultRule> fault = decide(DiskCall::read, disk, offset, into.size());
  if (fault && fault->action == FaultAction::error) return fault->error_number;
  const ssize_t count = ::pread(disks_.at(disk).file, into.data(), into.size(), static_cast<off_t>(offset));
  if (count < 0) throw broken("cannot read the backing file of " + disks_.at(disk).name);
  into.resize(static_cast<std::size_t>(count));
  if (fault && fault->action == FaultAction::flip) flip_bit(into, fault->bit);
  return 0;
}

void FaultModel::arrive(std::size_t disk, std::uint64_t offset, std::string_view data) {
  log_.append(LogKind::write, static_cast<std::uint8_t>(disk), offset, data.size(), data);
  const ssize_t count = ::pwrite(disks_.at(disk).file, data.data(), data.size(), static_cast<off_t>(offset));
  if (count != static_cast<ssize_t>(data.size())) throw broken("cannot write the backing file");
}

int FaultModel::refuse(std::size_t disk, std::uint64_t offset, std::uint64_t length, int error_number) {
  log_.append(LogKind::failed, static_cast<std::uint8_t>(disk), offset, length, {});
  return error_number;
}

int FaultModel::write(std::size_t disk, std::uint64_t offset, std::string_view data) {
  const std::scoped_lock lock(mutex_);
  ++counters_.writes;
  const std::uint64_t size = size_of(disk);
  if (offset > size || data.size() > size - offset) return refuse(disk, offset, data.size(), ENOSPC);
  const std::optional<FaultRule> fault = decide(DiskCall::write, disk, offset, data.size());
  if (!fault) {
    arrive(disk, offset, data);
    return 0;
  }
  switch (fault->action) {
    case FaultAction::error:
      return refuse(disk, offset, data.size(), fault->error_number);
    case FaultAction::torn:
      arrive(disk, offset, data.substr(0, static_cast<std::size_t>(fault->sectors * kSectorBytes)));
      return fault->error_number;
    case FaultAction::flip: {
      std::string flipped(data);
      flip_bit(flipped, fault->bit);
      arrive(disk, offset, flipped);
      return 0;
    }
    case FaultAction::misdirect: {
      const std::uint64_t elsewhere = (offset + fault->shift) % size;
      arrive(disk, data.size() <= size - elsewhere ? elsewhere : 0, data);
      return 0;
    }
    case FaultAction::lose:
    case FaultAction::delay:
      break;
  }
  log_.append(LogKind::lost_write, static_cast<std::uint8_t>(disk), offset, data.size(), data);
  return 0;
}

int FaultModel::discard(std::size_t disk, std::uint64_t offset, std::uint64_t length) {
  const std::scoped_lock lock(mutex_);
  ++counters_.discards;
  const std::uint64_t size = size_of(disk);
  if (offset > size) return refuse(disk, offset, length, EINVAL);
  length = std::min(length, size - offset);
  const std::optional<FaultRule> fault = decide(DiskCall::discard, disk, offset, length);
  if (fault && fault->action == FaultAction::error) return refuse(disk, offset, length, fault->error_number);
  if (fault && fault->action == FaultAction::lose) {
    return refuse(disk, offset, length, 0);
  }
  log_.append(LogKind::discard, static_cast<std::uint8_t>(disk), offset, length, {});
  const std::string zeros(std::size_t{64} * 1024, '\0');
  for (std::uint64_t done = 0; done < length;) {
    const auto step = static_cast<std::size_t>(std::min<std::uint64_t>(zeros.size(), length - done));
    const ssize_t count = ::pwrite(disks_.at(disk).file, zeros.data(), step, static_cast<off_t>(offset + done));
    if (count != static_cast<ssize_t>(step)) throw broken("cannot zero the backing file");
    done += step;
  }
  return 0;
}

int FaultModel::flush(std::size_t disk) {
  const std::scoped_lock lock(mutex_);
  ++counters_.flushes;
  const std::optional<FaultRule> fault = decide(DiskCall::flush, disk, 0, 0);
  if (fault && fault->action == FaultAction::error) return refuse(disk, 0, 0, fault->error_number);
  const bool lost = fault && fault->action == FaultAction::lose;
  log_.append(lost ? LogKind::lost_flush : LogKind::flush, static_cast<std::uint8_t>(disk), 0, 0, {});
  return 0;
}

void FaultModel::set_rules(std::vector<FaultRule> rules) {
  const std::scoped_lock lock(mutex_);
  rules_ = FaultRules(std::move(rules));
}

DiskCounters FaultModel::counters() {
  const std::scoped_lock lock(mutex_);
  DiskCounters counters = counters_;
  counters.position = log_.position();
  counters.struck = rules_.struck();
  return counters;
}

std::uint64_t FaultModel::mark(std::string_view text) {
  const std::scoped_lock lock(mutex_);
  log_.append(LogKind::mark, 0, 0, text.size(), text);
  return log_.position() - 1;
}

}  // namespace slotkeeper::test
