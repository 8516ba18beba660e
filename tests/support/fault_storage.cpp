#include "tests/support/fault_storage.hpp"

#include <algorithm>
#include <utility>

#include "partitions/io/posix_call.hpp"

namespace slotkeeper::test {

/// What goes wrong when, and what was called so far.
class FaultStorage::Plan {
 public:
  void set(const Fault& fault) {
    const std::lock_guard lock(mutex_);
    faults_.push_back({.fault = fault, .matches = 0});
  }
  void cut_power_after(std::uint64_t call) {
    const std::lock_guard lock(mutex_);
    last_call_ = call;
  }
  void flip_bit_in_read(std::uint64_t nth, std::uint64_t bit) {
    const std::lock_guard lock(mutex_);
    reads_until_flip_ = nth;
    flipped_bit_ = bit;
  }
  void reset() {
    const std::lock_guard lock(mutex_);
    faults_.clear();
    sites_.clear();
    calls_ = faults_met_ = reads_until_flip_ = 0;
    last_failed_.clear();
    last_call_.reset();
  }
  [[nodiscard]] std::uint64_t calls() const {
    const std::lock_guard lock(mutex_);
    return calls_;
  }
  [[nodiscard]] std::uint64_t faults_met() const {
    const std::lock_guard lock(mutex_);
    return faults_met_;
  }
  [[nodiscard]] std::string last_failed() const {
    const std::lock_guard lock(mutex_);
    return last_failed_;
  }
  [[nodiscard]] std::map<CallSite, std::uint64_t> sites() const {
    const std::lock_guard lock(mutex_);
    return sites_;
  }

  /// Counts a call; its error when it is to fail.
  [[nodiscard]] Result<void> meet(std::string_view operation, const std::string& object, io::Caller caller) {
    const std::lock_guard lock(mutex_);
    const CallSite site{.file = caller.file_name(), .line = caller.line(), .operation = std::string(operation)};
    ++sites_[site];
    ++calls_;
    if (last_call_ && calls_ > *last_call_) {
      ++faults_met_;
      return make_error(Errc::internal, object + ": power cut before " + site.operation);
    }
    std::optional<int> failure;
    for (Armed& armed : faults_) {
      if (!matches(armed.fault, site)) continue;
      ++armed.matches;
      const bool due = armed.matches == armed.fault.nth || (armed.fault.persistent && armed.matches > armed.fault.nth);
      if (due && !failure) failure = armed.fault.os_errno;
    }
    if (!failure) return success();
    ++faults_met_;
    last_failed_ = site.operation;
    Error error = io::call_failed(site.operation + " (injected)", object, *failure);
    if (operation.starts_with("sync")) return std::move(error).with_code(Errc::sync_failed);
    return error;
  }

  void falsify(io::Bytes read) {
    const std::lock_guard lock(mutex_);
    if (reads_until_flip_ == 0 || --reads_until_flip_ != 0 || read.empty()) return;
    ++faults_met_;
    const std::uint64_t bit = flipped_bit_ % (read.size() * 8);
    read[bit / 8] ^= std::byte{1} << (bit % 8);
  }

 private:
  struct Armed {
    Fault fault;
    std::uint64_t matches;
  };
  static bool matches(const Fault& fault, const CallSite& site) {
    return site.file.ends_with(fault.file) && (fault.line == 0 || fault.line == site.line) &&
           (fault.operation.empty() || fault.operation == site.operation);
  }

  mutable std::mutex mutex_;
  std::vector<Armed> faults_;
  std::map<CallSite, std::uint64_t> sites_;
  std::uint64_t calls_ = 0;
  std::uint64_t faults_met_ = 0;
  std::optional<std::uint64_t> last_call_;
  std::string last_failed_;
  std::uint64_t reads_until_flip_ = 0;
  std::uint64_t flipped_bit_ = 0;
};

namespace {

class FaultFile final : public io::File {
 public:
  FaultFile(std::unique_ptr<io::File> real, FaultStorage::Plan& plan) : real_(std::move(real)), plan_(plan) {}
  [[nodiscard]] const std::string& name() const override { return real_->name(); }

 protected:
  Result<std::size_t> do_read_at(std::uint64_t offset, io::Bytes into, io::Caller caller) override {
    SK_TRY(plan_.meet("read_at", name(), caller));
    SK_TRY_ASSIGN(const std::size_t count, real_->read_at(offset, into, caller));
    plan_.falsify(into.first(count));
    return count;
  }
  // Each write of a batch may fail for itself, as it does on a queue; its error comes with the completions.
  Result<void> do_submit(std::span<const io::WriteRequest> batch, io::Caller caller) override {
    for (const io::WriteRequest& request : batch) {
      Result<void> met = plan_.meet("submit", name(), caller);
      if (met.has_value()) {
        SK_TRY(real_->submit(std::span(&request, 1), caller));
      } else {
        failed_.push_back({.tag = request.tag, .result = std::move(met)});
      }
    }
    return success();
  }
  Result<std::vector<io::WriteCompletion>> do_reap(std::size_t minimum, io::Caller caller) override {
    SK_TRY(plan_.meet("reap", name(), caller));
    const std::size_t rest = minimum - std::min(minimum, failed_.size());
    SK_TRY_ASSIGN(std::vector<io::WriteCompletion> completions, real_->reap(rest, caller));
    for (io::WriteCompletion& completion : failed_) completions.push_back(std::move(completion));
    failed_.clear();
    return completions;
  }
  Result<void> do_write_at(std::uint64_t offset, io::ConstBytes data, io::Caller caller) override {
    SK_TRY(plan_.meet("write_at", name(), caller));
    return real_->write_at(offset, data, caller);
  }
  Result<void> do_sync(io::Caller caller) override {
    SK_TRY(plan_.meet("sync", name(), caller));
    return real_->sync(caller);
  }
  Result<std::uint64_t> do_size(io::Caller caller) override {
    SK_TRY(plan_.meet("size", name(), caller));
    return real_->size(caller);
  }
  Result<io::EntryStatus> do_status(io::Caller caller) override {
    SK_TRY(plan_.meet("status", name(), caller));
    return real_->status(caller);
  }
  Result<void> do_resize(std::uint64_t size_bytes, io::Caller caller) override {
    SK_TRY(plan_.meet("resize", name(), caller));
    return real_->resize(size_bytes, caller);
  }
  Result<void> do_allocate(std::uint64_t offset, std::uint64_t length, io::Caller caller) override {
    SK_TRY(plan_.meet("allocate", name(), caller));
    return real_->allocate(offset, length, caller);
  }
  Result<void> do_zero(std::uint64_t offset, std::uint64_t length, io::Caller caller) override {
    SK_TRY(plan_.meet("zero", name(), caller));
    return real_->zero(offset, length, caller);
  }
  Result<void> do_discard(std::uint64_t offset, std::uint64_t length, io::Caller caller) override {
    SK_TRY(plan_.meet("discard", name(), caller));
    return real_->discard(offset, length, caller);
  }
  Result<io::ReadBackLevel> do_drop_cache(io::Caller caller) override {
    SK_TRY(plan_.meet("drop_cache", name(), caller));
    return real_->drop_cache(caller);
  }
  Result<bool> do_try_lock(io::LockKind kind, io::Caller caller) override {
    SK_TRY(plan_.meet("try_lock", name(), caller));
    return real_->try_lock(kind, caller);
  }
  Result<bool> do_try_lease(io::LeaseKind kind, io::Caller caller) override {
    SK_TRY(plan_.meet("try_lease", name(), caller));
    return real_->try_lease(kind, caller);
  }
  Result<void> do_set_attributes(const io::Attributes& attributes, io::Caller caller) override {
    SK_TRY(plan_.meet("set_attributes", name(), caller));
    return real_->set_attributes(attributes, caller);
  }
  Result<std::vector<io::ExtendedAttribute>> do_extended_attributes(io::Caller caller) override {
    SK_TRY(plan_.meet("extended_attributes", name(), caller));
    return real_->extended_attributes(caller);
  }
  Result<void> do_set_extended_attribute(const io::ExtendedAttribute& attribute, io::Caller caller) override {
    SK_TRY(plan_.meet("set_extended_attribute", name(), caller));
    return real_->set_extended_attribute(attribute, caller);
  }
  Result<void> do_remove_extended_attribute(const std::string& attribute, io::Caller caller) override {
    SK_TRY(plan_.meet("remove_extended_attribute", name(), caller));
    return real_->remove_extended_attribute(attribute, caller);
  }
  // Carried out in any case: nobody could do it later.
  Result<void> do_close(io::Caller caller) override {
    const Result<void> met = plan_.meet("close", name(), caller);
    const Result<void> closed = real_->close(caller);
    SK_TRY(met);
    return closed;
  }

 private:
  std::unique_ptr<io::File> real_;
  FaultStorage::Plan& plan_;
  std::vector<io::WriteCompletion> failed_;
};

class FaultDirectory final : public io::Directory {
 public:
  FaultDirectory(std::unique_ptr<io::Directory> real, FaultStorage::Plan& plan) : real_(std::move(real)), plan_(plan) {}
  [[nodiscard]] const std::string& name() const override { return real_->name(); }

 protected:
  Result<std::unique_ptr<io::File>> do_open_file(const std::string& path, io::OpenMode mode,
                                                 io::Caller caller) override {
    SK_TRY(plan_.meet("open_file", name() + "/" + path, caller));
    SK_TRY_ASSIGN(std::unique_ptr<io::File> file, real_->open_file(path, mode, caller));
    return std::make_unique<FaultFile>(std::move(file), plan_);
  }
  Result<std::unique_ptr<io::Directory>> do_open_directory(const std::string& path, io::Caller caller) override {
    SK_TRY(plan_.meet("open_directory", name() + "/" + path, caller));
    SK_TRY_ASSIGN(std::unique_ptr<io::Directory> directory, real_->open_directory(path, caller));
    return std::make_unique<FaultDirectory>(std::move(directory), plan_);
  }
  Result<void> do_visit_entries(const std::function<Result<void>(const io::DirectoryEntry&)>& visit,
                                io::Caller caller) override {
    SK_TRY(plan_.meet("visit_entries", name(), caller));
    return real_->visit_entries(visit, caller);
  }
  Result<io::EntryStatus> do_status_of(const std::string& path, io::Caller caller) override {
    SK_TRY(plan_.meet("status_of", name() + "/" + path, caller));
    return real_->status_of(path, caller);
  }
  Result<std::string> do_read_symlink(const std::string& path, io::Caller caller) override {
    SK_TRY(plan_.meet("read_symlink", name() + "/" + path, caller));
    return real_->read_symlink(path, caller);
  }
  Result<void> do_create_directory(const std::string& path, std::uint32_t mode, io::Caller caller) override {
    SK_TRY(plan_.meet("create_directory", name() + "/" + path, caller));
    return real_->create_directory(path, mode, caller);
  }
  Result<void> do_create_symlink(const std::string& target, const std::string& path, io::Caller caller) override {
    SK_TRY(plan_.meet("create_symlink", name() + "/" + path, caller));
    return real_->create_symlink(target, path, caller);
  }
  Result<void> do_create_hard_link(const std::string& existing, const std::string& path, io::Caller caller) override {
    SK_TRY(plan_.meet("create_hard_link", name() + "/" + path, caller));
    return real_->create_hard_link(existing, path, caller);
  }
  Result<void> do_create_node(const std::string& path, io::EntryType type, std::uint32_t mode,
                              std::uint64_t node_device, io::Caller caller) override {
    SK_TRY(plan_.meet("create_node", name() + "/" + path, caller));
    return real_->create_node(path, type, mode, node_device, caller);
  }
  Result<void> do_rename(const std::string& from, const std::string& to, io::RenameKind kind,
                         io::Caller caller) override {
    SK_TRY(plan_.meet("rename", name() + "/" + from, caller));
    return real_->rename(from, to, kind, caller);
  }
  Result<void> do_remove_file(const std::string& path, io::Caller caller) override {
    SK_TRY(plan_.meet("remove_file", name() + "/" + path, caller));
    return real_->remove_file(path, caller);
  }
  Result<void> do_remove_directory(const std::string& path, io::Caller caller) override {
    SK_TRY(plan_.meet("remove_directory", name() + "/" + path, caller));
    return real_->remove_directory(path, caller);
  }
  Result<void> do_set_attributes_of(const std::string& path, const io::Attributes& attributes,
                                    io::Caller caller) override {
    SK_TRY(plan_.meet("set_attributes_of", name() + "/" + path, caller));
    return real_->set_attributes_of(path, attributes, caller);
  }
  Result<std::vector<io::ExtendedAttribute>> do_extended_attributes_of(const std::string& path,
                                                                       io::Caller caller) override {
    SK_TRY(plan_.meet("extended_attributes_of", name() + "/" + path, caller));
    return real_->extended_attributes_of(path, caller);
  }
  Result<void> do_set_extended_attribute_of(const std::string& path, const io::ExtendedAttribute& attribute,
                                            io::Caller caller) override {
    SK_TRY(plan_.meet("set_extended_attribute_of", name() + "/" + path, caller));
    return real_->set_extended_attribute_of(path, attribute, caller);
  }
  Result<bool> do_clear_write_protection_of(const std::string& path, io::Caller caller) override {
    SK_TRY(plan_.meet("clear_write_protection_of", name() + "/" + path, caller));
    return real_->clear_write_protection_of(path, caller);
  }
  Result<void> do_remove_extended_attribute_of(const std::string& path, const std::string& attribute,
                                               io::Caller caller) override {
    SK_TRY(plan_.meet("remove_extended_attribute_of", name() + "/" + path, caller));
    return real_->remove_extended_attribute_of(path, attribute, caller);
  }
  Result<void> do_sync(io::Caller caller) override {
    SK_TRY(plan_.meet("sync", name(), caller));
    return real_->sync(caller);
  }
  Result<void> do_sync_filesystem(io::Caller caller) override {
    SK_TRY(plan_.meet("sync_filesystem", name(), caller));
    return real_->sync_filesystem(caller);
  }
  Result<io::SpaceFacts> do_space(io::Caller caller) override {
    SK_TRY(plan_.meet("space", name(), caller));
    return real_->space(caller);
  }
  // Carried out in any case: nobody could do it later.
  Result<void> do_close(io::Caller caller) override {
    const Result<void> met = plan_.meet("close", name(), caller);
    const Result<void> closed = real_->close(caller);
    SK_TRY(met);
    return closed;
  }

 private:
  std::unique_ptr<io::Directory> real_;
  FaultStorage::Plan& plan_;
};

}  // namespace

FaultStorage::FaultStorage(io::Storage& real) : real_(real), plan_(std::make_unique<Plan>()) {}
FaultStorage::~FaultStorage() = default;

void FaultStorage::set(const Fault& fault) { plan_->set(fault); }
void FaultStorage::cut_power_after(std::uint64_t call) { plan_->cut_power_after(call); }
void FaultStorage::flip_bit_in_read(std::uint64_t nth, std::uint64_t bit) { plan_->flip_bit_in_read(nth, bit); }
void FaultStorage::reset() { plan_->reset(); }
std::uint64_t FaultStorage::calls() const { return plan_->calls(); }
std::map<CallSite, std::uint64_t> FaultStorage::calls_by_site() const { return plan_->sites(); }
std::uint64_t FaultStorage::faults_met() const { return plan_->faults_met(); }
std::string FaultStorage::last_failed_operation() const { return plan_->last_failed(); }

Result<std::unique_ptr<io::File>> FaultStorage::do_open_file(const std::string& path, io::OpenMode mode,
                                                             io::Caller caller) {
  SK_TRY(plan_->meet("open_file", path, caller));
  SK_TRY_ASSIGN(std::unique_ptr<io::File> file, real_.open_file(path, mode, caller));
  return std::make_unique<FaultFile>(std::move(file), *plan_);
}

Result<std::unique_ptr<io::Directory>> FaultStorage::do_open_directory(const std::string& path, io::Caller caller) {
  SK_TRY(plan_->meet("open_directory", path, caller));
  SK_TRY_ASSIGN(std::unique_ptr<io::Directory> directory, real_.open_directory(path, caller));
  return std::make_unique<FaultDirectory>(std::move(directory), *plan_);
}

Result<io::EntryStatus> FaultStorage::do_status_of(const std::string& path, io::Caller caller) {
  SK_TRY(plan_->meet("status_of", path, caller));
  return real_.status_of(path, caller);
}

Result<io::DeviceIdentity> FaultStorage::do_identify(const std::string& path, io::Caller caller) {
  SK_TRY(plan_->meet("identify", path, caller));
  return real_.identify(path, caller);
}

Result<std::vector<io::Mount>> FaultStorage::do_mounts(io::Caller caller) {
  SK_TRY(plan_->meet("mounts", "the machine", caller));
  return real_.mounts(caller);
}

Result<std::string> FaultStorage::do_holder_of(const std::string& path, io::Caller caller) {
  SK_TRY(plan_->meet("holder_of", path, caller));
  return real_.holder_of(path, caller);
}

Result<std::optional<int>> FaultStorage::do_lock_holder(const std::string& path, io::Caller caller) {
  SK_TRY(plan_->meet("lock_holder", path, caller));
  return real_.lock_holder(path, caller);
}

Result<std::optional<std::uint64_t>> FaultStorage::do_filesystem_errors(const std::string& path, io::Caller caller) {
  SK_TRY(plan_->meet("filesystem_errors", path, caller));
  return real_.filesystem_errors(path, caller);
}

Result<io::DeviceIdentity> FaultStorage::do_root_device(io::Caller caller) {
  SK_TRY(plan_->meet("root_device", "the machine", caller));
  return real_.root_device(caller);
}

Result<std::string> FaultStorage::do_kernel_command_line(io::Caller caller) {
  SK_TRY(plan_->meet("kernel_command_line", "the machine", caller));
  return real_.kernel_command_line(caller);
}

}  // namespace slotkeeper::test
