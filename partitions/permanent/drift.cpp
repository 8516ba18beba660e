#include "partitions/permanent/drift.hpp"

#include <algorithm>
#include <cstring>

#include "partitions/permanent/paths.hpp"
#include "partitions/permanent/root_digest.hpp"
#include "partitions/permanent/steady_file.hpp"

namespace slotkeeper::permanent {
namespace {

constexpr std::size_t kBufferBytes = std::size_t{256} * 1024;
constexpr std::uint64_t kEntriesBetweenQuestions = 32;

template <std::size_t count>
std::uint64_t hash_of(const std::array<std::uint64_t, count>& numbers) {
  return fast_hash(std::as_bytes(std::span(numbers)));
}

std::uint64_t hash_of(const std::string& path) { return fast_hash(io::as_bytes(path)); }

/// Of a directory neither size nor links: what is in it may be a log.
std::uint64_t hash_of_status(const io::EntryStatus& status) {
  const bool is_directory = status.type == io::EntryType::directory;
  return hash_of(std::array<std::uint64_t, 8>{static_cast<std::uint64_t>(status.type), status.inode, status.mode,
                                              status.owner, status.group, is_directory ? 0 : status.size_bytes,
                                              is_directory ? 0 : status.links, status.node_device});
}

std::uint32_t hash_of_times(const io::EntryStatus& status) {
  return static_cast<std::uint32_t>(hash_of(std::array<std::uint64_t, 4>{
      static_cast<std::uint64_t>(status.modified.seconds), static_cast<std::uint64_t>(status.modified.nanoseconds),
      static_cast<std::uint64_t>(status.changed.seconds), static_cast<std::uint64_t>(status.changed.nanoseconds)}));
}

Result<std::vector<io::ExtendedAttribute>> attributes_of(io::Directory& parent, const std::string& name) {
  SK_TRY_ASSIGN(auto attributes, parent.extended_attributes_of(name));
  std::ranges::sort(attributes);
  return attributes;
}

}  // namespace

DriftWatch::DriftWatch(const ClassTable& classes, Inventory inventory, io::TimeStamp since)
    : classes_(&classes), inventory_(std::move(inventory)) {
  std::size_t watched = 0;
  for (std::size_t i = 0; i < inventory_.entries.size(); ++i) {
    if (inventory_.entries.kind(i) == ClassKind::config) ++watched;
  }
  expected_.reserve(watched);
  std::uint32_t index = 0;
  for (const Entry& entry : inventory_.entries) {
    if (entry.kind == ClassKind::config) {
      const bool fresh = entry.status.changed.seconds >= since.seconds - kClockTickMaxS;
      expected_.push_back({.path = hash_of(entry.path),
                           .status = hash_of_status(entry.status),
                           .times = hash_of_times(entry.status),
                           .index = index & 0x7fffffffU,
                           .fresh = fresh ? 1U : 0U});
    }
    ++index;
  }
  std::ranges::sort(expected_, {}, &Expected::path);
}

Result<DriftWatch> DriftWatch::begin(io::Directory& root, const ClassTable& classes, io::TimeStamp now,
                                     ProgressSink& progress) {
  SK_TRY(root.sync_filesystem());
  SK_TRY_ASSIGN(Inventory inventory, take_inventory(root, classes, HashScope::config, progress));
  return DriftWatch(classes, std::move(inventory), now);
}

/// One quick look: a walk in which only config entries and directories are looked at.
class SecondLook {
 public:
  SecondLook(const DriftWatch& watch, const std::function<bool()>& may_go_on)
      : watch_(watch), may_go_on_(may_go_on), seen_(watch.expected_.size(), false), buffer_(kBufferBytes) {}

  Result<QuickLook> run(io::Directory& root) {
    SK_TRY_ASSIGN(const io::EntryStatus top, root.status_of("."));
    device_ = top.device;
    if (is_config(".")) SK_TRY(compare(root, ".", ".", top));
    SK_TRY(walk(root, "", 0));
    look_.complete = !stopped_;
    for (std::size_t i = 0; look_.complete && i < seen_.size(); ++i) {
      if (seen_[i]) continue;
      const Entry gone = watch_.inventory_.entries[watch_.expected_[i].index];
      add(gone.path);
    }
    std::ranges::sort(look_.paths);
    return std::move(look_);
  }

 private:
  [[nodiscard]] bool is_config(const std::string& path) const {
    return watch_.classes_->classify(path).kind == ClassKind::config;
  }

  void add(const std::string& path) {
    if (look_.paths.size() < kDriftPathsMax) look_.paths.push_back(path);
  }

  bool goes_on() {
    if (!stopped_ && ++questions_ % kEntriesBetweenQuestions == 0) stopped_ = !may_go_on_();
    return !stopped_;
  }

  Result<void> walk(io::Directory& directory, const std::string& prefix, std::size_t depth) {
    std::vector<io::DirectoryEntry> entries;
    SK_TRY(directory.visit_entries([&](const io::DirectoryEntry& entry) -> Result<void> {
      const std::string path = prefix + entry.name;
      const bool counts = entry.type == io::EntryType::directory || is_config(path);
      if (counts && path != kOwnDirectory && path.size() <= kPathMaxBytes) entries.push_back(entry);
      goes_on();
      return success();
    }));
    for (const io::DirectoryEntry& entry : entries) {
      if (!goes_on()) return success();
      SK_TRY(look_at(directory, entry.name, prefix + entry.name, depth + 1));
    }
    return success();
  }

  Result<void> look_at(io::Directory& parent, const std::string& name, const std::string& path, std::size_t depth) {
    const Result<io::EntryStatus> found = parent.status_of(name);
    if (!found.has_value()) return passed_over(found.assume_error());
    const io::EntryStatus& status = found.assume_value();
    if (status.device != device_ || depth > kDepthMax) return success();
    const bool is_directory = status.type == io::EntryType::directory;
    if (path == "lost+found" && is_directory && status.owner == 0) return success();
    if (is_config(path)) {
      const Result<void> compared = compare(parent, name, path, status);
      if (!compared.has_value()) return passed_over(compared.assume_error());
    }
    if (!is_directory) return success();
    const Result<std::unique_ptr<io::Directory>> opened = parent.open_directory(name);
    if (!opened.has_value()) return passed_over(opened.assume_error());
    SK_TRY(walk(*opened.assume_value(), path + "/", depth));
    return opened.assume_value()->close();
  }

  /// What is gone shows at the end, what is mounted does not count.
  static Result<void> passed_over(const Error& error) {
    if (is_gone(error) || is_mount(error)) return success();
    return Error(error);
  }

  Result<void> compare(io::Directory& parent, const std::string& name, const std::string& path,
                       const io::EntryStatus& status) {
    ++look_.entries;
    const auto& expected = watch_.expected_;
    const auto found = std::ranges::lower_bound(expected, hash_of(path), {}, &DriftWatch::Expected::path);
    if (found == expected.end() || found->path != hash_of(path)) {
      add(path);
      return success();
    }
    const bool same_times = found->times == hash_of_times(status);
    const bool is_directory = status.type == io::EntryType::directory;
    bool same = found->status == hash_of_status(status) && (same_times || is_directory);
    if (same && (found->fresh != 0 || !same_times)) {
      SK_TRY_ASSIGN(same, reads_the_same(parent, name, status, found->index));
    }
    seen_[static_cast<std::size_t>(found - expected.begin())] = true;
    if (!same) add(path);
    return success();
  }

  /// Attributes, contents or target, where times do not tell.
  Result<bool> reads_the_same(io::Directory& parent, const std::string& name, const io::EntryStatus& status,
                              std::uint32_t index) {
    const Entry before = watch_.inventory_.entries[index];
    SK_TRY_ASSIGN(const auto attributes, attributes_of(parent, name));
    if (attributes != before.attributes) return false;
    if (status.type == io::EntryType::symlink) {
      SK_TRY_ASSIGN(const std::string target, parent.read_symlink(name));
      return target == before.link_target;
    }
    if (status.type != io::EntryType::regular) return true;
    if (look_.reread_bytes + status.size_bytes > kRereadMaxBytes) {
      stopped_ = true;
      return true;
    }
    SK_TRY_ASSIGN(const auto file, parent.open_file(name, io::OpenMode::read_only()));
    std::uint64_t size_bytes = 0;
    SK_TRY_ASSIGN(const Sha256 digest, hash_contents(*file, buffer_, size_bytes));
    SK_TRY(file->close());
    look_.reread_bytes += size_bytes;
    return before.digest && digest == *before.digest;
  }

  const DriftWatch& watch_;
  const std::function<bool()>& may_go_on_;
  std::vector<bool> seen_;
  std::vector<std::byte> buffer_;
  std::uint64_t device_ = 0;
  std::uint64_t questions_ = 0;
  bool stopped_ = false;
  QuickLook look_;
};

Result<QuickLook> DriftWatch::look_again(io::Directory& root, const std::function<bool()>& may_go_on) const {
  return with_context(SecondLook(*this, may_go_on).run(root), "second look at the permanent partition");
}

Result<std::vector<std::string>> paths_unlike_snapshot(StoreArea& area, const Inventory& inventory, std::size_t limit) {
  std::vector<std::string> paths;
  const auto add = [&](const std::string& path) {
    if (paths.size() < limit) paths.push_back(path);
  };
  std::size_t next = 0;
  // Both come in the same order; what one has and the other has not is a difference.
  const auto skip_until = [&](const std::string* path) {
    for (; next < inventory.entries.size(); ++next) {
      const Entry entry = inventory.entries[next];
      if (path != nullptr && !path_before(entry.path, *path)) return;
      if (entry.kind == ClassKind::config) add(entry.path);
    }
  };
  const auto visit = [&](SnapshotReader::Item&& item) -> Result<void> {
    if (item.is_mount || item.entry.kind != ClassKind::config) return success();
    skip_until(&item.entry.path);
    bool same = false;
    if (next < inventory.entries.size()) {
      const Entry entry = inventory.entries[next];
      if (entry.path == item.entry.path) {
        same = entry.kind == ClassKind::config && entry.status.type == item.entry.status.type &&
               serialise(entry) == serialise(item.entry);
        ++next;
      }
    }
    if (!same) add(item.entry.path);
    return success();
  };
  SK_TRY_ASSIGN(const auto contents, read_snapshot(area, visit));
  static_cast<void>(contents);
  skip_until(nullptr);
  return paths;
}

}  // namespace slotkeeper::permanent
