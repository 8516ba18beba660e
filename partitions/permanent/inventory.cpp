#include "partitions/permanent/inventory.hpp"

#include <algorithm>
#include <array>
#include <cerrno>

#include "partitions/permanent/paths.hpp"
#include "partitions/permanent/root_digest.hpp"
#include "partitions/permanent/steady_file.hpp"

namespace slotkeeper::permanent {
namespace {

constexpr std::size_t kBufferBytes = std::size_t{256} * 1024;
constexpr std::size_t kBusyPathsMax = 20;

bool reads_contents(HashScope scope, ClassKind kind) {
  switch (scope) {
    case HashScope::nothing:
      return false;
    case HashScope::config:
      return kind == ClassKind::config;
    case HashScope::config_and_state:
      return is_protected(kind);
    case HashScope::everything:
      return true;
  }
  return true;
}

class Walk {
 public:
  Walk(const ClassTable& classes, HashScope scope, ProgressSink& progress)
      : classes_(classes), scope_(scope), progress_(progress), buffer_(kBufferBytes) {}

  Result<Inventory> run(io::Directory& root) {
    SK_TRY_ASSIGN(const io::EntryStatus top, root.status_of("."));
    device_ = top.device;
    SK_TRY(take(root, ".", ".", top));
    SK_TRY(walk_below(root, "", 0));
    if (!busy_.empty()) {
      return make_error(Errc::config_busy,
                        "configuration files keep changing while they are read, first " + busy_.front())
          .with_detail({"paths", busy_});
    }
    finish();
    return std::move(inventory_);
  }

 private:
  /// Every entry of `directory`, whose own path is `prefix` without its last slash, then what is below. Names are not
  /// gathered: there may be very many, and the entries hold them anyway.
  Result<void> walk_below(io::Directory& directory, const std::string& prefix, std::size_t depth) {
    const std::size_t begin = inventory_.entries.size();
    SK_TRY(directory.visit_entries([&](const io::DirectoryEntry& entry) -> Result<void> {
      return walk_entry(directory, entry.name, prefix + entry.name, depth + 1);
    }));
    const std::size_t end = inventory_.entries.size();
    for (std::size_t i = begin; i < end; ++i) {
      if (inventory_.entries.type(i) == io::EntryType::directory) SK_TRY(descend(directory, i, depth + 1));
    }
    return success();
  }

  Result<void> walk_entry(io::Directory& parent, const std::string& name, const std::string& path, std::size_t depth) {
    SK_TRY(progress_.check_cancelled());
    if (path == kOwnDirectory) return success();
    const Result<io::EntryStatus> status = parent.status_of(name);
    if (!status.has_value()) return passed_over(path, status.assume_error());
    if (status.assume_value().device != device_) return leave_mount_out(path);
    SK_TRY_ASSIGN(const bool left_out, is_lost_and_found(parent, path, status.assume_value()));
    if (left_out) return success();
    if (inventory_.entries.size() >= kEntriesMax) return too_many();
    if (path.size() > kPathMaxBytes || depth > kDepthMax) return too_deep(path);
    return take(parent, name, path, status.assume_value());
  }

  Result<void> descend(io::Directory& parent, std::size_t index, std::size_t depth) {
    const std::string path(inventory_.entries.path(index));
    Result<std::unique_ptr<io::Directory>> opened = parent.open_directory(last_name_of(path));
    if (!opened.has_value()) {
      vanished_.push_back(index);
      return passed_over(path, opened.assume_error());
    }
    SK_TRY(walk_below(*opened.assume_value(), path + "/", depth));
    return opened.assume_value()->close();
  }

  /// Adds one entry with what is to be known about it.
  Result<void> take(io::Directory& parent, const std::string& name, const std::string& path,
                    const io::EntryStatus& status) {
    Entry entry;
    entry.path = path;
    entry.status = status;
    const std::size_t rule = classes_.index_of(path);
    entry.rule = static_cast<std::uint32_t>(rule);
    entry.kind = classes_.rule_at(rule).kind;
    const Result<void> looked_at = look_at(parent, name, entry);
    if (!looked_at.has_value()) return passed_over(path, looked_at.assume_error(), entry.kind);
    inventory_.entries.push_back(entry);
    return success();
  }

  Result<void> look_at(io::Directory& parent, const std::string& name, Entry& entry) {
    if (entry.status.type == io::EntryType::regular && reads_contents(scope_, entry.kind)) {
      return read_contents(parent, name, entry);
    }
    if (!is_protected(entry)) return success();
    if (entry.status.type == io::EntryType::symlink) {
      SK_TRY_ASSIGN(entry.link_target, parent.read_symlink(name));
    }
    SK_TRY_ASSIGN(entry.attributes, parent.extended_attributes_of(name));
    std::ranges::sort(entry.attributes);
    return success();
  }

  Result<void> read_contents(io::Directory& parent, const std::string& name, Entry& entry) {
    // State may change while it is in use: a second look is all it gets. Logs grow, and nothing depends on their
    // digest.
    const int attempts_max = entry.kind == ClassKind::config ? kReadAttemptsMax : is_protected(entry) ? 2 : 1;
    for (int attempt = 1;; ++attempt) {
      SK_TRY_ASSIGN(SteadyFile file, SteadyFile::open(parent, name));
      entry.status = file.status();
      if (is_protected(entry)) {
        SK_TRY_ASSIGN(entry.attributes, file.file().extended_attributes());
        std::ranges::sort(entry.attributes);
      }
      SK_TRY_ASSIGN(entry.digest, hash_contents(file.file(), buffer_, entry.status.size_bytes));
      SK_TRY_ASSIGN(const bool same, file.stayed_the_same());
      SK_TRY(file.file().close());
      if (same) return success();
      if (attempt < attempts_max) continue;
      if (entry.kind == ClassKind::config && busy_.size() < kBusyPathsMax) busy_.push_back(entry.path);
      return success();
    }
  }

  /// What an error of looking at an entry means for the walk.
  Result<void> passed_over(const std::string& path, const Error& error) {
    return passed_over(path, error, classes_.classify(path).kind);
  }
  Result<void> passed_over(const std::string& path, const Error& error, ClassKind kind) {
    if (is_mount(error)) return leave_mount_out(path);
    if (!is_gone(error)) return Error(error);
    if (kind == ClassKind::config) progress_.notice(path + " disappeared while the permanent partition was looked at");
    return success();
  }

  Result<void> leave_mount_out(const std::string& path) {
    progress_.notice("something is mounted at " + path + " on the permanent partition; it is left out");
    inventory_.mounts.push_back(path);
    return success();
  }

  /// The directory in which fsck puts what it found belongs to the filesystem, and what is in it to nobody.
  Result<bool> is_lost_and_found(io::Directory& root, const std::string& path, const io::EntryStatus& status) {
    if (path != "lost+found" || status.type != io::EntryType::directory || status.owner != 0) return false;
    SK_TRY_ASSIGN(const auto directory, root.open_directory(path));
    bool is_empty = true;
    SK_TRY(directory->visit_entries([&](const io::DirectoryEntry&) -> Result<void> {
      is_empty = false;
      return success();
    }));
    if (!is_empty) progress_.notice("lost+found holds files that fsck recovered; they are in no class");
    SK_TRY(directory->close());
    return true;
  }

  Result<void> too_many() {
    return make_error(Errc::no_space, "the permanent partition has more than " + std::to_string(kEntriesMax) +
                                          " entries, more than one update can look after")
        .with_detail({"entries_max", static_cast<std::int64_t>(kEntriesMax)});
  }

  Result<void> too_deep(const std::string& path) {
    const std::string shown = path.substr(0, 200) + (path.size() > 200 ? "..." : "");
    if (is_protected(classes_.classify(path).kind)) {
      return make_error(Errc::io_error,
                        shown + ": lies too deep (more than " + std::to_string(kDepthMax) + " directories or " +
                            std::to_string(kPathMaxBytes) + " bytes)",
                        ENAMETOOLONG);
    }
    progress_.notice(shown + " lies too deep and is left out");
    return success();
  }

  void finish() {
    std::ranges::sort(vanished_);
    inventory_.entries.remove(vanished_);
    inventory_.entries.sort();
    std::ranges::sort(inventory_.mounts);
    inventory_.classes.try_emplace(classes_.rule_at(classes_.rules.size()).name);
    for (const ClassRule& rule : classes_.rules) inventory_.classes.try_emplace(rule.name);
    count_and_link();
    const bool with_state = reads_contents(scope_, ClassKind::state);
    if (!reads_contents(scope_, ClassKind::config)) return;
    RootDigest roots;
    for (const Entry& entry : inventory_.entries) {
      if (with_state || entry.kind == ClassKind::config) roots.add(entry);
    }
    const Roots finished = roots.finish();
    inventory_.config_root = finished.config;
    if (with_state) inventory_.protected_root = finished.with_state;
  }

  /// Adds up the classes, and finds the names that stand for one file: all lie on one filesystem, so the number of the
  /// inode tells.
  void count_and_link() {
    struct Name {
      std::uint64_t inode;
      std::size_t index;
      auto operator<=>(const Name&) const = default;
    };
    std::vector<Name> names;
    EntryList& entries = inventory_.entries;
    for (std::size_t i = 0; i < entries.size(); ++i) {
      const Entry entry = entries[i];
      const bool is_directory = entry.status.type == io::EntryType::directory;
      if (!is_directory) ++totals_of(entry).files;
      if (is_directory || entry.status.links < 2) {
        count(entry);
      } else {
        names.push_back({.inode = entry.status.inode, .index = i});
      }
    }
    std::ranges::sort(names);
    std::optional<std::size_t> first_protected;
    for (std::size_t i = 0; i < names.size(); ++i) {
      if (i == 0 || names[i].inode != names[i - 1].inode) {
        count(entries[names[i].index]);
        first_protected.reset();
      }
      if (!is_protected(entries.kind(names[i].index))) continue;
      if (first_protected) entries.set_hard_link(names[i].index, *first_protected);
      if (!first_protected) first_protected = names[i].index;
    }
  }

  ClassTotals& totals_of(const Entry& entry) { return inventory_.classes[classes_.rule_at(entry.rule).name]; }
  void count(const Entry& entry) {
    ClassTotals& totals = totals_of(entry);
    totals.bytes += entry.status.allocated_bytes;
    ++totals.inodes;
  }

  const ClassTable& classes_;
  HashScope scope_;
  ProgressSink& progress_;
  std::vector<std::byte> buffer_;
  std::uint64_t device_ = 0;
  std::vector<std::string> busy_;
  std::vector<std::size_t> vanished_;  ///< directories that were gone when they were to be opened
  Inventory inventory_;
};

/// True when both stand for the same thing in a root. Where contents were not read, the time of the last change is what
/// there is to tell them apart by.
bool same_entry(const Entry& a, const Entry& b) {
  if (a.status.type != io::EntryType::regular || b.status.type != io::EntryType::regular || (a.digest && b.digest)) {
    return a.status.type == b.status.type && serialise(a) == serialise(b);
  }
  Entry left = a;
  Entry right = b;
  left.digest = right.digest = Sha256{};
  return a.status.modified == b.status.modified && serialise(left) == serialise(right);
}

}  // namespace

Result<Inventory> take_inventory(io::Directory& root, const ClassTable& classes, HashScope scope,
                                 ProgressSink& progress) {
  return with_context(Walk(classes, scope, progress).run(root), "inventory of the permanent partition");
}

std::vector<bool> snapshot_members(const EntryList& entries) {
  std::vector<bool> members(entries.size(), false);
  for (std::size_t i = 0; i < entries.size(); ++i) members[i] = is_protected(entries.kind(i));
  // Each protected entry makes its directory a member, which makes its own directory one; from the last entry to the
  // first, so that every directory comes after what is in it.
  for (std::size_t i = entries.size(); i-- > 0;) {
    if (!members[i]) continue;
    if (const auto parent = entries.find(parent_of(entries.path(i)))) members[*parent] = true;
  }
  return members;
}

std::vector<std::string> differing_paths(const Inventory& before, const Inventory& after, bool with_state,
                                         std::size_t limit) {
  const EntryList& old_entries = before.entries;
  const EntryList& new_entries = after.entries;
  const auto counts = [&](ClassKind kind) {
    return kind == ClassKind::config || (with_state && kind == ClassKind::state);
  };
  std::vector<std::string> paths;
  const auto add = [&](const EntryList& entries, std::size_t index) {
    if (counts(entries.kind(index))) paths.emplace_back(entries.path(index));
  };
  std::size_t o = 0;
  std::size_t n = 0;
  while (paths.size() < limit && (o < old_entries.size() || n < new_entries.size())) {
    if (n == new_entries.size() || (o < old_entries.size() && path_before(old_entries.path(o), new_entries.path(n)))) {
      add(old_entries, o++);
    } else if (o == old_entries.size() || path_before(new_entries.path(n), old_entries.path(o))) {
      add(new_entries, n++);
    } else {
      const bool both_count = counts(old_entries.kind(o)) && counts(new_entries.kind(n));
      const bool differs = both_count ? !same_entry(old_entries[o], new_entries[n])
                                      : counts(old_entries.kind(o)) != counts(new_entries.kind(n));
      if (differs) paths.emplace_back(old_entries.path(o));
      ++o;
      ++n;
    }
  }
  return paths;
}

}  // namespace slotkeeper::permanent
