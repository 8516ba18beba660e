// The door to storage: opens files, devices and directories by absolute path, and answers questions about devices.
// Everything above is written against this interface; tests put a simulated disk behind it.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "partitions/io/directory.hpp"
#include "partitions/io/file.hpp"
#include "partitions/io/freeze.hpp"

namespace slotkeeper::io {

/// What a path stands for, looked through partitions, dm, md, loop and overlay down to where the bytes lie.
struct DeviceIdentity {
  bool is_block_device = false;
  std::uint64_t device = 0;       ///< number of the block device itself; 0 for a file
  std::uint64_t file_device = 0;  ///< for a file: filesystem and inode it is
  std::uint64_t file_inode = 0;
  /// Everything it lies on, itself included, as "block MAJOR:MINOR" or "file DEVICE:INODE"; whole disks are left out,
  /// so two partitions of one disk share nothing. A file ends the search: two files of one filesystem share nothing.
  /// A directory has the devices that carry its filesystem.
  std::vector<std::string> backing;

  [[nodiscard]] bool overlaps(const DeviceIdentity& other) const;  ///< shares a member of `backing`
};

/// One mount as the kernel lists it.
struct Mount {
  std::string mount_point;
  std::string filesystem;  ///< type, e.g. "ext4"
  std::string source;
  std::uint64_t device = 0;
  bool read_only = false;
};

/// What a whole disk tells about its wear; nothing where it has no such figure.
struct DiskWear {
  std::string disk;  ///< as the kernel calls it, "mmcblk0"
  /// eMMC DEVICE_LIFE_TIME_EST, the worse of its two: 1 for up to 10 % of the life used, ... 10 for 90 to 100 %, 11 for
  /// beyond.
  std::optional<std::uint32_t> life_time;
  /// eMMC PRE_EOL_INFO: 1 normal, 2 for 80 % of the spare blocks used, 3 for 90 %.
  std::optional<std::uint32_t> pre_eol;
};

/// What the kernel knows about the state of the storage below a path.
struct StorageHealth {
  std::vector<DiskWear> disks;         ///< whole disks that carry it, each once, those without figures included
  std::vector<std::string> read_only;  ///< what cannot be written: "ext4 at /mnt", "mmcblk0p3"
};

/// Errors: io_error with os_errno; not found is ENOENT there.
class Storage {
 public:
  Storage() = default;
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;
  virtual ~Storage() = default;

  [[nodiscard]] Result<std::unique_ptr<File>> open_file(const std::string& path, OpenMode mode,
                                                        Caller caller = Caller::current()) {
    return do_open_file(path, mode, caller);
  }
  [[nodiscard]] Result<std::unique_ptr<Directory>> open_directory(const std::string& path,
                                                                  Caller caller = Caller::current()) {
    return do_open_directory(path, caller);
  }
  /// A small text file in full, e.g. a configuration or a file of /proc. Longer than `limit_bytes` is an error.
  [[nodiscard]] Result<std::string> read_text(const std::string& path, std::size_t limit_bytes,
                                              Caller caller = Caller::current());
  [[nodiscard]] Result<EntryStatus> status_of(const std::string& path, Caller caller = Caller::current()) {
    return do_status_of(path, caller);  // follows symbolic links
  }
  [[nodiscard]] Result<DeviceIdentity> identify(const std::string& path, Caller caller = Caller::current()) {
    return do_identify(path, caller);
  }
  [[nodiscard]] Result<std::vector<Mount>> mounts(Caller caller = Caller::current()) { return do_mounts(caller); }
  /// Who holds a device or file so that it must not be written: "mounted at /mnt", "held by dm-0", "swap"; empty:
  /// nobody. Looks at the loop devices over a file and at the partitions of a disk, too.
  [[nodiscard]] Result<std::string> holder_of(const std::string& path, Caller caller = Caller::current()) {
    return do_holder_of(path, caller);
  }
  /// The process that holds an exclusive advisory lock (flock) on the file; nothing when nobody does.
  [[nodiscard]] Result<std::optional<int>> lock_holder(const std::string& path, Caller caller = Caller::current()) {
    return do_lock_holder(path, caller);
  }
  /// Errors that the filesystem on which `path` lies has counted (ext4 errors_count); nothing where it keeps no count.
  [[nodiscard]] Result<std::optional<std::uint64_t>> filesystem_errors(const std::string& path,
                                                                       Caller caller = Caller::current()) {
    return do_filesystem_errors(path, caller);
  }
  /// Wear and read-only state of what carries `path` (directory, file or block device), looked through partitions, dm,
  /// md and loop down to whole disks. Nothing in it for a filesystem in memory.
  [[nodiscard]] Result<StorageHealth> health_of(const std::string& path, Caller caller = Caller::current()) {
    return do_health_of(path, caller);
  }
  /// Bytes written, since it exists, to the block device that carries `path`, by anybody; nothing where there is no
  /// such device. What still lies in the page cache is not in it.
  [[nodiscard]] Result<std::optional<std::uint64_t>> bytes_written(const std::string& path,
                                                                   Caller caller = Caller::current()) {
    return do_bytes_written(path, caller);
  }
  /// The identity of the device that carries the root filesystem, looked through overlay (lower layers only; `device`
  /// is that of the lowest). Nothing in `backing` when the kernel does not tell, e.g. for a root in memory.
  [[nodiscard]] Result<DeviceIdentity> root_device(Caller caller = Caller::current()) { return do_root_device(caller); }
  [[nodiscard]] Result<std::string> kernel_command_line(Caller caller = Caller::current()) {
    return do_kernel_command_line(caller);
  }
  /// Holds the filesystem of this directory still until `limit` after the call or until `thaw`, whichever comes first.
  /// Flush before: what is dirty is written while everybody waits. Not durable: a restart ends a freeze.
  /// On crash of this process alone: the freezer thaws at once. Of both: `thaw`.
  /// Errors: io_error with EOPNOTSUPP (the filesystem cannot), EBUSY (frozen already), EPERM, ETIMEDOUT (it took longer
  /// than `limit`), ENOMEM or EAGAIN (no process could be had): nothing is frozen then. Others: what the kernel met.
  [[nodiscard]] Result<std::unique_ptr<Freeze>> freeze(const std::string& path, std::chrono::milliseconds limit,
                                                       Caller caller = Caller::current()) {
    return do_freeze(path, limit, caller);
  }
  /// Ends a freeze that was left behind. True when the filesystem of this directory was frozen.
  [[nodiscard]] Result<bool> thaw(const std::string& path, Caller caller = Caller::current()) {
    return do_thaw(path, caller);
  }
  /// Which of these paths, and of what this process has open, runs from and stands in, lies on the filesystem of the
  /// directory `filesystem`, or on a device over a file there: a freeze would stop whoever writes to it. In words;
  /// empty: none. Paths that do not exist are passed over.
  [[nodiscard]] Result<std::vector<std::string>> lying_on(const std::string& filesystem,
                                                          const std::vector<std::string>& paths,
                                                          Caller caller = Caller::current()) {
    return do_lying_on(filesystem, paths, caller);
  }

 protected:
  virtual Result<std::unique_ptr<File>> do_open_file(const std::string& path, OpenMode mode, Caller caller) = 0;
  virtual Result<std::unique_ptr<Directory>> do_open_directory(const std::string& path, Caller caller) = 0;
  virtual Result<EntryStatus> do_status_of(const std::string& path, Caller caller) = 0;
  virtual Result<DeviceIdentity> do_identify(const std::string& path, Caller caller) = 0;
  virtual Result<std::vector<Mount>> do_mounts(Caller caller) = 0;
  virtual Result<std::string> do_holder_of(const std::string& path, Caller caller) = 0;
  virtual Result<std::optional<int>> do_lock_holder(const std::string& path, Caller caller) = 0;
  virtual Result<std::optional<std::uint64_t>> do_filesystem_errors(const std::string& path, Caller caller) = 0;
  virtual Result<StorageHealth> do_health_of(const std::string& path, Caller caller) = 0;
  virtual Result<std::optional<std::uint64_t>> do_bytes_written(const std::string& path, Caller caller) = 0;
  virtual Result<DeviceIdentity> do_root_device(Caller caller) = 0;
  virtual Result<std::string> do_kernel_command_line(Caller caller) = 0;
  virtual Result<std::unique_ptr<Freeze>> do_freeze(const std::string& path, std::chrono::milliseconds limit,
                                                    Caller caller) = 0;
  virtual Result<bool> do_thaw(const std::string& path, Caller caller) = 0;
  virtual Result<std::vector<std::string>> do_lying_on(const std::string& filesystem,
                                                       const std::vector<std::string>& paths, Caller caller) = 0;
};

/// The real thing.
[[nodiscard]] std::unique_ptr<Storage> make_posix_storage();

}  // namespace slotkeeper::io
