// Storage that fails where a test tells it to: a decorator around any io::Storage and every file and directory it
// opens.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "partitions/io/storage.hpp"

namespace slotkeeper::test {

/// One place in the code that makes one kind of call, e.g. {"partitions/state_store.cpp", 120, "write_at"}. Operations
/// are named like the functions of the interface; a write handed to `submit` counts as "submit" for itself.
struct CallSite {
  std::string file;
  unsigned int line = 0;
  std::string operation;
  auto operator<=>(const CallSite&) const = default;
};

/// Lets the n-th call that matches fail, without carrying it out (a close excepted). Empty fields match everything.
struct Fault {
  std::string file;  ///< end of the caller's file name, e.g. "state_store.cpp"
  unsigned int line = 0;
  std::string operation;
  std::uint64_t nth = 1;    ///< counted from 1 since the fault was set
  int os_errno = 5;         ///< EIO; a failed sync is sync_failed whatever this is
  bool persistent = false;  ///< every matching call after it fails, too
};

/// Must outlive what it opened. May be used by several threads.
class FaultStorage final : public io::Storage {
 public:
  class Plan;

  explicit FaultStorage(io::Storage& real);
  ~FaultStorage() override;

  void set(const Fault& fault);
  /// Call number `call` (from 1, of all) is the last that is carried out; later ones are internal "power cut".
  void cut_power_after(std::uint64_t call);
  /// Turns over bit `bit` (modulo what was read) in the result of the n-th `read_at` from now, counted from 1.
  void flip_bit_in_read(std::uint64_t nth, std::uint64_t bit);
  /// Freezes are simulated from now on, also where the real filesystem cannot be frozen: what would change anything on
  /// a frozen one fails with EDEADLK and is counted in `writes_while_frozen`. A power cut leaves it frozen, as the
  /// death of engine and freezer does.
  void simulate_freezes();
  [[nodiscard]] std::uint64_t writes_while_frozen() const;
  [[nodiscard]] std::uint64_t freezes() const;
  [[nodiscard]] bool is_frozen() const;
  void thaw_all();  ///< as a restart of the machine does

  /// Forgets faults and counts.
  void reset();

  [[nodiscard]] std::uint64_t calls() const;
  [[nodiscard]] std::map<CallSite, std::uint64_t> calls_by_site() const;
  /// How many calls were failed, cut or falsified: a sweep asserts that its fault was met.
  [[nodiscard]] std::uint64_t faults_met() const;
  /// Operation that a fault made fail last; empty when none was met.
  [[nodiscard]] std::string last_failed_operation() const;
  /// What it was about: the path of the file, as it was opened.
  [[nodiscard]] std::string last_failed_object() const;

 protected:
  Result<std::unique_ptr<io::File>> do_open_file(const std::string& path, io::OpenMode mode,
                                                 io::Caller caller) override;
  Result<std::unique_ptr<io::Directory>> do_open_directory(const std::string& path, io::Caller caller) override;
  Result<io::EntryStatus> do_status_of(const std::string& path, io::Caller caller) override;
  Result<io::DeviceIdentity> do_identify(const std::string& path, io::Caller caller) override;
  Result<std::vector<io::Mount>> do_mounts(io::Caller caller) override;
  Result<std::string> do_holder_of(const std::string& path, io::Caller caller) override;
  Result<std::optional<int>> do_lock_holder(const std::string& path, io::Caller caller) override;
  Result<std::optional<std::uint64_t>> do_filesystem_errors(const std::string& path, io::Caller caller) override;
  Result<io::StorageHealth> do_health_of(const std::string& path, io::Caller caller) override;
  Result<std::optional<std::uint64_t>> do_bytes_written(const std::string& path, io::Caller caller) override;
  Result<io::DeviceIdentity> do_root_device(io::Caller caller) override;
  Result<std::string> do_kernel_command_line(io::Caller caller) override;
  Result<std::unique_ptr<io::Freeze>> do_freeze(const std::string& path, std::chrono::milliseconds limit,
                                                io::Caller caller) override;
  Result<bool> do_thaw(const std::string& path, io::Caller caller) override;
  Result<std::vector<std::string>> do_lying_on(const std::string& filesystem, const std::vector<std::string>& paths,
                                               io::Caller caller) override;

 private:
  io::Storage& real_;
  std::unique_ptr<Plan> plan_;
};

}  // namespace slotkeeper::test
