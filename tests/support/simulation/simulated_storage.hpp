// A machine's storage in memory behind io::Storage: files, directories, mounts and block devices on a VolatileTree. The
// real engine runs on it without root, and a test may take what a power cut would leave at any call.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "partitions/io/storage.hpp"
#include "tests/support/simulated_freeze.hpp"
#include "tests/support/simulation/volatile_tree.hpp"

namespace slotkeeper::test {

/// A mount. Number 0 is the root filesystem.
struct SimulatedMount {
  std::string mount_point = {};
  std::string type = "ext4";
  std::uint64_t magic = 0xEF53;
  std::uint64_t capacity_bytes = 64ull << 20;
  std::uint64_t nodes_max = 10'000;
  bool read_only = false;
  std::uint64_t errors_counted = 0;
};

/// What outlives a program: contents, mounts and the clock. Copies are cheap and independent.
struct SimulatedMachine {
  VolatileTree tree;
  std::vector<SimulatedMount> mounts = {{.mount_point = "/"}};
  io::TimeStamp clock{.seconds = 1'900'000'000, .nanoseconds = 0};
  std::string root_device;  ///< path of the device that the running firmware was started from

  // ---- setting the scene: durable at once --------------------------------------------------------------------------
  NodeNumber add_directory(const std::string& path, std::uint32_t mode = 0755);
  NodeNumber add_mount(const SimulatedMount& mount);
  NodeNumber add_device(const std::string& path, std::uint64_t size_bytes);
  NodeNumber add_file(const std::string& path, io::ConstBytes contents, std::uint32_t mode = 0644);
  [[nodiscard]] const Node& node(const std::string& path) const;

 private:
  NodeNumber add(const std::string& path, Node node);
};

/// A call on its way.
struct SimulatedCall {
  std::string_view operation;
  const std::string& object;
  io::Caller caller;
};

/// One run of a program on a machine. Calls have one order.
class SimulatedStorage final : public io::Storage {
 public:
  explicit SimulatedStorage(SimulatedMachine& machine);
  ~SimulatedStorage() override;

  /// Called before every call takes effect; an error of it is that of the call, which then does nothing.
  std::function<Result<void>(const SimulatedCall&)> before_call;
  /// Called with what a read returns, to falsify or shorten it; returns its length.
  std::function<std::size_t(const SimulatedCall&, std::uint64_t offset, io::Bytes)> after_read;

  /// The machine was switched off and on: nothing is open, locked or frozen.
  void restart() {
    opened_.clear();
    frozen_.clear();
  }
  [[nodiscard]] SimulatedMachine& machine() { return machine_; }

 protected:
  Result<std::unique_ptr<io::File>> do_open_file(const std::string& path, io::OpenMode mode, io::Caller) override;
  Result<std::unique_ptr<io::Directory>> do_open_directory(const std::string& path, io::Caller) override;
  Result<io::EntryStatus> do_status_of(const std::string& path, io::Caller) override;
  Result<io::DeviceIdentity> do_identify(const std::string& path, io::Caller) override;
  Result<std::vector<io::Mount>> do_mounts(io::Caller) override;
  Result<std::string> do_holder_of(const std::string& path, io::Caller) override;
  Result<std::optional<int>> do_lock_holder(const std::string& path, io::Caller) override;
  Result<std::optional<std::uint64_t>> do_filesystem_errors(const std::string& path, io::Caller) override;
  Result<io::StorageHealth> do_health_of(const std::string& path, io::Caller) override;
  Result<std::optional<std::uint64_t>> do_bytes_written(const std::string& path, io::Caller) override;
  Result<io::DeviceIdentity> do_root_device(io::Caller) override;
  Result<std::string> do_kernel_command_line(io::Caller) override;
  Result<std::unique_ptr<io::Freeze>> do_freeze(const std::string& path, std::chrono::milliseconds limit,
                                                io::Caller) override;
  Result<bool> do_thaw(const std::string& path, io::Caller) override;
  Result<std::vector<std::string>> do_lying_on(const std::string& filesystem, const std::vector<std::string>& paths,
                                               io::Caller) override;

 private:
  friend class SimulatedFile;
  friend class SimulatedDirectory;

  struct Opened {
    unsigned int readers = 0;
    unsigned int writers = 0;
    unsigned int shared_locks = 0;
    bool exclusive_lock = false;
    bool claimed = false;  ///< opened exclusively
  };

  [[nodiscard]] Result<void> meet(std::string_view operation, const std::string& object, io::Caller caller);
  [[nodiscard]] Result<NodeNumber> find(const std::string& path, std::string_view call) const;
  [[nodiscard]] Result<io::DeviceIdentity> identity_of(const std::string& path) const;
  [[nodiscard]] io::EntryStatus status_of_node(NodeNumber number) const;
  [[nodiscard]] Result<std::unique_ptr<io::File>> open_node(NodeNumber number, const io::OpenMode& mode,
                                                            const std::string& name);
  /// The filesystem takes so much more; ENOSPC, EROFS, or EDEADLK while it is frozen.
  [[nodiscard]] Result<void> take_change(std::uint32_t filesystem, std::string_view call, const std::string& object,
                                         std::uint64_t bytes = 0, std::uint64_t nodes = 0);
  void release_if_unused(NodeNumber number);

  SimulatedMachine& machine_;
  std::map<NodeNumber, Opened> opened_;
  FrozenPaths frozen_;
};

}  // namespace slotkeeper::test
