// Real block devices and filesystems for tests that run as root.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace slotkeeper::test {

/// Whether this process may make loop devices and mount; tests that need it skip themselves otherwise.
[[nodiscard]] bool may_mount();

/// Runs a program of the system with its arguments; throws with its output when it fails. Returns standard output.
std::string run_tool(const std::vector<std::string>& command,
                     std::chrono::milliseconds limit = std::chrono::minutes(1));

/// A loop device over a file, detached with the object.
class LoopDevice {
 public:
  /// `file` must exist. With `partitions` the kernel looks for a partition table.
  explicit LoopDevice(const std::string& file, bool partitions = false);
  LoopDevice(const LoopDevice&) = delete;
  LoopDevice& operator=(const LoopDevice&) = delete;
  ~LoopDevice();

  [[nodiscard]] const std::string& path() const { return path_; }  ///< "/dev/loop3"

 private:
  std::string path_;
};

/// Mounts a device for as long as the object lives. Makes the mount point.
class MountedFilesystem {
 public:
  MountedFilesystem(const std::string& device, const std::string& mount_point, const std::string& options = "");
  MountedFilesystem(const MountedFilesystem&) = delete;
  MountedFilesystem& operator=(const MountedFilesystem&) = delete;
  ~MountedFilesystem();

  [[nodiscard]] const std::string& path() const { return mount_point_; }

 private:
  std::string mount_point_;
};

/// Makes a file of this size, with an ext4 filesystem in it (blocks of 1 KiB, so that it may be tiny).
void make_file(const std::string& path, std::uint64_t size_bytes);
void make_ext4(const std::string& path, std::uint64_t size_bytes, unsigned int reserved_percent = 0);

}  // namespace slotkeeper::test
