#include "partitions/permanent/restore_plan.hpp"

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "partitions/permanent/paths.hpp"
#include "partitions/permanent/root_digest.hpp"

namespace slotkeeper::permanent {
namespace {

/// Without regard to names outside of configuration and state.
bool looks_the_same(const Entry& entry, const Entry& now) {
  return entry.status.type == now.status.type && entry.status.modified == now.status.modified &&
         serialise(entry) == serialise(now);
}

bool is_directory(const Entry& entry) { return entry.status.type == io::EntryType::directory; }

/// How many names outside of configuration and state a file has, by the path of its first name inside.
std::map<std::string, std::uint64_t> outside_names(const EntryList& entries) {
  std::map<std::string, std::uint64_t> inside;
  std::map<std::string, std::uint64_t> outside;
  for (const Entry& entry : entries) {
    if (is_protected(entry) && entry.status.links > 1 && !is_directory(entry)) {
      ++inside[entry.hard_link.empty() ? entry.path : entry.hard_link];
    }
  }
  for (const Entry& entry : entries) {
    const auto names = inside.find(entry.path);
    if (names == inside.end() || entry.status.links <= names->second) continue;
    outside[entry.path] = entry.status.links - names->second;
  }
  return outside;
}

/// Of all others nobody needs more than the place.
bool is_listed(const Entry& entry) {
  return is_directory(entry) || !is_protected(entry) || entry.status.links > 1 || !entry.hard_link.empty();
}

/// Merges the snapshot, while it is read, with the inventory; both are in the order of their paths.
class Comparison {
 public:
  Comparison(const Inventory& present, const TrialLogs& logs)
      : present_(present),
        logs_(logs),
        present_outside_(outside_names(present.entries)),
        remove_(present.entries.size(), false),
        link_aside_(present.entries.size(), false) {}

  /// The next item of the snapshot: mounts first.
  void add(const SnapshotReader::Item& item) {
    const Entry& entry = item.entry;
    if (item.is_mount) {
      plan_.mounts.push_back(entry.path);
      return;
    }
    if (place_ == 0) find_occupied_directories();
    check_mount(entry);
    pass_unknown(&entry.path);
    const Wanted wanted{.entry = entry, .place = place_++, .index = plan_.entries.size()};
    if (is_listed(entry)) plan_.entries.push_back(entry);
    if (next_ < present_.entries.size() && present_.entries.path(next_) == entry.path) {
      both(wanted, next_++);
    } else if (!is_mounted_over(entry.path)) {
      missing(wanted);
    }
  }

  Result<RestorePlan> finish() {
    if (place_ == 0) find_occupied_directories();
    pass_unknown(nullptr);
    if (mounted_over_) return *mounted_over_;
    if (of_another_class_) return *of_another_class_;
    settle_linked_outside();
    relink();
    set_logs_aside();
    list_paths();
    return std::move(plan_);
  }

 private:
  struct Wanted {
    const Entry& entry;
    std::size_t place;
    std::size_t index;  ///< in the plan's entries, where it is listed
  };
  /// The same but for names outside of configuration and state: how many the snapshot knew is known at its end.
  struct LinkedOutside {
    std::size_t place;
    std::size_t index;    ///< in the plan's entries
    std::size_t present;  ///< index into the inventory
  };

  /// Directories with something in them that is no configuration or state, or a mount.
  void find_occupied_directories() {
    const auto occupy = [&](std::string path) {
      for (path = parent_of(path); !path.empty() && occupied_.insert(path).second;) path = parent_of(path);
    };
    for (std::size_t i = 0; i < present_.entries.size(); ++i) {
      if (!is_protected(present_.entries.kind(i))) occupy(std::string(present_.entries.path(i)));
    }
    for (const std::string& path : present_.mounts) occupy(path);
    for (const std::string& path : plan_.mounts) occupy(path);
  }

  bool is_unknown_ground(std::string_view path) const {
    return std::ranges::any_of(plan_.mounts, [&](const std::string& mount) { return is_at_or_below(path, mount); });
  }

  bool is_mounted_over(const std::string& path) const {
    return std::ranges::any_of(present_.mounts, [&](const std::string& mount) { return is_at_or_below(path, mount); });
  }

  /// What a mount hides can be neither compared nor replaced, and what it shows is none of this partition. An empty
  /// directory that serves as a mount point is as good as it can be.
  void check_mount(const Entry& entry) {
    if (mount_point_ && is_at_or_below(entry.path, *mount_point_)) refuse_mount(*mount_point_);
    mount_point_.reset();
    if (is_unknown_ground(entry.path) || !is_mounted_over(entry.path)) return;
    const bool is_mount_point = std::ranges::find(present_.mounts, entry.path) != present_.mounts.end();
    if (is_mount_point && is_directory(entry)) {
      mount_point_ = entry.path;
    } else {
      refuse_mount(entry.path);
    }
  }

  void refuse_mount(const std::string& path) {
    if (mounted_over_) return;
    mounted_over_ = make_error(Errc::restore_incomplete,
                               path +
                                   ": something is mounted over it; nothing was restored yet. Unmount it and run "
                                   "'slotkeeper recover' again");
  }

  /// Everything of the inventory before this path, or to its end.
  void pass_unknown(const std::string* end) {
    for (; next_ < present_.entries.size(); ++next_) {
      const std::string_view path = present_.entries.path(next_);
      if (is_unknown_ground(path)) continue;
      if (end != nullptr && !path_before(path, *end)) return;
      unknown(next_);
    }
  }

  void unknown(std::size_t present) {
    if (!is_protected(present_.entries.kind(present))) return;
    const std::string path(present_.entries.path(present));
    if (present_.entries.type(present) == io::EntryType::regular && logs_.may_hold_log(path)) {
      trial_logs_.push_back(present);
    } else if (occupied_.contains(path)) {
      plan_.kept.push_back(path);
    } else {
      remove_[present] = true;
    }
  }

  void missing(const Wanted& wanted) {
    const Entry& entry = wanted.entry;
    if (is_directory(entry)) {
      plan_.create_directories.push_back(wanted.index);
    } else if (!entry.hard_link.empty()) {
      plan_.link.push_back(wanted.index);
    } else {
      plan_.build.add(wanted.place, entry);
      if (is_listed(entry)) rebuilt_.insert(entry.path);
    }
  }

  void both(const Wanted& wanted, std::size_t present) {
    const Entry& entry = wanted.entry;
    const Entry now = present_.entries[present];
    if (is_protected(entry) != is_protected(now)) {
      refuse_class(entry.path);
    } else if (is_directory(entry) != is_directory(now)) {
      plan_.clear_first.push_back(now.path);
      missing(wanted);
    } else if (is_directory(entry)) {
      if (is_protected(entry) && !looks_the_same(entry, now)) plan_.fix_directories.push_back(wanted.index);
    } else if (!looks_the_same(entry, now)) {
      replace(wanted, present);
    } else if (outside_of(present_outside_, now) > 0) {
      linked_outside(wanted, present);
    }
  }

  void refuse_class(const std::string& path) {
    if (of_another_class_) return;
    of_another_class_ =
        make_error(Errc::restore_incomplete,
                   path + ": is in another class now than in the snapshot; the class table does not fit it");
  }

  void replace(const Wanted& wanted, std::size_t present) {
    link_aside_[present] =
        present_.entries.type(present) == io::EntryType::regular && logs_.calls_log(wanted.entry.path);
    missing(wanted);
  }

  /// A new name outside, e.g. among the logs: writing there would change this file.
  void linked_outside(const Wanted& wanted, std::size_t present) {
    if (is_listed(wanted.entry)) {
      linked_outside_.push_back({.place = wanted.place, .index = wanted.index, .present = present});
    } else {
      replace(wanted, present);
    }
  }

  void settle_linked_outside() {
    if (linked_outside_.empty()) return;
    const std::map<std::string, std::uint64_t> wanted_outside = outside_names(plan_.entries);
    for (const LinkedOutside& linked : linked_outside_) {
      const Entry entry = plan_.entries[linked.index];
      if (outside_of(present_outside_, entry) <= outside_of(wanted_outside, entry)) continue;
      replace({.entry = entry, .place = linked.place, .index = linked.index}, linked.present);
    }
  }

  static std::uint64_t outside_of(const std::map<std::string, std::uint64_t>& outside, const Entry& entry) {
    const auto found = outside.find(entry.path);
    return found == outside.end() ? 0 : found->second;
  }

  /// Whatever is another name of an entry that is built anew must be linked anew.
  void relink() {
    for (std::size_t i = 0; i < plan_.entries.size(); ++i) {
      if (!rebuilt_.empty() && rebuilt_.contains(plan_.entries[i].hard_link)) plan_.link.push_back(i);
    }
    std::ranges::sort(plan_.link);
    // Not std::ranges::unique: clang 14, which builds the fuzzers, cannot compile what it returns.
    plan_.link.erase(std::unique(plan_.link.begin(), plan_.link.end()), plan_.link.end());
  }

  /// Each log goes with the largest directory around it that would be removed; what else was in there goes first.
  void set_logs_aside() {
    std::vector<bool> moved(present_.entries.size(), false);
    std::vector<bool> around(present_.entries.size(), false);
    for (std::size_t top : trial_logs_) {
      for (auto above = directory_of(top); above && remove_[*above]; above = directory_of(top)) {
        around[*above] = true;
        top = *above;
      }
      moved[top] = true;
    }
    for (std::size_t i = 0; i < moved.size(); ++i) {
      if (moved[i]) plan_.set_aside.push_back(present_.entries.path(i));
      if (around[i]) remove_[i] = false;
    }
  }

  std::optional<std::size_t> directory_of(std::size_t present) const {
    return present_.entries.find(parent_of(present_.entries.path(present)));
  }

  void list_paths() {
    for (std::size_t i = remove_.size(); i-- > 0;) {
      if (remove_[i]) plan_.remove.push_back(present_.entries.path(i));
    }
    for (std::size_t i = 0; i < link_aside_.size(); ++i) {
      if (link_aside_[i]) plan_.link_aside.push_back(present_.entries.path(i));
    }
  }

  const Inventory& present_;
  const TrialLogs& logs_;
  std::map<std::string, std::uint64_t> present_outside_;
  std::size_t next_ = 0;   ///< in the inventory
  std::size_t place_ = 0;  ///< in the snapshot
  // By index into the inventory.
  std::vector<bool> remove_;
  std::vector<bool> link_aside_;
  std::vector<std::size_t> trial_logs_;
  std::vector<LinkedOutside> linked_outside_;
  std::set<std::string> occupied_;
  std::set<std::string> rebuilt_;           ///< of several names
  std::optional<std::string> mount_point_;  ///< the entry before: as it should be if nothing is in it
  std::optional<Error> mounted_over_;
  std::optional<Error> of_another_class_;
  RestorePlan plan_;
};

}  // namespace

void SnapshotPlaces::add(std::size_t place, const Entry& entry) {
  if (place >= places_.size()) places_.resize(place + 1);
  places_[place] = true;
  if (empty() || path_before(entry.path, first_path_)) first_path_ = entry.path;
  if (entry.status.type == io::EntryType::regular) {
    contents_bytes_ += entry.status.size_bytes;
  } else {
    only_regular_files_ = false;
  }
  ++size_;
}

Result<RestorePlan> plan_restore(StoreArea& snapshot, const SnapshotFacts& facts, const Inventory& present,
                                 const TrialLogs& logs) {
  Comparison comparison(present, logs);
  SK_TRY(read_recorded_snapshot(snapshot, facts, [&](SnapshotReader::Item&& item) -> Result<void> {
    comparison.add(item);
    return success();
  }));
  return comparison.finish();
}

}  // namespace slotkeeper::permanent
