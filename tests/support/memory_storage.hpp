// Files and devices in memory behind io::Storage, with power cuts and faults. What a test needs to cut the power at
// every write, look at what a crash may leave, and go on. It has no directory tree: paths are plain keys.
#pragma once

#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "partitions/io/storage.hpp"
#include "tests/support/simulated_freeze.hpp"

namespace slotkeeper::test {

/// One file or device. `contents` is what a read sees; `durable` is what a crash surely leaves.
struct MemoryNode {
  struct Write {
    std::uint64_t offset = 0;
    std::vector<std::byte> data;
  };

  bool is_block_device = false;
  std::uint64_t number = 0;  ///< inode of a file, device number of a device
  std::vector<std::byte> contents;
  std::vector<std::byte> durable;
  std::vector<Write> unflushed;  ///< in the order in which they were made
  io::FileLayout layout;         ///< what `layout` answers; nothing is known unless a test says so
  bool is_locked = false;
  bool is_claimed = false;  ///< opened exclusively
};

/// What goes wrong, counted from 1 over all calls that change something (writes, zeros, resizes, syncs).
struct MemoryFaults {
  std::uint64_t cut_at_change = 0;  ///< the power goes before this change takes effect; later calls all fail
  std::uint64_t fail_sync = 0;      ///< this sync returns EIO, and what it should have covered stays unflushed
  std::uint64_t flip_in_write = 0;  ///< this write stores its first byte with one bit flipped
  std::uint64_t fail_write = 0;     ///< this write returns EIO and changes nothing
  bool without_direct_io = false;   ///< direct opens fail with EINVAL
};

class MemoryStorage final : public io::Storage {
 public:
  MemoryNode& add_file(const std::string& path, std::uint64_t size_bytes);
  MemoryNode& add_device(const std::string& path, std::uint64_t size_bytes);
  void add_symlink(const std::string& path, const std::string& target) { symlinks_[path] = target; }
  [[nodiscard]] bool exists(const std::string& path) const { return nodes_.count(path) != 0; }
  [[nodiscard]] MemoryNode& node(const std::string& path) { return *nodes_.at(path); }

  /// Starts counting anew.
  void plan_faults(const MemoryFaults& plan);
  [[nodiscard]] std::uint64_t changes() const { return changes_; }
  [[nodiscard]] std::uint64_t writes() const { return writes_; }
  [[nodiscard]] std::uint64_t syncs() const { return syncs_; }
  [[nodiscard]] bool power_is_cut() const { return power_is_cut_; }

  /// Power comes back: of the unflushed writes a random part has reached the medium, in any order, torn between
  /// sectors of 512 bytes. Locks and claims are gone; files opened before answer nothing any more. No faults are
  /// planned.
  void crash(std::uint64_t seed);

  // Answers to the questions about the machine.
  std::string command_line;
  io::DeviceIdentity root;
  std::vector<io::Mount> mount_table;
  std::map<std::string, std::string> holders;               ///< path to who holds it
  std::map<std::string, std::vector<std::string>> backing;  ///< of paths, instead of their own
  std::map<std::string, io::SpaceFacts> space;              ///< of the filesystem of a directory
  std::map<std::string, std::uint64_t> errors_counted;      ///< by the filesystem of a path
  std::map<std::string, io::StorageHealth> health;          ///< of paths
  std::map<std::string, std::uint64_t> written;             ///< bytes that the device below a path has taken
  std::map<std::string, std::uint64_t> filesystem_of;       ///< device number that status_of reports for a path
  std::vector<std::string> on_frozen_filesystem;            ///< what `lying_on` finds

 protected:
  Result<std::unique_ptr<io::File>> do_open_file(const std::string& path, io::OpenMode mode, io::Caller) override;
  Result<std::unique_ptr<io::Directory>> do_open_directory(const std::string& path, io::Caller) override;
  Result<io::EntryStatus> do_status_of(const std::string& path, io::Caller) override;
  Result<io::DeviceIdentity> do_identify(const std::string& path, io::Caller) override;
  Result<std::vector<io::Mount>> do_mounts(io::Caller) override { return mount_table; }
  Result<std::string> do_holder_of(const std::string& path, io::Caller) override;
  Result<std::optional<int>> do_lock_holder(const std::string& path, io::Caller) override;
  Result<std::optional<std::uint64_t>> do_filesystem_errors(const std::string& path, io::Caller) override;
  Result<io::StorageHealth> do_health_of(const std::string& path, io::Caller) override;
  Result<std::optional<std::uint64_t>> do_bytes_written(const std::string& path, io::Caller) override;
  Result<io::DeviceIdentity> do_root_device(io::Caller) override { return root; }
  Result<std::string> do_kernel_command_line(io::Caller) override { return command_line; }
  Result<std::unique_ptr<io::Freeze>> do_freeze(const std::string& path, std::chrono::milliseconds limit,
                                                io::Caller) override;
  Result<bool> do_thaw(const std::string& path, io::Caller) override;
  Result<std::vector<std::string>> do_lying_on(const std::string&, const std::vector<std::string>&,
                                               io::Caller) override {
    return on_frozen_filesystem;
  }

 private:
  friend class MemoryFile;
  friend class MemoryDirectory;

  [[nodiscard]] Result<MemoryNode*> find(const std::string& path);
  MemoryNode& add(const std::string& path, std::uint64_t size_bytes, bool is_block_device);
  /// Counts a change and says whether the power is still there.
  [[nodiscard]] Result<void> begin_change();
  [[nodiscard]] Result<void> check_power() const;

  std::map<std::string, std::unique_ptr<MemoryNode>> nodes_;
  std::map<std::string, std::string> symlinks_;
  MemoryFaults plan_;
  std::uint64_t changes_ = 0;
  std::uint64_t writes_ = 0;
  std::uint64_t syncs_ = 0;
  std::uint64_t boot_ = 0;  ///< files remember in which boot they were opened
  std::uint64_t numbers_ = 0;
  bool power_is_cut_ = false;
  FrozenPaths frozen_;
};

}  // namespace slotkeeper::test
