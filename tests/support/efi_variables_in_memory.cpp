#include "tests/support/efi_variables_in_memory.hpp"

#include <algorithm>
#include <cerrno>

namespace slotkeeper::test {
namespace {

Error refused(int os_errno, const std::string& what) { return make_error(Errc::io_error, what, os_errno); }
Error unknown() { return refused(EOPNOTSUPP, "efivarfs in memory does not have this"); }

class VariableFile final : public io::File {
 public:
  VariableFile(EfiVariablesInMemory& storage, std::string name) : storage_(storage), name_(std::move(name)) {}
  [[nodiscard]] const std::string& name() const override { return name_; }

 protected:
  Result<std::size_t> do_read_at(std::uint64_t offset, io::Bytes into, io::Caller) override {
    const auto& bytes = storage_.variables.at(name_);
    if (offset >= bytes.size()) return std::size_t{0};
    const std::size_t count = std::min(into.size(), bytes.size() - static_cast<std::size_t>(offset));
    std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(offset), count, into.begin());
    return count;
  }
  // The offset means nothing to efivarfs; a variable without data is removed.
  Result<void> do_write_at(std::uint64_t, io::ConstBytes data, io::Caller) override {
    if (data.size() < 4) return refused(EINVAL, name_);
    if (storage_.ignores_changes) return success();
    if (data.size() == 4) {
      storage_.variables.erase(name_);
    } else {
      storage_.variables[name_].assign(data.begin(), data.end());
    }
    storage_.history.push_back(storage_.variables);
    return success();
  }
  Result<void> do_submit(std::span<const io::WriteRequest>, io::Caller) override { return unknown(); }
  Result<std::vector<io::WriteCompletion>> do_reap(std::size_t, io::Caller) override { return unknown(); }
  Result<void> do_sync(io::Caller) override { return refused(EINVAL, name_).with_code(Errc::sync_failed); }
  Result<std::uint64_t> do_size(io::Caller) override { return std::uint64_t{storage_.variables.at(name_).size()}; }
  Result<io::EntryStatus> do_status(io::Caller) override { return io::EntryStatus{}; }
  Result<void> do_resize(std::uint64_t, io::Caller) override { return unknown(); }
  Result<void> do_allocate(std::uint64_t, std::uint64_t, io::Caller) override { return unknown(); }
  Result<void> do_zero(std::uint64_t, std::uint64_t, io::Caller) override { return unknown(); }
  Result<void> do_discard(std::uint64_t, std::uint64_t, io::Caller) override { return unknown(); }
  Result<io::ReadBackLevel> do_drop_cache(io::Caller) override { return unknown(); }
  Result<bool> do_try_lock(io::LockKind, io::Caller) override { return unknown(); }
  Result<bool> do_try_lease(io::LeaseKind, io::Caller) override { return unknown(); }
  Result<void> do_set_attributes(const io::Attributes&, io::Caller) override { return unknown(); }
  Result<std::vector<io::ExtendedAttribute>> do_extended_attributes(io::Caller) override { return unknown(); }
  Result<void> do_set_extended_attribute(const io::ExtendedAttribute&, io::Caller) override { return unknown(); }
  Result<void> do_remove_extended_attribute(const std::string&, io::Caller) override { return unknown(); }
  Result<void> do_close(io::Caller) override { return success(); }

 private:
  EfiVariablesInMemory& storage_;
  std::string name_;
};

class VariableDirectory final : public io::Directory {
 public:
  explicit VariableDirectory(EfiVariablesInMemory& storage) : storage_(storage) {}
  [[nodiscard]] const std::string& name() const override { return name_; }

 protected:
  using Text = const std::string&;
  Result<std::unique_ptr<io::File>> do_open_file(Text path, io::OpenMode mode, io::Caller) override {
    const bool exists = storage_.variables.count(path) != 0;
    if (mode.create == io::OpenMode::Create::must_create) {
      if (exists) return refused(EEXIST, path);
      storage_.variables[path] = {};  // no variable before the first write
    } else if (!exists) {
      return refused(ENOENT, path);
    }
    if (mode.access == io::OpenMode::Access::read_write && storage_.immutable.count(path) != 0) {
      return refused(EPERM, path);
    }
    return std::unique_ptr<io::File>(std::make_unique<VariableFile>(storage_, path));
  }
  Result<std::unique_ptr<io::Directory>> do_open_directory(Text, io::Caller) override { return unknown(); }
  Result<void> do_visit_entries(const std::function<Result<void>(const io::DirectoryEntry&)>& visit,
                                io::Caller) override {
    for (const auto& [name, bytes] : storage_.variables) {
      SK_TRY(visit({.name = name, .type = io::EntryType::regular}));
    }
    return success();
  }
  Result<io::EntryStatus> do_status_of(Text, io::Caller) override { return unknown(); }
  Result<std::string> do_read_symlink(Text, io::Caller) override { return unknown(); }
  Result<void> do_create_directory(Text, std::uint32_t, io::Caller) override { return unknown(); }
  Result<void> do_create_symlink(Text, Text, io::Caller) override { return unknown(); }
  Result<void> do_create_hard_link(Text, Text, io::Caller) override { return unknown(); }
  Result<void> do_create_node(Text, io::EntryType, std::uint32_t, std::uint64_t, io::Caller) override {
    return unknown();
  }
  Result<void> do_rename(Text, Text, io::RenameKind, io::Caller) override { return unknown(); }
  Result<void> do_remove_file(Text path, io::Caller) override {
    if (storage_.variables.count(path) == 0) return refused(ENOENT, path);
    if (storage_.immutable.count(path) != 0) return refused(EPERM, path);
    if (storage_.ignores_changes) return success();
    storage_.variables.erase(path);
    storage_.history.push_back(storage_.variables);
    return success();
  }
  Result<void> do_remove_directory(Text, io::Caller) override { return unknown(); }
  Result<void> do_set_attributes_of(Text, const io::Attributes&, io::Caller) override { return unknown(); }
  Result<std::vector<io::ExtendedAttribute>> do_extended_attributes_of(Text, io::Caller) override { return unknown(); }
  Result<void> do_set_extended_attribute_of(Text, const io::ExtendedAttribute&, io::Caller) override {
    return unknown();
  }
  Result<void> do_remove_extended_attribute_of(Text, Text, io::Caller) override { return unknown(); }
  Result<bool> do_clear_write_protection_of(Text path, io::Caller) override {
    if (storage_.variables.count(path) == 0) return refused(ENOENT, path);
    return storage_.immutable.erase(path) != 0;
  }
  Result<void> do_sync(io::Caller) override { return refused(EINVAL, name_).with_code(Errc::sync_failed); }
  Result<void> do_sync_filesystem(io::Caller) override { return unknown(); }
  Result<io::SpaceFacts> do_space(io::Caller) override { return unknown(); }
  Result<void> do_close(io::Caller) override { return success(); }

 private:
  EfiVariablesInMemory& storage_;
  std::string name_ = EfiVariablesInMemory::kPath;
};

}  // namespace

Result<std::unique_ptr<io::Directory>> EfiVariablesInMemory::do_open_directory(const std::string& path, io::Caller) {
  if (path != kPath) return refused(ENOENT, path);
  return std::unique_ptr<io::Directory>(std::make_unique<VariableDirectory>(*this));
}
Result<std::unique_ptr<io::File>> EfiVariablesInMemory::do_open_file(const std::string&, io::OpenMode, io::Caller) {
  return unknown();
}
Result<io::EntryStatus> EfiVariablesInMemory::do_status_of(const std::string&, io::Caller) { return unknown(); }
Result<io::DeviceIdentity> EfiVariablesInMemory::do_identify(const std::string&, io::Caller) { return unknown(); }
Result<std::vector<io::Mount>> EfiVariablesInMemory::do_mounts(io::Caller) { return unknown(); }
Result<std::string> EfiVariablesInMemory::do_holder_of(const std::string&, io::Caller) { return unknown(); }
Result<std::optional<int>> EfiVariablesInMemory::do_lock_holder(const std::string&, io::Caller) { return unknown(); }
Result<std::optional<std::uint64_t>> EfiVariablesInMemory::do_filesystem_errors(const std::string&, io::Caller) {
  return unknown();
}
Result<io::StorageHealth> EfiVariablesInMemory::do_health_of(const std::string&, io::Caller) { return unknown(); }
Result<std::optional<std::uint64_t>> EfiVariablesInMemory::do_bytes_written(const std::string&, io::Caller) {
  return unknown();
}
Result<io::DeviceIdentity> EfiVariablesInMemory::do_root_device(io::Caller) { return unknown(); }
Result<std::string> EfiVariablesInMemory::do_kernel_command_line(io::Caller) { return unknown(); }
Result<std::unique_ptr<io::Freeze>> EfiVariablesInMemory::do_freeze(const std::string&, std::chrono::milliseconds,
                                                                    io::Caller) {
  return unknown();
}
Result<bool> EfiVariablesInMemory::do_thaw(const std::string&, io::Caller) { return unknown(); }
Result<std::vector<std::string>> EfiVariablesInMemory::do_lying_on(const std::string&, const std::vector<std::string>&,
                                                                   io::Caller) {
  return unknown();
}

}  // namespace slotkeeper::test
