// efivarfs in memory behind io::Storage: a write sets a whole variable, syncs are refused, most files are immutable.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "partitions/io/storage.hpp"

namespace slotkeeper::test {

class EfiVariablesInMemory final : public io::Storage {
 public:
  using Contents = std::map<std::string, std::vector<std::byte>>;  ///< file name -> attributes and data

  static constexpr const char* kPath = "/sys/firmware/efi/efivars";

  Contents variables;
  std::set<std::string> immutable;  ///< chattr +i, as Linux sets it on variables it does not know
  std::vector<Contents> history;    ///< after every change
  bool ignores_changes = false;     ///< a firmware that says yes and does nothing

 protected:
  Result<std::unique_ptr<io::File>> do_open_file(const std::string& path, io::OpenMode mode, io::Caller) override;
  Result<std::unique_ptr<io::Directory>> do_open_directory(const std::string& path, io::Caller) override;
  Result<io::EntryStatus> do_status_of(const std::string&, io::Caller) override;
  Result<io::DeviceIdentity> do_identify(const std::string&, io::Caller) override;
  Result<std::vector<io::Mount>> do_mounts(io::Caller) override;
  Result<std::string> do_holder_of(const std::string&, io::Caller) override;
  Result<std::optional<int>> do_lock_holder(const std::string&, io::Caller) override;
  Result<std::optional<std::uint64_t>> do_filesystem_errors(const std::string&, io::Caller) override;
  Result<io::StorageHealth> do_health_of(const std::string&, io::Caller) override;
  Result<std::optional<std::uint64_t>> do_bytes_written(const std::string&, io::Caller) override;
  Result<io::DeviceIdentity> do_root_device(io::Caller) override;
  Result<std::string> do_kernel_command_line(io::Caller) override;
  Result<std::unique_ptr<io::Freeze>> do_freeze(const std::string&, std::chrono::milliseconds, io::Caller) override;
  Result<bool> do_thaw(const std::string&, io::Caller) override;
  Result<std::vector<std::string>> do_lying_on(const std::string&, const std::vector<std::string>&,
                                               io::Caller) override;
};

}  // namespace slotkeeper::test
