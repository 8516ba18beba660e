#include "tests/crash_kernel/shadow_storage.hpp"

#include <algorithm>
#include <ctime>
#include <stdexcept>
#include <utility>

namespace slotkeeper::test {
namespace {

io::TimeStamp now() {
  struct timespec time {};
  ::clock_gettime(CLOCK_REALTIME, &time);
  return {.seconds = time.tv_sec, .nanoseconds = static_cast<std::int32_t>(time.tv_nsec)};
}

}  // namespace

// ---- what the model says
// ---------------------------------------------------------------------------------------------

std::vector<std::string> ModelTrace::not_allowed_by(const Step& step, const FileTree& permanent,
                                                    const std::vector<Disk>& disks) const {
  std::vector<std::string> problems = test::not_allowed(step.tree, permanent, {.top = top_, .clock_from = clock_from_});
  for (const Disk& disk : disks) {
    const auto some = contents_not_allowed(step.tree, disk.node, disk.found, disk.name);
    problems.insert(problems.end(), some.begin(), some.end());
  }
  return problems;
}

std::vector<std::string> ModelTrace::not_allowed(std::uint64_t position, const FileTree& permanent,
                                                 const std::vector<Disk>& disks) const {
  // The last call that had returned; its successor was running when the power went, unless it began later.
  const auto next =
      std::ranges::find_if(steps_.begin() + 1, steps_.end(), [&](const Step& step) { return step.end > position; });
  std::vector<std::string> problems = not_allowed_by(*(next - 1), permanent, disks);
  if (problems.empty()) return {};
  problems.front() = "after " + (next - 1)->call + ": " + problems.front();
  if (next == steps_.end() || next->begin >= position) return problems;
  std::vector<std::string> running = not_allowed_by(*next, permanent, disks);
  if (running.empty()) return {};
  running.front() = "during " + next->call + ": " + running.front();
  return running.size() < problems.size() ? running : problems;
}

std::vector<std::string> ModelTrace::differs_from(const FileTree& permanent) const {
  VolatileTree tree = steps_.back().tree;
  tree.sync_all();
  return test::not_allowed(tree, permanent, {.top = top_, .clock_from = clock_from_});
}

NodeNumber ModelTrace::device(const std::string& path) const { return devices_.at(path); }

// ---- the storage
// -----------------------------------------------------------------------------------------------------

ShadowStorage::ShadowStorage(io::Storage& real, const std::string& root, const std::vector<Device>& devices,
                             std::function<std::uint64_t()> log_length)
    : real_(real), root_(root), log_length_(std::move(log_length)), model_(machine_) {
  trace_.clock_from_ = now();
  trace_.clock_from_.seconds -= kClockSlackSeconds;
  trace_.top_ = add_found_tree(machine_, root, read_tree(root));
  for (const Device& device : devices) {
    const std::string folder = device.path.substr(0, device.path.rfind('/'));
    if (!machine_.tree.seen().find(folder)) machine_.add_directory(folder);
    const NodeNumber node = machine_.add_device(device.path, device.contents.size());
    trace_.devices_[device.path] = node;
    const std::string contents = device.contents.text();
    machine_.tree.make({.kind = Change::Kind::write,
                        .node = node,
                        .length = contents.size(),
                        .data = std::make_shared<std::vector<std::byte>>(io::as_bytes(contents).begin(),
                                                                         io::as_bytes(contents).end())});
    machine_.tree.sync_all();
  }
  trace_.steps_.push_back({.tree = machine_.tree, .call = "the beginning"});
}

ShadowStorage::~ShadowStorage() = default;

bool ShadowStorage::has_shadow(const std::string& path) const {
  return path == root_ || path.starts_with(root_ + "/") || trace_.devices_.contains(path);
}

template <class Real, class Model>
std::invoke_result_t<const Real&> ShadowStorage::both(const std::string& call, const Real& real, const Model& model) {
  const std::uint64_t begin = log_length_();
  auto result = real();
  if (!result.has_value()) return result;
  const std::uint64_t version = machine_.tree.version();
  machine_.clock = now();
  const auto followed = model();
  if (!followed.has_value()) refusals_.push_back(call + ": " + followed.assume_error().message);
  if (machine_.tree.version() != version) {
    trace_.steps_.push_back({.begin = begin, .end = log_length_(), .tree = machine_.tree, .call = call});
  }
  return result;
}

class ShadowFile final : public io::File {
 public:
  ShadowFile(ShadowStorage& storage, std::unique_ptr<io::File> real, std::unique_ptr<io::File> model)
      : storage_(storage), real_(std::move(real)), model_(std::move(model)) {}
  [[nodiscard]] const std::string& name() const override { return real_->name(); }

 protected:
  Result<std::size_t> do_read_at(std::uint64_t offset, io::Bytes into, io::Caller caller) override {
    return real_->read_at(offset, into, caller);
  }
  Result<void> do_submit(std::span<const io::WriteRequest> batch, io::Caller caller) override {
    return both(
        "submit", [&] { return real_->submit(batch, caller); },
        [&]() -> Result<void> {
          for (const io::WriteRequest& request : batch) SK_TRY(model_->write_at(request.offset, request.data));
          return success();
        });
  }
  Result<std::vector<io::WriteCompletion>> do_reap(std::size_t minimum, io::Caller caller) override {
    return real_->reap(minimum, caller);
  }
  Result<void> do_write_at(std::uint64_t offset, io::ConstBytes data, io::Caller caller) override {
    return both(
        "write_at", [&] { return real_->write_at(offset, data, caller); },
        [&] { return model_->write_at(offset, data); });
  }
  Result<void> do_sync(io::Caller caller) override {
    return both(
        "sync", [&] { return real_->sync(caller); }, [&] { return model_->sync(); });
  }
  Result<std::uint64_t> do_size(io::Caller caller) override { return real_->size(caller); }
  Result<io::EntryStatus> do_status(io::Caller caller) override { return real_->status(caller); }
  Result<void> do_resize(std::uint64_t size_bytes, io::Caller caller) override {
    return both(
        "resize", [&] { return real_->resize(size_bytes, caller); }, [&] { return model_->resize(size_bytes); });
  }
  Result<void> do_allocate(std::uint64_t offset, std::uint64_t length, io::Caller caller) override {
    return both(
        "allocate", [&] { return real_->allocate(offset, length, caller); },
        [&] { return model_->allocate(offset, length); });
  }
  Result<void> do_zero(std::uint64_t offset, std::uint64_t length, io::Caller caller) override {
    return both(
        "zero", [&] { return real_->zero(offset, length, caller); }, [&] { return model_->zero(offset, length); });
  }
  Result<void> do_discard(std::uint64_t offset, std::uint64_t length, io::Caller caller) override {
    return both(
        "discard", [&] { return real_->discard(offset, length, caller); },
        [&] { return model_->discard(offset, length); });
  }
  Result<io::ReadBackLevel> do_drop_cache(io::Caller caller) override { return real_->drop_cache(caller); }
  Result<io::FileLayout> do_layout(io::Caller caller) override { return real_->layout(caller); }
  Result<bool> do_try_lock(io::LockKind kind, io::Caller caller) override { return real_->try_lock(kind, caller); }
  Result<bool> do_try_lease(io::LeaseKind kind, io::Caller caller) override { return real_->try_lease(kind, caller); }
  Result<void> do_set_attributes(const io::Attributes& attributes, io::Caller caller) override {
    return both(
        "set_attributes", [&] { return real_->set_attributes(attributes, caller); },
        [&] { return model_->set_attributes(attributes); });
  }
  Result<std::vector<io::ExtendedAttribute>> do_extended_attributes(io::Caller caller) override {
    return real_->extended_attributes(caller);
  }
  Result<void> do_set_extended_attribute(const io::ExtendedAttribute& attribute, io::Caller caller) override {
    return both(
        "set_extended_attribute", [&] { return real_->set_extended_attribute(attribute, caller); },
        [&] { return model_->set_extended_attribute(attribute); });
  }
  Result<void> do_remove_extended_attribute(const std::string& attribute, io::Caller caller) override {
    return both(
        "remove_extended_attribute", [&] { return real_->remove_extended_attribute(attribute, caller); },
        [&] { return model_->remove_extended_attribute(attribute); });
  }
  Result<void> do_close(io::Caller caller) override {
    return both(
        "close", [&] { return real_->close(caller); }, [&] { return model_->close(); });
  }

 private:
  template <class Real, class Model>
  std::invoke_result_t<const Real&> both(const char* call, const Real& real, const Model& model) {
    return storage_.both(std::string(call) + " of " + name(), real, model);
  }

  ShadowStorage& storage_;
  std::unique_ptr<io::File> real_;
  std::unique_ptr<io::File> model_;
};

class ShadowDirectory final : public io::Directory {
 public:
  ShadowDirectory(ShadowStorage& storage, std::unique_ptr<io::Directory> real, std::unique_ptr<io::Directory> model)
      : storage_(storage), real_(std::move(real)), model_(std::move(model)) {}
  [[nodiscard]] const std::string& name() const override { return real_->name(); }

 protected:
  Result<std::unique_ptr<io::File>> do_open_file(const std::string& path, io::OpenMode mode,
                                                 io::Caller caller) override {
    std::unique_ptr<io::File> shadow;
    SK_TRY_ASSIGN(std::unique_ptr<io::File> file,
                  both(
                      "open_file", path, [&] { return real_->open_file(path, mode, caller); },
                      [&] { return take(shadow, model_->open_file(path, mode)); }));
    if (!shadow) return file;
    return std::make_unique<ShadowFile>(storage_, std::move(file), std::move(shadow));
  }
  Result<std::unique_ptr<io::Directory>> do_open_directory(const std::string& path, io::Caller caller) override {
    std::unique_ptr<io::Directory> shadow;
    SK_TRY_ASSIGN(std::unique_ptr<io::Directory> directory,
                  both(
                      "open_directory", path, [&] { return real_->open_directory(path, caller); },
                      [&] { return take(shadow, model_->open_directory(path)); }));
    if (!shadow) return directory;
    return std::make_unique<ShadowDirectory>(storage_, std::move(directory), std::move(shadow));
  }
  Result<void> do_visit_entries(const std::function<Result<void>(const io::DirectoryEntry&)>& visit,
                                io::Caller caller) override {
    return real_->visit_entries(visit, caller);
  }
  Result<io::EntryStatus> do_status_of(const std::string& path, io::Caller caller) override {
    return real_->status_of(path, caller);
  }
  Result<std::string> do_read_symlink(const std::string& path, io::Caller caller) override {
    return real_->read_symlink(path, caller);
  }
  Result<void> do_create_directory(const std::string& path, std::uint32_t mode, io::Caller caller) override {
    return both(
        "create_directory", path, [&] { return real_->create_directory(path, mode, caller); },
        [&] { return model_->create_directory(path, mode); });
  }
  Result<void> do_create_symlink(const std::string& target, const std::string& path, io::Caller caller) override {
    return both(
        "create_symlink", path, [&] { return real_->create_symlink(target, path, caller); },
        [&] { return model_->create_symlink(target, path); });
  }
  Result<void> do_create_hard_link(const std::string& existing, const std::string& path, io::Caller caller) override {
    return both(
        "create_hard_link", path, [&] { return real_->create_hard_link(existing, path, caller); },
        [&] { return model_->create_hard_link(existing, path); });
  }
  Result<void> do_create_node(const std::string& path, io::EntryType type, std::uint32_t mode,
                              std::uint64_t node_device, io::Caller caller) override {
    return both(
        "create_node", path, [&] { return real_->create_node(path, type, mode, node_device, caller); },
        [&] { return model_->create_node(path, type, mode, node_device); });
  }
  Result<void> do_rename(const std::string& from, const std::string& to, io::RenameKind kind,
                         io::Caller caller) override {
    return both(
        "rename", from, [&] { return real_->rename(from, to, kind, caller); },
        [&] { return model_->rename(from, to, kind); });
  }
  Result<void> do_remove_file(const std::string& path, io::Caller caller) override {
    return both(
        "remove_file", path, [&] { return real_->remove_file(path, caller); },
        [&] { return model_->remove_file(path); });
  }
  Result<void> do_remove_directory(const std::string& path, io::Caller caller) override {
    return both(
        "remove_directory", path, [&] { return real_->remove_directory(path, caller); },
        [&] { return model_->remove_directory(path); });
  }
  Result<void> do_set_attributes_of(const std::string& path, const io::Attributes& attributes,
                                    io::Caller caller) override {
    return both(
        "set_attributes_of", path, [&] { return real_->set_attributes_of(path, attributes, caller); },
        [&] { return model_->set_attributes_of(path, attributes); });
  }
  Result<std::vector<io::ExtendedAttribute>> do_extended_attributes_of(const std::string& path,
                                                                       io::Caller caller) override {
    return real_->extended_attributes_of(path, caller);
  }
  Result<void> do_set_extended_attribute_of(const std::string& path, const io::ExtendedAttribute& attribute,
                                            io::Caller caller) override {
    return both(
        "set_extended_attribute_of", path, [&] { return real_->set_extended_attribute_of(path, attribute, caller); },
        [&] { return model_->set_extended_attribute_of(path, attribute); });
  }
  Result<void> do_remove_extended_attribute_of(const std::string& path, const std::string& attribute,
                                               io::Caller caller) override {
    return both(
        "remove_extended_attribute_of", path,
        [&] { return real_->remove_extended_attribute_of(path, attribute, caller); },
        [&] { return model_->remove_extended_attribute_of(path, attribute); });
  }
  // The model knows no such flags.
  Result<bool> do_clear_write_protection_of(const std::string& path, io::Caller caller) override {
    return real_->clear_write_protection_of(path, caller);
  }
  Result<void> do_sync(io::Caller caller) override {
    return both(
        "sync", ".", [&] { return real_->sync(caller); }, [&] { return model_->sync(); });
  }
  Result<void> do_sync_filesystem(io::Caller caller) override {
    return both(
        "sync_filesystem", ".", [&] { return real_->sync_filesystem(caller); },
        [&] { return model_->sync_filesystem(); });
  }
  Result<io::SpaceFacts> do_space(io::Caller caller) override { return real_->space(caller); }
  Result<void> do_close(io::Caller caller) override {
    return both(
        "close", ".", [&] { return real_->close(caller); }, [&] { return model_->close(); });
  }

 private:
  template <class Real, class Model>
  std::invoke_result_t<const Real&> both(const char* call, const std::string& path, const Real& real,
                                         const Model& model) {
    return storage_.both(std::string(call) + " of " + name() + "/" + path, real, model);
  }
  template <class Opened>
  static Result<void> take(std::unique_ptr<Opened>& place, Result<std::unique_ptr<Opened>> opened) {
    SK_TRY_ASSIGN(place, std::move(opened));
    return success();
  }

  ShadowStorage& storage_;
  std::unique_ptr<io::Directory> real_;
  std::unique_ptr<io::Directory> model_;
};

Result<std::unique_ptr<io::File>> ShadowStorage::do_open_file(const std::string& path, io::OpenMode mode,
                                                              io::Caller caller) {
  if (!has_shadow(path)) return real_.open_file(path, mode, caller);
  std::unique_ptr<io::File> shadow;
  SK_TRY_ASSIGN(std::unique_ptr<io::File> file,
                both(
                    "open_file of " + path, [&] { return real_.open_file(path, mode, caller); },
                    [&]() -> Result<void> {
                      SK_TRY_ASSIGN(shadow, model_.open_file(path, mode));
                      return success();
                    }));
  if (!shadow) return file;
  return std::make_unique<ShadowFile>(*this, std::move(file), std::move(shadow));
}
Result<std::unique_ptr<io::Directory>> ShadowStorage::do_open_directory(const std::string& path, io::Caller caller) {
  if (!has_shadow(path)) return real_.open_directory(path, caller);
  std::unique_ptr<io::Directory> shadow;
  SK_TRY_ASSIGN(std::unique_ptr<io::Directory> directory,
                both(
                    "open_directory of " + path, [&] { return real_.open_directory(path, caller); },
                    [&]() -> Result<void> {
                      SK_TRY_ASSIGN(shadow, model_.open_directory(path));
                      return success();
                    }));
  if (!shadow) return directory;
  return std::make_unique<ShadowDirectory>(*this, std::move(directory), std::move(shadow));
}
Result<io::EntryStatus> ShadowStorage::do_status_of(const std::string& path, io::Caller caller) {
  return real_.status_of(path, caller);
}
Result<io::DeviceIdentity> ShadowStorage::do_identify(const std::string& path, io::Caller caller) {
  return real_.identify(path, caller);
}
Result<std::vector<io::Mount>> ShadowStorage::do_mounts(io::Caller caller) { return real_.mounts(caller); }
Result<std::string> ShadowStorage::do_holder_of(const std::string& path, io::Caller caller) {
  return real_.holder_of(path, caller);
}
Result<std::optional<int>> ShadowStorage::do_lock_holder(const std::string& path, io::Caller caller) {
  return real_.lock_holder(path, caller);
}
Result<std::optional<std::uint64_t>> ShadowStorage::do_filesystem_errors(const std::string& path, io::Caller caller) {
  return real_.filesystem_errors(path, caller);
}
Result<io::StorageHealth> ShadowStorage::do_health_of(const std::string& path, io::Caller caller) {
  return real_.health_of(path, caller);
}
Result<std::optional<std::uint64_t>> ShadowStorage::do_bytes_written(const std::string& path, io::Caller caller) {
  return real_.bytes_written(path, caller);
}
Result<io::DeviceIdentity> ShadowStorage::do_root_device(io::Caller caller) { return real_.root_device(caller); }
Result<std::string> ShadowStorage::do_kernel_command_line(io::Caller caller) {
  return real_.kernel_command_line(caller);
}
Result<std::unique_ptr<io::Freeze>> ShadowStorage::do_freeze(const std::string& path, std::chrono::milliseconds limit,
                                                             io::Caller caller) {
  return real_.freeze(path, limit, caller);
}
Result<bool> ShadowStorage::do_thaw(const std::string& path, io::Caller caller) { return real_.thaw(path, caller); }
Result<std::vector<std::string>> ShadowStorage::do_lying_on(const std::string& filesystem,
                                                            const std::vector<std::string>& paths, io::Caller caller) {
  return real_.lying_on(filesystem, paths, caller);
}

}  // namespace slotkeeper::test
