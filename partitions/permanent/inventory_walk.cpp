// The walk behind take_inventory.
#include <algorithm>
#include <cerrno>
#include <limits>
#include <map>

#include "partitions/permanent/contents_readers.hpp"
#include "partitions/permanent/inventory.hpp"
#include "partitions/permanent/paths.hpp"
#include "partitions/permanent/root_digest.hpp"
#include "partitions/permanent/steady_file.hpp"

namespace slotkeeper::permanent {
namespace {

constexpr std::size_t kBusyPathsMax = 20;
constexpr std::chrono::milliseconds kCancelPoll{100};  ///< how long a wait for a reader goes on unasked

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
  Walk(io::Directory& root, const ClassTable& classes, HashScope scope, ProgressSink& progress, unsigned int readers)
      : root_(root), classes_(classes), scope_(scope), progress_(progress), readers_(root, readers) {}

  Result<Inventory> run() {
    SK_TRY_ASSIGN(const io::EntryStatus top, root_.status_of("."));
    device_ = top.device;
    SK_TRY(take(root_, ".", ".", top));
    SK_TRY(walk_below(root_, "", 0));
    SK_TRY(settle());
    if (!busy_.empty()) {
      std::ranges::sort(busy_);
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
      return walk_entry(directory, entry, prefix + entry.name, depth + 1);
    }));
    const std::size_t end = inventory_.entries.size();
    for (std::size_t i = begin; i < end; ++i) {
      if (inventory_.entries.type(i) == io::EntryType::directory) SK_TRY(descend(i, depth + 1));
    }
    return success();
  }

  Result<void> walk_entry(io::Directory& parent, const io::DirectoryEntry& listed, const std::string& path,
                          std::size_t depth) {
    SK_TRY(progress_.check_cancelled());
    if (path == kOwnDirectory) return success();
    if (inventory_.entries.size() + readers_.in_flight() >= kEntriesMax) return too_many();
    if (path.size() > kPathMaxBytes || depth > kDepthMax) return too_deep(path);
    // A file to be read is looked at when it is opened.
    if (listed.type == io::EntryType::regular && reads_contents(scope_, classes_.classify(path).kind)) {
      return hand_over(path);
    }
    const Result<io::EntryStatus> status = parent.status_of(listed.name);
    if (!status.has_value()) return passed_over(path, status.assume_error());
    SK_TRY_ASSIGN(const bool left_out, is_lost_and_found(parent, path, status.assume_value()));
    if (left_out) return success();
    return take(parent, listed.name, path, status.assume_value());
  }

  /// Everything below a directory that is among the entries already.
  Result<void> descend(std::size_t index, std::size_t depth) {
    const std::string path(inventory_.entries.path(index));
    Result<std::unique_ptr<io::Directory>> opened = root_.open_directory(path);
    if (!opened.has_value()) {
      vanished_.push_back(index);
      return passed_over(path, opened.assume_error());
    }
    SK_TRY(walk_below(*opened.assume_value(), path + "/", depth));
    return opened.assume_value()->close();
  }

  /// Adds one entry with what is to be known about it, now or when a reader has it.
  Result<void> take(io::Directory& parent, const std::string& name, const std::string& path,
                    const io::EntryStatus& status) {
    if (status.device != device_) return leave_mount_out(path);
    Entry entry = entry_at(path);
    entry.status = status;
    if (status.type == io::EntryType::regular && reads_contents(scope_, entry.kind)) return hand_over(path);
    const Result<void> looked_at = look_at(parent, name, entry);
    if (!looked_at.has_value()) return passed_over(path, looked_at.assume_error());
    inventory_.entries.push_back(entry);
    return success();
  }

  [[nodiscard]] Entry entry_at(const std::string& path) const {
    Entry entry;
    entry.path = path;
    const std::size_t rule = classes_.index_of(path);
    entry.rule = static_cast<std::uint32_t>(rule);
    entry.kind = classes_.rule_at(rule).kind;
    return entry;
  }

  static Result<void> look_at(io::Directory& parent, const std::string& name, Entry& entry) {
    if (!is_protected(entry)) return success();
    if (entry.status.type == io::EntryType::symlink) {
      SK_TRY_ASSIGN(entry.link_target, parent.read_symlink(name));
    }
    SK_TRY_ASSIGN(entry.attributes, parent.extended_attributes_of(name));
    std::ranges::sort(entry.attributes);
    return success();
  }

  Result<void> hand_over(const std::string& path) {
    SK_TRY(take_back(kReadsInFlightMax - 1));
    readers_.hand_over(entry_at(path));
    return success();
  }

  /// Takes what is read, until no more than this is left with the readers.
  Result<void> take_back(std::size_t in_flight_max) {
    for (;;) {
      const bool waits = readers_.in_flight() > in_flight_max;
      for (const ContentsReaders::Done& done : readers_.take_back(waits ? kCancelPoll : kCancelPoll * 0)) {
        SK_TRY(add(done));
      }
      if (readers_.in_flight() <= in_flight_max) return success();
      SK_TRY(progress_.check_cancelled());
    }
  }

  Result<void> add(const ContentsReaders::Done& done) {
    const Entry& entry = done.entry;
    if (done.error) return passed_over(entry.path, *done.error);
    if (entry.status.device != device_) return leave_mount_out(entry.path);
    if (done.keeps_changing) note_busy(entry.path);
    inventory_.entries.push_back(entry);
    return success();
  }

  /// Waits for the readers, and looks again at what became something else meanwhile.
  Result<void> settle() {
    SK_TRY(take_back(0));
    while (!replaced_.empty()) {
      const std::vector<std::string> again = std::exchange(replaced_, {});
      for (const std::string& path : again) SK_TRY(look_again(path));
      SK_TRY(take_back(0));
    }
    return success();
  }

  Result<void> look_again(const std::string& path) {
    if (++looks_[path] >= kReadAttemptsMax) {
      if (is_protected(classes_.classify(path).kind)) {
        note_busy(path);
      } else {
        progress_.notice(path + " keeps being replaced and is left out");
      }
      return success();
    }
    const Result<io::EntryStatus> status = root_.status_of(path);
    if (!status.has_value()) {
      // Of a look at a name this means that a directory on the way became something else: the entry went with it.
      if (is_replaced(status.assume_error())) return disappeared(path);
      return passed_over(path, status.assume_error());
    }
    const std::size_t index = inventory_.entries.size();
    SK_TRY(take(root_, path, path, status.assume_value()));
    const bool is_directory =
        index < inventory_.entries.size() && inventory_.entries.type(index) == io::EntryType::directory;
    if (!is_directory) return success();
    return descend(index, 1 + static_cast<std::size_t>(std::ranges::count(path, '/')));
  }

  void note_busy(const std::string& path) {
    if (busy_.size() < kBusyPathsMax) busy_.push_back(path);
  }

  /// What an error of looking at an entry means for the walk.
  Result<void> passed_over(const std::string& path, const Error& error) {
    if (is_mount(error)) return leave_mount_out(path);
    if (is_replaced(error)) {
      replaced_.push_back(path);
      return success();
    }
    if (!is_gone(error)) return Error(error);
    return disappeared(path);
  }

  Result<void> disappeared(const std::string& path) {
    if (classes_.classify(path).kind == ClassKind::config) {
      progress_.notice(path + " disappeared while the permanent partition was looked at");
    }
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
    constexpr std::size_t kNone = std::numeric_limits<std::size_t>::max();
    std::size_t first_protected = kNone;
    for (std::size_t i = 0; i < names.size(); ++i) {
      if (i == 0 || names[i].inode != names[i - 1].inode) {
        count(entries[names[i].index]);
        first_protected = kNone;
      }
      if (!is_protected(entries.kind(names[i].index))) continue;
      if (first_protected == kNone) {
        first_protected = names[i].index;
      } else {
        entries.set_hard_link(names[i].index, first_protected);
      }
    }
  }

  ClassTotals& totals_of(const Entry& entry) { return inventory_.classes[classes_.rule_at(entry.rule).name]; }
  void count(const Entry& entry) {
    ClassTotals& totals = totals_of(entry);
    totals.bytes += entry.status.allocated_bytes;
    ++totals.inodes;
  }

  io::Directory& root_;
  const ClassTable& classes_;
  HashScope scope_;
  ProgressSink& progress_;
  std::uint64_t device_ = 0;
  std::vector<std::string> busy_;
  std::vector<std::string> replaced_;  ///< to be looked at again
  std::map<std::string, int> looks_;   ///< how often each of them was
  std::vector<std::size_t> vanished_;  ///< directories that were gone when they were to be opened
  Inventory inventory_;
  ContentsReaders readers_;
};

}  // namespace

Result<Inventory> take_inventory(io::Directory& root, const ClassTable& classes, HashScope scope,
                                 ProgressSink& progress) {
  const unsigned int readers = scope == HashScope::nothing ? 0 : readers_for(root);
  return take_inventory(root, classes, scope, progress, readers);
}

Result<Inventory> take_inventory(io::Directory& root, const ClassTable& classes, HashScope scope,
                                 ProgressSink& progress, unsigned int readers) {
  return with_context(Walk(root, classes, scope, progress, readers).run(), "inventory of the permanent partition");
}

}  // namespace slotkeeper::permanent
