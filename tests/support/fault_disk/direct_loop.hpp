// A loop device with direct I/O: without it the page cache between filesystem and file hides what a fault disk does.
#pragma once

#include <string>

namespace slotkeeper::test {

/// Attached for as long as the object lives and something has it open; the kernel takes it away by itself then, also
/// when the process is killed. Throws std::runtime_error.
class DirectLoop {
 public:
  enum class Access { direct, cached };
  explicit DirectLoop(const std::string& file, Access access = Access::direct);
  DirectLoop(const DirectLoop&) = delete;
  DirectLoop& operator=(const DirectLoop&) = delete;
  ~DirectLoop();

  [[nodiscard]] const std::string& path() const { return path_; }  ///< "/dev/loop3"
  [[nodiscard]] int descriptor() const { return device_; }

 private:
  bool try_attach(int file, Access access);

  std::string path_;
  int device_ = -1;
};

/// A mount that is undone with the object, by system calls alone (a sweep does it thousands of times).
class PlainMount {
 public:
  /// Makes the mount point. Throws std::runtime_error.
  PlainMount(const std::string& device, const std::string& mount_point, const std::string& options = "",
             const std::string& type = "ext4");
  PlainMount(const PlainMount&) = delete;
  PlainMount& operator=(const PlainMount&) = delete;
  ~PlainMount();

  [[nodiscard]] const std::string& path() const { return mount_point_; }

 private:
  std::string mount_point_;
};

/// Gives this process mounts of its own: they vanish with it and its children, however it ends. Call once, early.
void enter_private_mounts();

}  // namespace slotkeeper::test
