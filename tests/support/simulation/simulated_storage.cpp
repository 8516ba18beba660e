#include "tests/support/simulation/simulated_storage.hpp"

#include <algorithm>
#include <cerrno>
#include <stdexcept>
#include <utility>

#include "partitions/io/posix_call.hpp"

namespace slotkeeper::test {
namespace {

std::string parent_of(const std::string& path) { return path.substr(0, path.rfind('/')); }
std::string last_of(const std::string& path) { return path.substr(path.rfind('/') + 1); }

constexpr std::uint64_t kDeviceNumberBase = 0x800;

}  // namespace

// ---- the machine
// -----------------------------------------------------------------------------------------------------

NodeNumber SimulatedMachine::add(const std::string& path, Node node) {
  const auto parent = tree.seen().find(parent_of(path));
  if (!parent) throw std::invalid_argument("no directory for " + path);
  node.modified = clock;
  if (node.filesystem == 0) node.filesystem = tree.seen().at(*parent).filesystem;
  const NodeNumber number = tree.create(std::move(node));
  tree.make({.kind = Change::Kind::names, .modified = clock, .names = {{*parent, last_of(path), number}}});
  tree.sync_all();
  return number;
}

NodeNumber SimulatedMachine::add_directory(const std::string& path, std::uint32_t mode) {
  Node node;
  node.type = io::EntryType::directory;
  node.mode = mode;
  return add(path, std::move(node));
}

NodeNumber SimulatedMachine::add_mount(const SimulatedMount& mount) {
  Node node;
  node.type = io::EntryType::directory;
  node.mode = 0755;
  node.filesystem = static_cast<std::uint32_t>(mounts.size());
  mounts.push_back(mount);
  return add(mount.mount_point, std::move(node));
}

NodeNumber SimulatedMachine::add_device(const std::string& path, std::uint64_t size_bytes) {
  Node node;
  node.type = io::EntryType::block_device;
  node.mode = 0600;
  node.contents.resize(size_bytes);
  const NodeNumber number = add(path, std::move(node));
  return number;
}

NodeNumber SimulatedMachine::add_file(const std::string& path, io::ConstBytes contents, std::uint32_t mode) {
  Node node;
  node.mode = mode;
  node.contents = PagedBytes(contents);
  return add(path, std::move(node));
}

const Node& SimulatedMachine::node(const std::string& path) const {
  const auto number = tree.seen().find(path);
  if (!number) throw std::invalid_argument("there is no " + path);
  return tree.seen().at(*number);
}

// ---- files
// -----------------------------------------------------------------------------------------------------------

class SimulatedFile final : public io::File {
 public:
  SimulatedFile(SimulatedStorage& storage, NodeNumber number, const io::OpenMode& mode, std::string name)
      : storage_(storage), number_(number), mode_(mode), name_(std::move(name)) {}
  ~SimulatedFile() override { release(); }

  [[nodiscard]] const std::string& name() const override { return name_; }

 protected:
  Result<std::size_t> do_read_at(std::uint64_t offset, io::Bytes into, io::Caller caller) override {
    SK_TRY(meet("read_at", caller));
    const std::size_t count = node().contents.read(offset, into);
    if (!storage_.after_read) return count;
    return storage_.after_read({.operation = "read_at", .object = name_, .caller = caller}, offset, into.first(count));
  }

  Result<void> do_write_at(std::uint64_t offset, io::ConstBytes data, io::Caller caller) override {
    SK_TRY(meet("write_at", caller));
    return write(offset, data);
  }
  // Each write of a batch meets what may go wrong for itself, as on a queue.
  Result<void> do_submit(std::span<const io::WriteRequest> batch, io::Caller caller) override {
    for (const io::WriteRequest& request : batch) {
      Result<void> met = meet("submit", caller);
      completions_.push_back(
          {.tag = request.tag, .result = met.has_value() ? write(request.offset, request.data) : std::move(met)});
    }
    return success();
  }
  Result<std::vector<io::WriteCompletion>> do_reap(std::size_t minimum, io::Caller caller) override {
    SK_TRY(meet("reap", caller));
    if (minimum > completions_.size()) return make_error(Errc::internal, name_ + ": more reaped than submitted");
    return std::exchange(completions_, {});
  }

  Result<void> do_sync(io::Caller caller) override {
    auto met = meet("sync", caller);
    if (!met.has_value()) return Error(met.assume_error()).with_code(Errc::sync_failed);
    storage_.machine_.tree.sync(number_);
    return success();
  }

  Result<std::uint64_t> do_size(io::Caller caller) override {
    SK_TRY(meet("size", caller));
    return node().contents.size();
  }
  Result<io::EntryStatus> do_status(io::Caller caller) override {
    SK_TRY(meet("status", caller));
    return storage_.status_of_node(number_);
  }

  Result<void> do_resize(std::uint64_t size_bytes, io::Caller caller) override {
    SK_TRY(meet("resize", caller));
    SK_TRY(take_change("ftruncate"));
    if (is_device()) return io::call_failed("ftruncate", name_, EINVAL);
    change_size(size_bytes);
    return success();
  }
  Result<void> do_allocate(std::uint64_t offset, std::uint64_t length, io::Caller caller) override {
    SK_TRY(meet("allocate", caller));
    if (is_device()) return success();
    SK_TRY(take_change("fallocate", node().contents.missing_bytes(offset, length)));
    if (offset + length > node().contents.size()) change_size(offset + length);
    storage_.machine_.tree.make({.kind = Change::Kind::allocate, .node = number_, .offset = offset, .length = length});
    return success();
  }
  Result<void> do_zero(std::uint64_t offset, std::uint64_t length, io::Caller caller) override {
    SK_TRY(meet("zero", caller));
    return fill(offset, length, std::byte{});
  }
  // What it reads as afterwards is not defined: anything may stand there.
  Result<void> do_discard(std::uint64_t offset, std::uint64_t length, io::Caller caller) override {
    SK_TRY(meet("discard", caller));
    if (is_device()) return fill(offset, length, std::byte{0xDB});
    SK_TRY(take_change("fallocate"));
    storage_.machine_.tree.make({.kind = Change::Kind::punch, .node = number_, .offset = offset, .length = length});
    return success();
  }
  Result<io::ReadBackLevel> do_drop_cache(io::Caller caller) override {
    SK_TRY(meet("drop_cache", caller));
    return mode_.direct ? io::ReadBackLevel::direct : io::ReadBackLevel::cache_dropped;
  }

  Result<bool> do_try_lock(io::LockKind kind, io::Caller caller) override {
    SK_TRY(meet("try_lock", caller));
    auto& opened = storage_.opened_[number_];
    if (opened.exclusive_lock) return lock_ == kind && lock_ == io::LockKind::exclusive;
    if (kind == io::LockKind::exclusive && opened.shared_locks > 0) return false;
    (kind == io::LockKind::exclusive ? opened.exclusive_lock = true : ++opened.shared_locks);
    lock_ = kind;
    return true;
  }
  Result<bool> do_try_lease(io::LeaseKind kind, io::Caller caller) override {
    SK_TRY(meet("try_lease", caller));
    const auto& opened = storage_.opened_[number_];
    if (kind == io::LeaseKind::no_writer) return opened.writers == 0;
    return opened.writers + opened.readers == 1;
  }

  Result<void> do_set_attributes(const io::Attributes& attributes, io::Caller caller) override {
    SK_TRY(meet("set_attributes", caller));
    SK_TRY(take_change("fchown"));
    auto& tree = storage_.machine_.tree;
    tree.make({.kind = Change::Kind::owner, .node = number_, .owner = attributes.owner, .group = attributes.group});
    tree.make({.kind = Change::Kind::mode, .node = number_, .mode = attributes.mode});
    tree.make({.kind = Change::Kind::times,
               .node = number_,
               .accessed = attributes.accessed,
               .modified = attributes.modified});
    return success();
  }
  Result<std::vector<io::ExtendedAttribute>> do_extended_attributes(io::Caller caller) override {
    SK_TRY(meet("extended_attributes", caller));
    std::vector<io::ExtendedAttribute> found;
    for (const auto& [name, value] : node().attributes) found.push_back({.name = name, .value = value});
    return found;
  }
  Result<void> do_set_extended_attribute(const io::ExtendedAttribute& attribute, io::Caller caller) override {
    SK_TRY(meet("set_extended_attribute", caller));
    SK_TRY(take_change("setxattr"));
    storage_.machine_.tree.make({.kind = Change::Kind::attribute,
                                 .node = number_,
                                 .attribute = attribute.name,
                                 .attribute_value = attribute.value});
    return success();
  }
  Result<void> do_remove_extended_attribute(const std::string& attribute, io::Caller caller) override {
    SK_TRY(meet("remove_extended_attribute", caller));
    SK_TRY(take_change("removexattr"));
    if (!node().attributes.contains(attribute)) return io::call_failed("removexattr", name_, ENODATA);
    storage_.machine_.tree.make({.kind = Change::Kind::attribute, .node = number_, .attribute = attribute});
    return success();
  }
  // Carried out in any case: nobody could do it later.
  Result<void> do_close(io::Caller caller) override {
    if (is_closed_) return io::call_failed("close", name_, EBADF);
    auto met = storage_.meet("close", name_, caller);
    release();
    return met;
  }

 private:
  [[nodiscard]] const Node& node() const { return storage_.machine_.tree.seen().at(number_); }
  [[nodiscard]] bool is_device() const { return node().type == io::EntryType::block_device; }

  [[nodiscard]] Result<void> meet(std::string_view operation, io::Caller caller) {
    if (is_closed_) return io::call_failed(operation, name_, EBADF);
    return storage_.meet(operation, name_, caller);
  }
  [[nodiscard]] Result<void> take_change(std::string_view call, std::uint64_t bytes = 0) {
    if (mode_.access == io::OpenMode::Access::read &&
        (call == "pwrite" || call == "ftruncate" || call == "fallocate")) {
      return io::call_failed(call, name_, EBADF);
    }
    return storage_.take_change(node().filesystem, call, name_, bytes);
  }

  [[nodiscard]] Result<void> write(std::uint64_t offset, io::ConstBytes data) {
    if (mode_.direct && (offset % io::kDirectAlignment != 0 || data.size() % io::kDirectAlignment != 0)) {
      return make_error(Errc::internal, name_ + ": a direct write is not aligned");
    }
    SK_TRY(prepare(offset, data.size()));
    if (data.empty()) return success();
    storage_.machine_.tree.make({.kind = Change::Kind::write,
                                 .node = number_,
                                 .offset = offset,
                                 .length = data.size(),
                                 .data = std::make_shared<std::vector<std::byte>>(data.begin(), data.end()),
                                 .modified = storage_.machine_.clock});
    return success();
  }
  [[nodiscard]] Result<void> fill(std::uint64_t offset, std::uint64_t length, std::byte value) {
    SK_TRY(prepare(offset, length));
    if (length == 0) return success();
    storage_.machine_.tree.make({.kind = Change::Kind::fill,
                                 .node = number_,
                                 .offset = offset,
                                 .length = length,
                                 .value = value,
                                 .modified = storage_.machine_.clock});
    return success();
  }
  /// Room and size for contents that are to come.
  [[nodiscard]] Result<void> prepare(std::uint64_t offset, std::uint64_t length) {
    const std::uint64_t size = node().contents.size();
    if (is_device()) {
      SK_TRY(take_change("pwrite"));
      if (offset + length > size) return io::call_failed("pwrite", name_, ENOSPC);
      return success();
    }
    SK_TRY(take_change("pwrite", length == 0 ? 0 : node().contents.missing_bytes(offset, length)));
    if (offset + length > size) change_size(offset + length);
    return success();
  }
  void change_size(std::uint64_t size_bytes) {
    storage_.machine_.tree.make(
        {.kind = Change::Kind::size, .node = number_, .length = size_bytes, .modified = storage_.machine_.clock});
  }

  void release() {
    if (std::exchange(is_closed_, true)) return;
    auto& opened = storage_.opened_[number_];
    if (lock_ == io::LockKind::exclusive) opened.exclusive_lock = false;
    if (lock_ == io::LockKind::shared) --opened.shared_locks;
    if (mode_.exclusive) opened.claimed = false;
    --(mode_.access == io::OpenMode::Access::read ? opened.readers : opened.writers);
    storage_.release_if_unused(number_);
  }

  SimulatedStorage& storage_;
  NodeNumber number_;
  io::OpenMode mode_;
  std::string name_;
  std::vector<io::WriteCompletion> completions_;
  std::optional<io::LockKind> lock_;
  bool is_closed_ = false;
};

// ---- directories
// -----------------------------------------------------------------------------------------------------

class SimulatedDirectory final : public io::Directory {
 public:
  SimulatedDirectory(SimulatedStorage& storage, NodeNumber number, std::string name)
      : storage_(storage), number_(number), name_(std::move(name)) {
    ++storage_.opened_[number_].readers;
  }
  ~SimulatedDirectory() override { release(); }

  [[nodiscard]] const std::string& name() const override { return name_; }

 protected:
  Result<std::unique_ptr<io::File>> do_open_file(const std::string& path, io::OpenMode mode,
                                                 io::Caller caller) override {
    SK_TRY(meet("open_file", path, caller));
    const std::string full = full_name(path);
    if (mode.create == io::OpenMode::Create::must_create) {
      Node node;
      node.mode = mode.create_mode;
      SK_TRY_ASSIGN(const NodeNumber number, create(path, std::move(node), "creation"));
      return storage_.open_node(number, mode, full);
    }
    SK_TRY_ASSIGN(const NodeNumber number, entry_at(path, "open"));
    if (tree().at(number).type == io::EntryType::symlink) return io::call_failed("open", full, ELOOP);
    return storage_.open_node(number, mode, full);
  }
  Result<std::unique_ptr<io::Directory>> do_open_directory(const std::string& path, io::Caller caller) override {
    SK_TRY(meet("open_directory", path, caller));
    SK_TRY_ASSIGN(const NodeNumber number, entry_at(path, "open"));
    if (tree().at(number).type == io::EntryType::symlink) return io::call_failed("open", full_name(path), ELOOP);
    if (tree().at(number).type != io::EntryType::directory) return io::call_failed("open", full_name(path), ENOTDIR);
    return std::make_unique<SimulatedDirectory>(storage_, number, full_name(path));
  }
  Result<void> do_visit_entries(const std::function<Result<void>(const io::DirectoryEntry&)>& visit,
                                io::Caller caller) override {
    SK_TRY(meet("visit_entries", ".", caller));
    // A copy: whoever visits may change the directory. Backwards, so that nobody relies on an order.
    const auto entries = tree().at(number_).entries;
    for (auto entry = entries.rbegin(); entry != entries.rend(); ++entry) {
      SK_TRY(visit({.name = entry->first, .type = tree().at(entry->second).type}));
    }
    return success();
  }
  Result<io::EntryStatus> do_status_of(const std::string& path, io::Caller caller) override {
    SK_TRY(meet("status_of", path, caller));
    SK_TRY_ASSIGN(const NodeNumber number, entry_at(path, "lookup"));
    return storage_.status_of_node(number);
  }
  Result<std::string> do_read_symlink(const std::string& path, io::Caller caller) override {
    SK_TRY(meet("read_symlink", path, caller));
    SK_TRY_ASSIGN(const NodeNumber number, entry_at(path, "readlink"));
    if (tree().at(number).type != io::EntryType::symlink) return io::call_failed("readlink", full_name(path), EINVAL);
    return tree().at(number).target;
  }
  Result<void> do_create_directory(const std::string& path, std::uint32_t mode, io::Caller caller) override {
    SK_TRY(meet("create_directory", path, caller));
    Node node;
    node.type = io::EntryType::directory;
    node.mode = mode;
    node.links = 1;  // its own "."
    SK_TRY(create(path, std::move(node), "mkdirat"));
    return success();
  }
  Result<void> do_create_symlink(const std::string& target, const std::string& path, io::Caller caller) override {
    SK_TRY(meet("create_symlink", path, caller));
    Node node;
    node.type = io::EntryType::symlink;
    node.mode = 0777;
    node.target = target;
    SK_TRY(create(path, std::move(node), "symlinkat"));
    return success();
  }
  Result<void> do_create_hard_link(const std::string& existing, const std::string& path, io::Caller caller) override {
    SK_TRY(meet("create_hard_link", path, caller));
    SK_TRY_ASSIGN(const NodeNumber number, entry_at(existing, "linkat"));
    SK_TRY_ASSIGN(const Place place, place_of(path, "linkat"));
    if (place.node != 0) return io::call_failed("linkat", full_name(path), EEXIST);
    if (tree().at(number).type == io::EntryType::directory) return io::call_failed("linkat", full_name(path), EPERM);
    SK_TRY(take_change(place, "linkat", path));
    change_names({{place.directory, place.name, number}});
    storage_.machine_.tree.count_link(number, 1);
    return success();
  }
  Result<void> do_create_node(const std::string& path, io::EntryType type, std::uint32_t mode,
                              std::uint64_t node_device, io::Caller caller) override {
    SK_TRY(meet("create_node", path, caller));
    Node node;
    node.type = type;
    node.mode = mode;
    node.node_device = node_device;
    SK_TRY(create(path, std::move(node), "mknodat"));
    return success();
  }

  Result<void> do_rename(const std::string& from, const std::string& to, io::RenameKind kind,
                         io::Caller caller) override {
    SK_TRY(meet("rename", from, caller));
    SK_TRY_ASSIGN(const Place source, place_of(from, "renameat2"));
    SK_TRY_ASSIGN(const Place target, place_of(to, "renameat2"));
    const auto fail = [&](int number) {
      return io::call_failed("renameat2 to " + full_name(to), full_name(from), number);
    };
    if (source.node == 0) return fail(ENOENT);
    SK_TRY(take_change(target, "renameat2", from));
    if (kind == io::RenameKind::exchange) {
      if (target.node == 0) return fail(ENOENT);
      change_names({{target.directory, target.name, source.node}, {source.directory, source.name, target.node}}, true);
      return success();
    }
    if (target.node != 0) {
      if (kind == io::RenameKind::no_replace) return fail(EEXIST);
      if (target.node == source.node) return success();  // two names of one file: nothing happens
      const bool from_directory = tree().at(source.node).type == io::EntryType::directory;
      const bool to_directory = tree().at(target.node).type == io::EntryType::directory;
      if (from_directory && !to_directory) return fail(ENOTDIR);
      if (!from_directory && to_directory) return fail(EISDIR);
      if (to_directory && !tree().at(target.node).entries.empty()) return fail(ENOTEMPTY);
    }
    change_names({{target.directory, target.name, source.node}, {source.directory, source.name, 0}});
    if (target.node != 0) drop_link(target.node);
    return success();
  }
  Result<void> do_remove_file(const std::string& path, io::Caller caller) override {
    SK_TRY(meet("remove_file", path, caller));
    SK_TRY_ASSIGN(const Place place, place_of(path, "unlinkat"));
    if (place.node == 0) return io::call_failed("unlinkat", full_name(path), ENOENT);
    if (tree().at(place.node).type == io::EntryType::directory) {
      return io::call_failed("unlinkat", full_name(path), EISDIR);
    }
    SK_TRY(take_change(place, "unlinkat", path));
    change_names({{place.directory, place.name, 0}});
    drop_link(place.node);
    return success();
  }
  Result<void> do_remove_directory(const std::string& path, io::Caller caller) override {
    SK_TRY(meet("remove_directory", path, caller));
    SK_TRY_ASSIGN(const Place place, place_of(path, "unlinkat"));
    if (place.node == 0) return io::call_failed("unlinkat", full_name(path), ENOENT);
    if (tree().at(place.node).type != io::EntryType::directory) {
      return io::call_failed("unlinkat", full_name(path), ENOTDIR);
    }
    if (!tree().at(place.node).entries.empty()) return io::call_failed("unlinkat", full_name(path), ENOTEMPTY);
    SK_TRY(take_change(place, "unlinkat", path));
    change_names({{place.directory, place.name, 0}});
    drop_link(place.node);
    return success();
  }

  Result<void> do_set_attributes_of(const std::string& path, const io::Attributes& attributes,
                                    io::Caller caller) override {
    SK_TRY(meet("set_attributes_of", path, caller));
    SK_TRY_ASSIGN(const NodeNumber number, entry_at(path, "lookup"));
    SK_TRY(storage_.take_change(tree().at(number).filesystem, "fchownat", full_name(path)));
    auto& changing = storage_.machine_.tree;
    changing.make({.kind = Change::Kind::owner, .node = number, .owner = attributes.owner, .group = attributes.group});
    if (tree().at(number).type != io::EntryType::symlink) {
      changing.make({.kind = Change::Kind::mode, .node = number, .mode = attributes.mode});
    }
    changing.make({.kind = Change::Kind::times,
                   .node = number,
                   .accessed = attributes.accessed,
                   .modified = attributes.modified});
    return success();
  }
  Result<std::vector<io::ExtendedAttribute>> do_extended_attributes_of(const std::string& path,
                                                                       io::Caller caller) override {
    SK_TRY(meet("extended_attributes_of", path, caller));
    SK_TRY_ASSIGN(const NodeNumber number, entry_at(path, "lookup"));
    std::vector<io::ExtendedAttribute> found;
    for (const auto& [name, value] : tree().at(number).attributes) found.push_back({.name = name, .value = value});
    return found;
  }
  Result<void> do_set_extended_attribute_of(const std::string& path, const io::ExtendedAttribute& attribute,
                                            io::Caller caller) override {
    SK_TRY(meet("set_extended_attribute_of", path, caller));
    SK_TRY_ASSIGN(const NodeNumber number, entry_at(path, "lookup"));
    SK_TRY(storage_.take_change(tree().at(number).filesystem, "setxattr", full_name(path)));
    storage_.machine_.tree.make({.kind = Change::Kind::attribute,
                                 .node = number,
                                 .attribute = attribute.name,
                                 .attribute_value = attribute.value});
    return success();
  }
  Result<void> do_remove_extended_attribute_of(const std::string& path, const std::string& attribute,
                                               io::Caller caller) override {
    SK_TRY(meet("remove_extended_attribute_of", path, caller));
    SK_TRY_ASSIGN(const NodeNumber number, entry_at(path, "lookup"));
    SK_TRY(storage_.take_change(tree().at(number).filesystem, "removexattr", full_name(path)));
    if (!tree().at(number).attributes.contains(attribute))
      return io::call_failed("removexattr", full_name(path), ENODATA);
    storage_.machine_.tree.make({.kind = Change::Kind::attribute, .node = number, .attribute = attribute});
    return success();
  }
  Result<bool> do_clear_write_protection_of(const std::string& path, io::Caller caller) override {
    SK_TRY(meet("clear_write_protection_of", path, caller));
    SK_TRY(entry_at(path, "lookup"));
    return false;
  }

  Result<void> do_sync(io::Caller caller) override {
    auto met = meet("sync", ".", caller);
    if (!met.has_value()) return Error(met.assume_error()).with_code(Errc::sync_failed);
    storage_.machine_.tree.sync(number_);
    return success();
  }
  Result<void> do_sync_filesystem(io::Caller caller) override {
    auto met = meet("sync_filesystem", ".", caller);
    if (!met.has_value()) return Error(met.assume_error()).with_code(Errc::sync_failed);
    storage_.machine_.tree.sync_filesystem(tree().at(number_).filesystem);
    return success();
  }
  Result<io::SpaceFacts> do_space(io::Caller caller) override {
    SK_TRY(meet("space", ".", caller));
    const std::uint32_t filesystem = tree().at(number_).filesystem;
    const SimulatedMount& mount = storage_.machine_.mounts[filesystem];
    const auto usage = tree().usage(filesystem);
    io::SpaceFacts space;
    space.block_bytes = PagedBytes::kPageBytes;
    space.capacity_bytes = mount.capacity_bytes;
    space.free_bytes = space.available_bytes = mount.capacity_bytes - std::min(mount.capacity_bytes, usage.bytes);
    space.inodes = mount.nodes_max;
    space.inodes_free = mount.nodes_max - std::min(mount.nodes_max, usage.nodes);
    space.read_only = mount.read_only;
    space.filesystem_magic = mount.magic;
    return space;
  }
  Result<void> do_close(io::Caller caller) override {
    if (is_closed_) return io::call_failed("close", name_, EBADF);
    auto met = storage_.meet("close", name_, caller);
    release();
    return met;
  }

 private:
  struct Place {
    NodeNumber directory = 0;
    std::string name;
    NodeNumber node = 0;  ///< what the name leads to; 0: nothing
  };

  [[nodiscard]] const FileTree& tree() const { return storage_.machine_.tree.seen(); }
  [[nodiscard]] std::string full_name(const std::string& path) const {
    return path == "." ? name_ : name_ + "/" + path;
  }

  [[nodiscard]] Result<void> meet(std::string_view operation, const std::string& path, io::Caller caller) {
    if (is_closed_) return io::call_failed(operation, full_name(path), EBADF);
    return storage_.meet(operation, full_name(path), caller);
  }

  /// Where a name lies, beneath this directory and on its filesystem, without following anything.
  [[nodiscard]] Result<Place> place_of(const std::string& path, std::string_view call) const {
    Place place{.directory = number_, .name = path, .node = 0};
    const auto fail = [&](int number) { return io::call_failed(call, full_name(path), number); };
    for (std::size_t start = 0;;) {
      const std::size_t end = std::min(path.find('/', start), path.size());
      place.name = path.substr(start, end - start);
      if (place.name.empty()) return fail(path.empty() ? ENOENT : EINVAL);
      if (place.name == "..") return fail(EXDEV);
      const Node& directory = tree().at(place.directory);
      if (directory.type == io::EntryType::symlink) return fail(ELOOP);
      if (directory.type != io::EntryType::directory) return fail(ENOTDIR);
      NodeNumber next = place.directory;
      if (place.name != ".") {
        const auto found = directory.entries.find(place.name);
        next = found == directory.entries.end() ? 0 : found->second;
      }
      if (end == path.size()) {
        place.node = next;
        return place;
      }
      if (next == 0) return fail(ENOENT);
      if (tree().at(next).filesystem != tree().at(number_).filesystem) return fail(EXDEV);
      place.directory = next;
      start = end + 1;
    }
  }
  [[nodiscard]] Result<NodeNumber> entry_at(const std::string& path, std::string_view call) const {
    SK_TRY_ASSIGN(const Place place, place_of(path, call));
    if (place.node == 0) return io::call_failed(call, full_name(path), ENOENT);
    if (tree().at(place.node).filesystem != tree().at(number_).filesystem) {
      return io::call_failed(call, full_name(path), EXDEV);
    }
    return place.node;
  }
  [[nodiscard]] Result<void> take_change(const Place& place, std::string_view call, const std::string& path,
                                         std::uint64_t bytes = 0, std::uint64_t nodes = 0) {
    return storage_.take_change(tree().at(place.directory).filesystem, call, full_name(path), bytes, nodes);
  }
  [[nodiscard]] Result<NodeNumber> create(const std::string& path, Node node, std::string_view call) {
    SK_TRY_ASSIGN(const Place place, place_of(path, call));
    if (place.node != 0) return io::call_failed(call, full_name(path), EEXIST);
    const bool is_directory = node.type == io::EntryType::directory;
    SK_TRY(take_change(place, call, path, is_directory ? PagedBytes::kPageBytes : 0, 1));
    node.filesystem = tree().at(place.directory).filesystem;
    node.modified = node.accessed = storage_.machine_.clock;
    node.links += 1;
    const NodeNumber number = storage_.machine_.tree.create(std::move(node));
    change_names({{place.directory, place.name, number}});
    if (is_directory) storage_.machine_.tree.count_link(place.directory, 1);
    return number;
  }
  void change_names(std::vector<Change::Name> names, bool is_whole = false) {
    Change change;
    change.kind = Change::Kind::names;
    change.modified = storage_.machine_.clock;
    change.names = std::move(names);
    change.is_whole = is_whole;
    storage_.machine_.tree.make(std::move(change));
  }
  void drop_link(NodeNumber number) {
    const bool is_directory = tree().at(number).type == io::EntryType::directory;
    storage_.machine_.tree.count_link(number, is_directory ? -2 : -1);
    storage_.release_if_unused(number);
  }
  void release() {
    if (std::exchange(is_closed_, true)) return;
    --storage_.opened_[number_].readers;
    storage_.release_if_unused(number_);
  }

  SimulatedStorage& storage_;
  NodeNumber number_;
  std::string name_;
  bool is_closed_ = false;
};

// ---- the storage
// -----------------------------------------------------------------------------------------------------

SimulatedStorage::SimulatedStorage(SimulatedMachine& machine) : machine_(machine) {}
SimulatedStorage::~SimulatedStorage() = default;

Result<void> SimulatedStorage::meet(std::string_view operation, const std::string& object, io::Caller caller) {
  if (before_call) return before_call({.operation = operation, .object = object, .caller = caller});
  return success();
}

Result<NodeNumber> SimulatedStorage::find(const std::string& path, std::string_view call) const {
  const auto number = machine_.tree.seen().find(path);
  if (!number) return io::call_failed(call, path, ENOENT);
  return *number;
}

Result<void> SimulatedStorage::take_change(std::uint32_t filesystem, std::string_view call, const std::string& object,
                                           std::uint64_t bytes, std::uint64_t nodes) {
  const SimulatedMount& mount = machine_.mounts[filesystem];
  if (frozen_.contains(mount.mount_point) && object.starts_with(mount.mount_point)) {
    return io::call_failed(call, object, EDEADLK);
  }
  if (mount.read_only) return io::call_failed(call, object, EROFS);
  if (bytes == 0 && nodes == 0) return success();
  const auto usage = machine_.tree.seen().usage(filesystem);
  if (usage.bytes + bytes > mount.capacity_bytes || usage.nodes + nodes > mount.nodes_max) {
    return io::call_failed(call, object, ENOSPC);
  }
  return success();
}

void SimulatedStorage::release_if_unused(NodeNumber number) {
  const auto found = opened_.find(number);
  if (found != opened_.end() && (found->second.readers > 0 || found->second.writers > 0)) return;
  if (found != opened_.end()) opened_.erase(found);
  const FileTree& tree = machine_.tree.seen();
  if (tree.exists(number) && tree.at(number).links == 0) machine_.tree.forget(number);
}

Result<std::unique_ptr<io::File>> SimulatedStorage::open_node(NodeNumber number, const io::OpenMode& mode,
                                                              const std::string& name) {
  const Node& node = machine_.tree.seen().at(number);
  const bool writes = mode.access == io::OpenMode::Access::read_write;
  if (node.type == io::EntryType::directory && writes) return io::call_failed("open", name, EISDIR);
  if (node.type != io::EntryType::regular && node.type != io::EntryType::block_device) {
    return io::call_failed("open", name, EINVAL);
  }
  if (writes && machine_.mounts[node.filesystem].read_only) return io::call_failed("open", name, EROFS);
  Opened& opened = opened_[number];
  if (mode.exclusive && node.type == io::EntryType::block_device) {
    if (opened.claimed) return io::call_failed("open", name, EBUSY);
    opened.claimed = true;
  }
  ++(writes ? opened.writers : opened.readers);
  return std::make_unique<SimulatedFile>(*this, number, mode, name);
}

Result<std::unique_ptr<io::File>> SimulatedStorage::do_open_file(const std::string& path, io::OpenMode mode,
                                                                 io::Caller caller) {
  SK_TRY(meet("open_file", path, caller));
  if (mode.create == io::OpenMode::Create::must_create) {
    SK_TRY_ASSIGN(const NodeNumber parent, find(parent_of(path), "creation"));
    if (machine_.tree.seen().at(parent).entries.contains(last_of(path)))
      return io::call_failed("creation", path, EEXIST);
    SK_TRY(take_change(machine_.tree.seen().at(parent).filesystem, "creation", path, 0, 1));
    Node node;
    node.mode = mode.create_mode;
    node.filesystem = machine_.tree.seen().at(parent).filesystem;
    node.modified = node.accessed = machine_.clock;
    node.links = 1;
    const NodeNumber number = machine_.tree.create(std::move(node));
    machine_.tree.make(
        {.kind = Change::Kind::names, .modified = machine_.clock, .names = {{parent, last_of(path), number}}});
    return open_node(number, mode, path);
  }
  SK_TRY_ASSIGN(const NodeNumber number, find(path, "open"));
  return open_node(number, mode, path);
}

Result<std::unique_ptr<io::Directory>> SimulatedStorage::do_open_directory(const std::string& path, io::Caller caller) {
  SK_TRY(meet("open_directory", path, caller));
  SK_TRY_ASSIGN(const NodeNumber number, find(path, "open"));
  if (machine_.tree.seen().at(number).type != io::EntryType::directory) return io::call_failed("open", path, ENOTDIR);
  return std::make_unique<SimulatedDirectory>(*this, number, path);
}

io::EntryStatus SimulatedStorage::status_of_node(NodeNumber number) const {
  const Node& node = machine_.tree.seen().at(number);
  io::EntryStatus status;
  status.type = node.type;
  status.device = node.filesystem + 1;
  status.inode = number;
  status.mode = node.mode;
  status.owner = node.owner;
  status.group = node.group;
  status.links = node.links;
  status.size_bytes = node.type == io::EntryType::symlink ? node.target.size() : node.contents.size();
  if (node.type == io::EntryType::block_device) status.size_bytes = 0;
  status.allocated_bytes =
      node.type == io::EntryType::directory ? PagedBytes::kPageBytes : node.contents.allocated_bytes();
  status.node_device = node.type == io::EntryType::block_device ? kDeviceNumberBase + number : node.node_device;
  status.modified = node.modified;
  status.accessed = node.accessed;
  status.changed = {.seconds = static_cast<std::int64_t>(node.changed), .nanoseconds = 0};
  return status;
}

Result<io::EntryStatus> SimulatedStorage::do_status_of(const std::string& path, io::Caller caller) {
  SK_TRY(meet("status_of", path, caller));
  SK_TRY_ASSIGN(const NodeNumber number, find(path, "stat"));
  return status_of_node(number);
}

Result<io::DeviceIdentity> SimulatedStorage::identity_of(const std::string& path) const {
  SK_TRY_ASSIGN(const NodeNumber number, find(path, "stat"));
  const Node& node = machine_.tree.seen().at(number);
  io::DeviceIdentity identity;
  if (node.type == io::EntryType::block_device) {
    identity.is_block_device = true;
    identity.device = kDeviceNumberBase + number;
    identity.backing = {"block 8:" + std::to_string(number)};
  } else if (node.type == io::EntryType::directory) {
    identity.backing = {"block 9:" + std::to_string(node.filesystem)};
  } else {
    identity.file_device = node.filesystem + 1;
    identity.file_inode = number;
    identity.backing = {"file " + std::to_string(node.filesystem + 1) + ":" + std::to_string(number)};
  }
  return identity;
}

Result<io::DeviceIdentity> SimulatedStorage::do_identify(const std::string& path, io::Caller caller) {
  SK_TRY(meet("identify", path, caller));
  return identity_of(path);
}
Result<std::vector<io::Mount>> SimulatedStorage::do_mounts(io::Caller caller) {
  SK_TRY(meet("mounts", "/proc/self/mountinfo", caller));
  std::vector<io::Mount> mounts;
  for (std::size_t i = 0; i < machine_.mounts.size(); ++i) {
    const SimulatedMount& mount = machine_.mounts[i];
    mounts.push_back({.mount_point = mount.mount_point,
                      .filesystem = mount.type,
                      .source = "/dev/mount" + std::to_string(i),
                      .device = i + 1,
                      .read_only = mount.read_only});
  }
  return mounts;
}
Result<std::string> SimulatedStorage::do_holder_of(const std::string& path, io::Caller caller) {
  SK_TRY(meet("holder_of", path, caller));
  SK_TRY(find(path, "stat"));
  return path == machine_.root_device ? std::string("mounted at /") : std::string();
}
Result<std::optional<int>> SimulatedStorage::do_lock_holder(const std::string& path, io::Caller caller) {
  SK_TRY(meet("lock_holder", path, caller));
  const auto number = machine_.tree.seen().find(path);
  const auto opened = number ? opened_.find(*number) : opened_.end();
  if (opened == opened_.end() || !opened->second.exclusive_lock) return std::optional<int>();
  return std::optional<int>(1);
}
Result<std::optional<std::uint64_t>> SimulatedStorage::do_filesystem_errors(const std::string& path,
                                                                            io::Caller caller) {
  SK_TRY(meet("filesystem_errors", path, caller));
  SK_TRY_ASSIGN(const NodeNumber number, find(path, "stat"));
  return std::optional(machine_.mounts[machine_.tree.seen().at(number).filesystem].errors_counted);
}
Result<io::StorageHealth> SimulatedStorage::do_health_of(const std::string& path, io::Caller caller) {
  SK_TRY(meet("health_of", path, caller));
  SK_TRY_ASSIGN(const NodeNumber number, find(path, "stat"));
  io::StorageHealth health;
  const SimulatedMount& mount = machine_.mounts[machine_.tree.seen().at(number).filesystem];
  if (mount.read_only) health.read_only.push_back(mount.type + " at " + mount.mount_point);
  return health;
}
Result<std::optional<std::uint64_t>> SimulatedStorage::do_bytes_written(const std::string& path, io::Caller caller) {
  SK_TRY(meet("bytes_written", path, caller));
  return std::optional<std::uint64_t>();
}
Result<io::DeviceIdentity> SimulatedStorage::do_root_device(io::Caller caller) {
  SK_TRY(meet("root_device", "/", caller));
  if (machine_.root_device.empty()) return io::DeviceIdentity{};
  return identity_of(machine_.root_device);
}
Result<std::string> SimulatedStorage::do_kernel_command_line(io::Caller caller) {
  SK_TRY(meet("kernel_command_line", "/proc/cmdline", caller));
  return std::string("console=ttyS0");
}
Result<std::unique_ptr<io::Freeze>> SimulatedStorage::do_freeze(const std::string& path, std::chrono::milliseconds,
                                                                io::Caller caller) {
  SK_TRY(meet("freeze", path, caller));
  return simulate_freeze(frozen_, path);
}
Result<bool> SimulatedStorage::do_thaw(const std::string& path, io::Caller caller) {
  SK_TRY(meet("thaw", path, caller));
  return frozen_.erase(path) != 0;
}
Result<std::vector<std::string>> SimulatedStorage::do_lying_on(const std::string& filesystem,
                                                               const std::vector<std::string>&, io::Caller caller) {
  SK_TRY(meet("lying_on", filesystem, caller));
  return std::vector<std::string>();
}

}  // namespace slotkeeper::test
