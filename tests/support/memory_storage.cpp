#include "tests/support/memory_storage.hpp"

#include <algorithm>
#include <cerrno>

namespace slotkeeper::test {
namespace {

constexpr std::size_t kSectorBytes = 512;

Error fault(int os_errno, const std::string& what) { return make_error(Errc::io_error, what, os_errno); }

void store(std::vector<std::byte>& into, std::uint64_t offset, io::ConstBytes data) {
  if (into.size() < offset + data.size()) into.resize(static_cast<std::size_t>(offset + data.size()));
  std::copy(data.begin(), data.end(), into.begin() + static_cast<std::ptrdiff_t>(offset));
}

/// The pieces of a write that a device takes or loses as a whole.
std::vector<MemoryNode::Write> sectors_of(const MemoryNode::Write& write) {
  std::vector<MemoryNode::Write> sectors;
  for (std::size_t done = 0; done < write.data.size();) {
    const std::uint64_t offset = write.offset + done;
    const std::size_t length = std::min<std::size_t>(write.data.size() - done, kSectorBytes - offset % kSectorBytes);
    const auto first = write.data.begin() + static_cast<std::ptrdiff_t>(done);
    sectors.push_back({offset, {first, first + static_cast<std::ptrdiff_t>(length)}});
    done += length;
  }
  return sectors;
}

}  // namespace

class MemoryFile final : public io::File {
 public:
  MemoryFile(MemoryStorage& storage, MemoryNode& node, std::string path, io::OpenMode mode)
      : storage_(storage), node_(node), path_(std::move(path)), mode_(mode), boot_(storage.boot_) {}
  ~MemoryFile() override { release(); }

  [[nodiscard]] const std::string& name() const override { return path_; }

 protected:
  Result<std::size_t> do_read_at(std::uint64_t offset, io::Bytes into, io::Caller) override {
    SK_TRY(check_usable());
    SK_TRY(check_alignment(offset, into));
    if (offset >= node_.contents.size()) return std::size_t{0};
    const auto length = std::min<std::size_t>(into.size(), node_.contents.size() - static_cast<std::size_t>(offset));
    std::copy_n(node_.contents.begin() + static_cast<std::ptrdiff_t>(offset), length, into.begin());
    return length;
  }

  Result<void> do_write_at(std::uint64_t offset, io::ConstBytes data, io::Caller) override {
    SK_TRY(check_usable());
    SK_TRY(check_alignment(offset, data));
    if (mode_.access == io::OpenMode::Access::read) return fault(EBADF, path_ + " is open for reading only");
    if (node_.is_block_device && offset + data.size() > node_.contents.size()) return fault(ENOSPC, path_ + " is full");
    SK_TRY(storage_.begin_change());
    ++storage_.writes_;
    if (storage_.writes_ == storage_.plan_.fail_write) return fault(EIO, path_ + ": planned write error");
    MemoryNode::Write write{offset, {data.begin(), data.end()}};
    if (storage_.writes_ == storage_.plan_.flip_in_write) write.data.front() ^= std::byte{1};
    store(node_.contents, write.offset, write.data);
    node_.unflushed.push_back(std::move(write));
    return success();
  }

  Result<void> do_submit(std::span<const io::WriteRequest> batch, io::Caller caller) override {
    for (const io::WriteRequest& request : batch) {
      completions_.push_back({.tag = request.tag, .result = do_write_at(request.offset, request.data, caller)});
    }
    return success();
  }

  Result<std::vector<io::WriteCompletion>> do_reap(std::size_t minimum, io::Caller) override {
    SK_INVARIANT(minimum <= completions_.size());
    return std::exchange(completions_, {});
  }

  Result<void> do_sync(io::Caller) override {
    SK_TRY(check_usable());
    SK_TRY(storage_.begin_change());
    ++storage_.syncs_;
    if (storage_.syncs_ == storage_.plan_.fail_sync) {
      return make_error(Errc::sync_failed, path_ + ": planned sync error", EIO);
    }
    node_.durable = node_.contents;
    node_.unflushed.clear();
    return success();
  }

  Result<std::uint64_t> do_size(io::Caller) override {
    SK_TRY(check_usable());
    return static_cast<std::uint64_t>(node_.contents.size());
  }

  Result<io::EntryStatus> do_status(io::Caller caller) override {
    SK_TRY(check_usable());
    return storage_.do_status_of(path_, caller);
  }

  Result<void> do_resize(std::uint64_t size_bytes, io::Caller) override {
    SK_TRY(check_usable());
    SK_TRY(storage_.begin_change());
    node_.contents.resize(static_cast<std::size_t>(size_bytes));
    return success();
  }

  Result<void> do_allocate(std::uint64_t, std::uint64_t, io::Caller) override { return check_usable(); }

  Result<void> do_zero(std::uint64_t offset, std::uint64_t length, io::Caller caller) override {
    const std::vector<std::byte> zeros(static_cast<std::size_t>(length) + io::kDirectAlignment);
    const auto misaligned = reinterpret_cast<std::uintptr_t>(zeros.data()) % io::kDirectAlignment;
    return do_write_at(offset,
                       io::ConstBytes(zeros).subspan((io::kDirectAlignment - misaligned) % io::kDirectAlignment,
                                                     static_cast<std::size_t>(length)),
                       caller);
  }

  Result<void> do_discard(std::uint64_t, std::uint64_t, io::Caller) override { return check_usable(); }

  Result<io::ReadBackLevel> do_drop_cache(io::Caller) override {
    SK_TRY(check_usable());
    return mode_.direct ? io::ReadBackLevel::direct : io::ReadBackLevel::cache_dropped;
  }

  Result<io::FileLayout> do_layout(io::Caller) override {
    SK_TRY(check_usable());
    return node_.layout;
  }

  Result<bool> do_try_lock(io::LockKind, io::Caller) override {
    SK_TRY(check_usable());
    if (node_.is_locked && !has_lock_) return false;
    node_.is_locked = has_lock_ = true;
    return true;
  }

  Result<bool> do_try_lease(io::LeaseKind, io::Caller) override { return false; }
  Result<void> do_set_attributes(const io::Attributes&, io::Caller) override { return unsupported(); }
  Result<std::vector<io::ExtendedAttribute>> do_extended_attributes(io::Caller) override { return unsupported(); }
  Result<void> do_set_extended_attribute(const io::ExtendedAttribute&, io::Caller) override { return unsupported(); }
  Result<void> do_remove_extended_attribute(const std::string&, io::Caller) override { return unsupported(); }

  Result<void> do_close(io::Caller) override {
    SK_TRY(check_usable());
    release();
    return success();
  }

 private:
  [[nodiscard]] Error unsupported() const { return fault(EOPNOTSUPP, path_ + " has no attributes"); }

  [[nodiscard]] Result<void> check_usable() const {
    if (is_closed_ || boot_ != storage_.boot_) return fault(EBADF, path_ + " is closed");
    return storage_.check_power();
  }

  [[nodiscard]] Result<void> check_alignment(std::uint64_t offset, io::ConstBytes data) const {
    if (!mode_.direct) return success();
    const auto address = reinterpret_cast<std::uintptr_t>(data.data());
    if ((offset | data.size() | address) % io::kDirectAlignment == 0) return success();
    return fault(EINVAL, path_ + ": a direct access at " + std::to_string(offset) + " is not aligned");
  }

  void release() {
    if (is_closed_) return;
    is_closed_ = true;
    if (boot_ != storage_.boot_) return;  // a crash released everything already
    if (has_lock_) node_.is_locked = false;
    if (mode_.exclusive) node_.is_claimed = false;
  }

  MemoryStorage& storage_;
  MemoryNode& node_;
  std::string path_;
  io::OpenMode mode_;
  std::uint64_t boot_;
  bool is_closed_ = false;
  bool has_lock_ = false;
  std::vector<io::WriteCompletion> completions_;
};

/// The directory that holds a file: it can be synced, alone and with everything else, and no more.
class MemoryDirectory final : public io::Directory {
 public:
  MemoryDirectory(MemoryStorage& storage, std::string path) : storage_(storage), path_(std::move(path)) {}
  [[nodiscard]] const std::string& name() const override { return path_; }

 protected:
  using Text = const std::string&;
  Result<void> do_sync(io::Caller) override {
    SK_TRY(storage_.begin_change());
    ++storage_.syncs_;
    if (storage_.syncs_ == storage_.plan_.fail_sync) {
      return make_error(Errc::sync_failed, path_ + ": planned sync error", EIO);
    }
    return success();
  }
  Result<void> do_close(io::Caller) override { return success(); }

  Result<std::unique_ptr<io::File>> do_open_file(Text, io::OpenMode, io::Caller) override { return none(); }
  Result<std::unique_ptr<io::Directory>> do_open_directory(Text, io::Caller) override { return none(); }
  Result<void> do_visit_entries(const std::function<Result<void>(const io::DirectoryEntry&)>&, io::Caller) override {
    return none();
  }
  Result<io::EntryStatus> do_status_of(Text path, io::Caller caller) override {
    return storage_.do_status_of(path_ + "/" + path, caller);
  }
  Result<std::string> do_read_symlink(Text, io::Caller) override { return none(); }
  Result<void> do_create_directory(Text, std::uint32_t, io::Caller) override { return none(); }
  Result<void> do_create_symlink(Text, Text, io::Caller) override { return none(); }
  Result<void> do_create_hard_link(Text, Text, io::Caller) override { return none(); }
  Result<void> do_create_node(Text, io::EntryType, std::uint32_t, std::uint64_t, io::Caller) override { return none(); }
  Result<void> do_rename(Text, Text, io::RenameKind, io::Caller) override { return none(); }
  Result<void> do_remove_file(Text, io::Caller) override { return none(); }
  Result<void> do_remove_directory(Text, io::Caller) override { return none(); }
  Result<void> do_set_attributes_of(Text, const io::Attributes&, io::Caller) override { return none(); }
  Result<std::vector<io::ExtendedAttribute>> do_extended_attributes_of(Text, io::Caller) override { return none(); }
  Result<void> do_set_extended_attribute_of(Text, const io::ExtendedAttribute&, io::Caller) override { return none(); }
  Result<void> do_remove_extended_attribute_of(Text, Text, io::Caller) override { return none(); }
  Result<bool> do_clear_write_protection_of(Text, io::Caller) override { return none(); }
  /// There is one filesystem for all.
  Result<void> do_sync_filesystem(io::Caller caller) override {
    SK_TRY(do_sync(caller));
    for (auto& [path, node] : storage_.nodes_) {
      node->durable = node->contents;
      node->unflushed.clear();
    }
    return success();
  }
  Result<io::SpaceFacts> do_space(io::Caller) override {
    const auto known = storage_.space.find(path_);
    if (known == storage_.space.end()) return none();
    return known->second;
  }

 private:
  [[nodiscard]] Error none() const { return fault(EOPNOTSUPP, path_ + " is a directory in name only"); }

  MemoryStorage& storage_;
  std::string path_;
};

MemoryNode& MemoryStorage::add(const std::string& path, std::uint64_t size_bytes, bool is_block_device) {
  auto node = std::make_unique<MemoryNode>();
  node->is_block_device = is_block_device;
  node->number = ++numbers_;
  node->contents.resize(static_cast<std::size_t>(size_bytes));
  node->durable = node->contents;
  return *(nodes_[path] = std::move(node));
}

MemoryNode& MemoryStorage::add_file(const std::string& path, std::uint64_t size_bytes) {
  return add(path, size_bytes, false);
}
MemoryNode& MemoryStorage::add_device(const std::string& path, std::uint64_t size_bytes) {
  return add(path, size_bytes, true);
}

void MemoryStorage::plan_faults(const MemoryFaults& plan) {
  plan_ = plan;
  changes_ = writes_ = syncs_ = 0;
}

Result<void> MemoryStorage::check_power() const {
  if (power_is_cut_) return fault(EIO, "the power is cut");
  return success();
}

Result<void> MemoryStorage::begin_change() {
  SK_TRY(check_power());
  if (++changes_ == plan_.cut_at_change) power_is_cut_ = true;
  return check_power();
}

void MemoryStorage::crash(std::uint64_t seed) {
  std::mt19937_64 random(seed);
  for (auto& [path, node] : nodes_) {
    std::vector<MemoryNode::Write> pieces;
    const bool torn = random() % 2 == 0;
    for (MemoryNode::Write& write : node->unflushed) {
      if (!torn) {
        pieces.push_back(std::move(write));
        continue;
      }
      for (MemoryNode::Write& sector : sectors_of(write)) pieces.push_back(std::move(sector));
    }
    std::shuffle(pieces.begin(), pieces.end(), random);
    const std::uint64_t kept_in_eight = random() % 9;
    for (const MemoryNode::Write& piece : pieces) {
      if (random() % 8 < kept_in_eight) store(node->durable, piece.offset, piece.data);
    }
    node->contents = node->durable;
    node->unflushed.clear();
    node->is_locked = node->is_claimed = false;
  }
  frozen_.clear();
  ++boot_;
  power_is_cut_ = false;
  plan_faults({});
}

Result<MemoryNode*> MemoryStorage::find(const std::string& path) {
  SK_TRY(check_power());
  const auto link = symlinks_.find(path);
  const auto found = nodes_.find(link == symlinks_.end() ? path : link->second);
  if (found == nodes_.end()) return fault(ENOENT, path);
  return found->second.get();
}

Result<std::unique_ptr<io::File>> MemoryStorage::do_open_file(const std::string& path, io::OpenMode mode, io::Caller) {
  SK_TRY(check_power());
  if (symlinks_.count(path) != 0 && !mode.follow_symlink) return fault(ELOOP, path);
  if (mode.create == io::OpenMode::Create::must_create) {
    if (exists(path)) return fault(EEXIST, path);
    add_file(path, 0);
  }
  SK_TRY_ASSIGN(MemoryNode* const node, find(path));
  if (mode.direct && plan_.without_direct_io) return fault(EINVAL, path);
  if (mode.exclusive && node->is_block_device) {
    if (node->is_claimed || holders.count(path) != 0) return fault(EBUSY, path);
    node->is_claimed = true;
  }
  return std::unique_ptr<io::File>(new MemoryFile(*this, *node, path, mode));
}

Result<std::unique_ptr<io::Directory>> MemoryStorage::do_open_directory(const std::string& path, io::Caller) {
  SK_TRY(check_power());
  return std::unique_ptr<io::Directory>(new MemoryDirectory(*this, path));
}

Result<io::EntryStatus> MemoryStorage::do_status_of(const std::string& path, io::Caller) {
  io::EntryStatus status;
  if (const auto filesystem = filesystem_of.find(path); filesystem != filesystem_of.end()) {
    status.type = io::EntryType::directory;
    status.device = filesystem->second;
    return status;
  }
  SK_TRY_ASSIGN(const MemoryNode* const node, find(path));
  status.inode = node->number;
  if (node->is_block_device) {
    status.type = io::EntryType::block_device;
    status.node_device = node->number;
  } else {
    status.size_bytes = node->contents.size();
  }
  return status;
}

Result<io::DeviceIdentity> MemoryStorage::do_identify(const std::string& path, io::Caller) {
  SK_TRY_ASSIGN(const MemoryNode* const node, find(path));
  io::DeviceIdentity identity;
  identity.is_block_device = node->is_block_device;
  if (node->is_block_device) {
    identity.device = node->number;
    identity.backing = {"block 7:" + std::to_string(node->number)};
  } else {
    identity.file_inode = node->number;
    identity.backing = {"file 1:" + std::to_string(node->number)};
  }
  if (const auto other = backing.find(path); other != backing.end()) {
    identity.backing.insert(identity.backing.end(), other->second.begin(), other->second.end());
  }
  return identity;
}

Result<std::string> MemoryStorage::do_holder_of(const std::string& path, io::Caller) {
  const auto holder = holders.find(path);
  return holder == holders.end() ? std::string() : holder->second;
}

Result<std::optional<int>> MemoryStorage::do_lock_holder(const std::string& path, io::Caller) {
  SK_TRY_ASSIGN(const MemoryNode* const node, find(path));
  return node->is_locked ? std::optional<int>(1) : std::nullopt;
}

Result<std::unique_ptr<io::Freeze>> MemoryStorage::do_freeze(const std::string& path, std::chrono::milliseconds,
                                                             io::Caller) {
  SK_TRY(check_power());
  return simulate_freeze(frozen_, path);
}

Result<bool> MemoryStorage::do_thaw(const std::string& path, io::Caller) {
  SK_TRY(check_power());
  return frozen_.erase(path) != 0;
}

Result<std::optional<std::uint64_t>> MemoryStorage::do_filesystem_errors(const std::string& path, io::Caller) {
  const auto known = errors_counted.find(path);
  return known == errors_counted.end() ? std::optional<std::uint64_t>() : std::optional(known->second);
}

Result<io::StorageHealth> MemoryStorage::do_health_of(const std::string& path, io::Caller) {
  const auto known = health.find(path);
  return known == health.end() ? io::StorageHealth() : known->second;
}

Result<std::optional<std::uint64_t>> MemoryStorage::do_bytes_written(const std::string& path, io::Caller) {
  const auto known = written.find(path);
  return known == written.end() ? std::optional<std::uint64_t>() : std::optional(known->second);
}

}  // namespace slotkeeper::test
