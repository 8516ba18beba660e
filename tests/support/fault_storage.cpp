#include "tests/support/fault_storage.hpp"

#include <algorithm>
#include <utility>

#include "tests/support/fault_plan.hpp"

namespace slotkeeper::test {

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
  Result<io::FileLayout> do_layout(io::Caller caller) override {
    SK_TRY(plan_.meet("layout", name(), caller));
    return real_->layout(caller);
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

class FaultFreeze final : public io::Freeze {
 public:
  FaultFreeze(std::unique_ptr<io::Freeze> real, std::string path, FaultStorage::Plan& plan)
      : real_(std::move(real)), path_(std::move(path)), plan_(plan) {}
  ~FaultFreeze() override {
    const bool stays = plan_.power_is_cut() && real_->holds();
    real_.reset();
    if (stays && plan_.simulates_freezes) plan_.frozen.insert(path_);
  }
  [[nodiscard]] bool holds() override { return real_->holds(); }
  Result<io::ThawFacts> thaw() override {
    SK_TRY(plan_.meet("thaw", path_, io::Caller::current()));
    return real_->thaw();
  }
  [[nodiscard]] int freezer() const override { return real_->freezer(); }

 private:
  std::unique_ptr<io::Freeze> real_;
  std::string path_;
  FaultStorage::Plan& plan_;
};

}  // namespace

FaultStorage::FaultStorage(io::Storage& real) : real_(real), plan_(std::make_unique<Plan>()) {}
FaultStorage::~FaultStorage() = default;

void FaultStorage::set(const Fault& fault) { plan_->set(fault); }
void FaultStorage::cut_power_after(std::uint64_t call) { plan_->cut_power_after(call); }
void FaultStorage::flip_bit_in_read(std::uint64_t nth, std::uint64_t bit) { plan_->flip_bit_in_read(nth, bit); }
void FaultStorage::reset() { plan_->reset(); }
void FaultStorage::simulate_freezes() { plan_->simulates_freezes = true; }
std::uint64_t FaultStorage::writes_while_frozen() const { return plan_->writes_while_frozen; }
std::uint64_t FaultStorage::freezes() const { return plan_->freezes; }
bool FaultStorage::is_frozen() const { return !plan_->frozen.empty(); }
void FaultStorage::thaw_all() { plan_->frozen.clear(); }
std::uint64_t FaultStorage::calls() const { return plan_->calls(); }
std::map<CallSite, std::uint64_t> FaultStorage::calls_by_site() const { return plan_->sites(); }
std::uint64_t FaultStorage::faults_met() const { return plan_->faults_met(); }
std::string FaultStorage::last_failed_operation() const { return plan_->last_failed(); }
std::string FaultStorage::last_failed_object() const { return plan_->last_failed_object(); }

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

Result<io::StorageHealth> FaultStorage::do_health_of(const std::string& path, io::Caller caller) {
  SK_TRY(plan_->meet("health_of", path, caller));
  return real_.health_of(path, caller);
}

Result<std::optional<std::uint64_t>> FaultStorage::do_bytes_written(const std::string& path, io::Caller caller) {
  SK_TRY(plan_->meet("bytes_written", path, caller));
  return real_.bytes_written(path, caller);
}

Result<io::DeviceIdentity> FaultStorage::do_root_device(io::Caller caller) {
  SK_TRY(plan_->meet("root_device", "the machine", caller));
  return real_.root_device(caller);
}

Result<std::string> FaultStorage::do_kernel_command_line(io::Caller caller) {
  SK_TRY(plan_->meet("kernel_command_line", "the machine", caller));
  return real_.kernel_command_line(caller);
}

Result<std::unique_ptr<io::Freeze>> FaultStorage::do_freeze(const std::string& path, std::chrono::milliseconds limit,
                                                            io::Caller caller) {
  SK_TRY(plan_->meet("freeze", path, caller));
  auto begun = plan_->simulates_freezes ? simulate_freeze(plan_->frozen, path) : real_.freeze(path, limit, caller);
  if (!begun.has_value()) return begun;
  ++plan_->freezes;
  return std::make_unique<FaultFreeze>(std::move(begun).assume_value(), path, *plan_);
}

Result<bool> FaultStorage::do_thaw(const std::string& path, io::Caller caller) {
  SK_TRY(plan_->meet("thaw", path, caller));
  if (plan_->simulates_freezes) return plan_->frozen.erase(path) != 0;
  return real_.thaw(path, caller);
}

Result<std::vector<std::string>> FaultStorage::do_lying_on(const std::string& filesystem,
                                                           const std::vector<std::string>& paths, io::Caller caller) {
  SK_TRY(plan_->meet("lying_on", filesystem, caller));
  return real_.lying_on(filesystem, paths, caller);
}

}  // namespace slotkeeper::test
