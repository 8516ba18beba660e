// The door to real storage.
#include <fcntl.h>
#include <sys/stat.h>

#include "partitions/io/posix_call.hpp"
#include "partitions/io/posix_device_facts.hpp"
#include "partitions/io/posix_freeze.hpp"
#include "partitions/io/storage.hpp"

namespace slotkeeper::io {
namespace {

class PosixStorage final : public Storage {
 protected:
  Result<std::unique_ptr<File>> do_open_file(const std::string& path, OpenMode mode, Caller) override {
    return open_posix_file(AT_FDCWD, path, 0, mode, path);
  }

  Result<std::unique_ptr<Directory>> do_open_directory(const std::string& path, Caller) override {
    Descriptor opened = open_at(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0);
    if (!opened.is_open()) return call_failed("open", path, errno);
    return make_posix_directory(std::move(opened), path);
  }

  Result<EntryStatus> do_status_of(const std::string& path, Caller) override {
    struct stat facts {};
    if (::stat(path.c_str(), &facts) != 0) return call_failed("stat", path, errno);
    return entry_status(facts);
  }

  Result<DeviceIdentity> do_identify(const std::string& path, Caller) override { return identify_device(*this, path); }
  Result<std::vector<Mount>> do_mounts(Caller) override { return read_mounts(*this); }
  Result<std::string> do_holder_of(const std::string& path, Caller) override { return find_holder(*this, path); }
  Result<std::optional<int>> do_lock_holder(const std::string& path, Caller) override {
    return find_lock_holder(*this, path);
  }
  Result<std::optional<std::uint64_t>> do_filesystem_errors(const std::string& path, Caller) override {
    return read_filesystem_errors(*this, path);
  }
  Result<StorageHealth> do_health_of(const std::string& path, Caller) override { return read_health(*this, path); }
  Result<std::optional<std::uint64_t>> do_bytes_written(const std::string& path, Caller) override {
    return read_bytes_written(*this, path);
  }
  Result<DeviceIdentity> do_root_device(Caller) override { return find_root_device(*this); }
  Result<std::string> do_kernel_command_line(Caller) override {
    constexpr std::size_t kLimitBytes = 65536;  // no architecture allows more
    return read_text("/proc/cmdline", kLimitBytes);
  }
  Result<std::unique_ptr<Freeze>> do_freeze(const std::string& path, std::chrono::milliseconds limit, Caller) override {
    return freeze_filesystem(*this, path, limit);
  }
  Result<bool> do_thaw(const std::string& path, Caller) override { return thaw_filesystem(path); }
  Result<std::vector<std::string>> do_lying_on(const std::string& filesystem, const std::vector<std::string>& paths,
                                               Caller) override {
    return find_lying_on(*this, filesystem, paths);
  }
};

}  // namespace

std::unique_ptr<Storage> make_posix_storage() { return std::make_unique<PosixStorage>(); }

}  // namespace slotkeeper::io
