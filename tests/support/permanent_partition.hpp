// A permanent partition for tests: real ext4 on a loop device, or a plain folder where that is enough.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "partitions/io/storage.hpp"
#include "partitions/permanent/classes.hpp"
#include "tests/support/file_contents.hpp"
#include "tests/support/loop_device.hpp"
#include "tests/support/temporary_directory.hpp"

namespace slotkeeper::test {

/// state/** state, log/** and **/*.log logs, spool/** disposable, all else configuration.
[[nodiscard]] permanent::ClassTable usual_classes();
/// Whether these classes restore this path (kOwnDirectory and lost+found are nobody's).
[[nodiscard]] bool is_restored(const std::string& path);

struct Ext4Options {
  std::uint64_t size_bytes = 16u << 20;
  std::uint64_t block_bytes = 1024;
  std::uint64_t inodes = 0;  ///< 0: what mkfs.ext4 thinks right
  unsigned int reserved_percent = 0;
  unsigned int inode_bytes = 256;
  std::string features = {};  ///< as mkfs.ext4 -O takes them
};

/// Another filesystem, made by its own mkfs with these further arguments.
struct OtherFilesystem {
  std::string name;  ///< "xfs", "btrfs"
  std::uint64_t size_bytes = 0;
  std::vector<std::string> arguments = {};
};

class PermanentPartition {
 public:
  explicit PermanentPartition(const Ext4Options& options = {});
  explicit PermanentPartition(const OtherFilesystem& other);

  [[nodiscard]] const std::string& path() const { return mount_->path(); }
  [[nodiscard]] std::string operator/(const std::string& name) const { return path() + "/" + name; }
  [[nodiscard]] io::Storage& storage() { return *storage_; }
  [[nodiscard]] std::unique_ptr<io::Directory> open();
  [[nodiscard]] std::string image() const { return folder_ / "image"; }
  /// The partition as the next boot finds it if the power goes now: what has reached the device, and nothing of what is
  /// still in caches. Mounted for as long as the object lives, at most until this one goes.
  [[nodiscard]] std::unique_ptr<PermanentPartition> after_power_cut() const;

 private:
  struct ImageOf {
    std::string path;
    std::string mount_options;
  };
  explicit PermanentPartition(const ImageOf& original);

  TemporaryDirectory folder_;
  std::string copy_options_;  ///< with which a copy of this filesystem may be mounted beside it
  std::optional<LoopDevice> device_;
  std::optional<MountedFilesystem> mount_;
  std::unique_ptr<io::Storage> storage_;
};

// All of these throw when the system refuses.
void put_file(const std::string& path, const std::string& contents);
void append_file(const std::string& path, const std::string& contents);
void put_attribute(const std::string& path, const std::string& name, const std::string& value);
void drop_attribute(const std::string& path, const std::string& name);
void put_time(const std::string& path, std::int64_t seconds, std::int64_t nanoseconds);
/// Bytes that repeat nowhere and do not compress.
[[nodiscard]] std::string noise(std::size_t size, std::uint64_t seed);
/// Fill the filesystem with files in an existing folder until not a byte, or not an inode, is left.
void fill_bytes(const std::string& folder);
void fill_inodes(const std::string& folder);
/// Whether not even root can write one more block into this file (ext4 shows blocks as free that nobody gets).
[[nodiscard]] bool is_full(const std::string& file);

/// Files of every sort, in the classes of `usual_classes`.
void make_zoo(const std::string& root);

}  // namespace slotkeeper::test
