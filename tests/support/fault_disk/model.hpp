// The disks that a fault disk server serves: real files behind them, the rules applied, every call logged in the order
// in which it was served. A write is seen by later reads at once, as from a disk's cache; what a power cut takes of it
// is decided later, from the log.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "tests/support/fault_disk/log.hpp"
#include "tests/support/fault_disk/rules.hpp"

namespace slotkeeper::test {

struct DiskCounters {
  std::uint64_t position = 0;  ///< records in the log
  std::uint64_t reads = 0;
  std::uint64_t writes = 0;
  std::uint64_t flushes = 0;
  std::uint64_t discards = 0;
  std::vector<std::uint64_t> struck;  ///< by rule, how often
};

/// One call after the other; any thread may call. Returns are 0 or an errno. Throws std::runtime_error where the rig
/// itself fails (backing file or log).
class FaultModel {
 public:
  struct Disk {
    std::string name;
    std::string backing_file;
  };
  FaultModel(const std::vector<Disk>& disks, const std::string& log);
  FaultModel(const FaultModel&) = delete;
  FaultModel& operator=(const FaultModel&) = delete;
  ~FaultModel();

  [[nodiscard]] std::size_t disk_count() const { return disks_.size(); }
  [[nodiscard]] const std::string& name_of(std::size_t disk) const { return disks_.at(disk).name; }
  [[nodiscard]] std::uint64_t size_of(std::size_t disk) const { return disks_.at(disk).size_bytes; }

  [[nodiscard]] int read(std::size_t disk, std::uint64_t offset, std::string& into);  ///< fills `into`, may shorten it
  [[nodiscard]] int write(std::size_t disk, std::uint64_t offset, std::string_view data);
  [[nodiscard]] int discard(std::size_t disk, std::uint64_t offset, std::uint64_t length);
  [[nodiscard]] int flush(std::size_t disk);

  /// Takes effect with the next call; counting begins anew.
  void set_rules(std::vector<FaultRule> rules);
  [[nodiscard]] DiskCounters counters();
  /// The position of the mark in the log.
  std::uint64_t mark(std::string_view text);

 private:
  struct OpenDisk {
    std::string name;
    int file = -1;
    std::uint64_t size_bytes = 0;
  };
  std::optional<FaultRule> decide(DiskCall call, std::size_t disk, std::uint64_t offset, std::uint64_t length);
  void arrive(std::size_t disk, std::uint64_t offset, std::string_view data);
  int refuse(std::size_t disk, std::uint64_t offset, std::uint64_t length, int error_number);

  std::mutex mutex_;
  std::vector<OpenDisk> disks_;
  DiskLogWriter log_;
  FaultRules rules_;
  DiskCounters counters_;
};

}  // namespace slotkeeper::test
