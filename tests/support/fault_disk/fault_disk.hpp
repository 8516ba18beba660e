// A disk that fails on demand: slotkeeper_fault_disk serves files, direct loop devices make block devices of them.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

#include "tests/support/fault_disk/control.hpp"
#include "tests/support/fault_disk/direct_loop.hpp"
#include "tests/support/temporary_directory.hpp"

namespace slotkeeper::test {

/// Needs root. Everything is taken away with the object; if the process is killed instead, the server sees it and the
/// mounts go with the process (`enter_private_mounts`). Throws std::runtime_error where the rig fails.
class FaultDisk {
 public:
  struct Disk {
    std::string name;
    std::string image;  ///< what is on it at first; copied
  };
  /// Each disk has a cache of its own: a flush of one says nothing of the others. One log for all of them.
  explicit FaultDisk(const std::vector<Disk>& disks);
  FaultDisk(const FaultDisk&) = delete;
  FaultDisk& operator=(const FaultDisk&) = delete;
  ~FaultDisk();

  [[nodiscard]] const std::string& path(const std::string& disk) const;   ///< the block device
  [[nodiscard]] std::string file(const std::string& disk) const;          ///< the file that FUSE serves
  [[nodiscard]] std::string backing_file(const std::string& disk) const;  ///< what reached it, seen past all faults
  [[nodiscard]] std::string log_file() const { return folder_ / "log"; }

  /// Replaces all rules at once; takes effect before it returns.
  void set_rules(const std::vector<FaultRule>& rules);
  void heal() { set_rules({}); }
  [[nodiscard]] DiskCounters counters();
  /// Makes the kernel forget what it has read of the devices: nothing must be mounted.
  void forget_caches();
  /// Puts a mark into the log and returns its position.
  std::uint64_t mark(const std::string& text);

 private:
  void start_server(const std::vector<Disk>& disks);
  void stop_server();

  TemporaryDirectory folder_;
  pid_t server_ = -1;
  std::optional<ControlConnection> control_;
  std::map<std::string, std::unique_ptr<DirectLoop>> loops_;
};

}  // namespace slotkeeper::test
