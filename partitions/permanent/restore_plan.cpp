#include "partitions/permanent/restore_plan.hpp"

#include <algorithm>
#include <map>
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

class Comparison {
 public:
  Comparison(const SnapshotListing& wanted, const Inventory& present, const TrialLogs& logs)
      : wanted_(wanted),
        present_(present),
        logs_(logs),
        wanted_outside_(outside_names(wanted.entries)),
        present_outside_(outside_names(present.entries)) {}

  Result<RestorePlan> run() {
    find_occupied_directories();
    SK_TRY(check_mounts());
    std::size_t w = 0;
    std::size_t p = 0;
    while (w < wanted_.entries.size() || p < present_.entries.size()) {
      if (p < present_.entries.size() && (is_left_out(p) || is_unknown_ground(present_.entries.path(p)))) {
        ++p;
      } else if (w == wanted_.entries.size() ||
                 (p < present_.entries.size() && path_before(present_.entries.path(p), wanted_.entries.path(w)))) {
        unknown(present_.entries[p++]);
      } else if (p == present_.entries.size() || path_before(wanted_.entries.path(w), present_.entries.path(p))) {
        if (!is_mounted_over(wanted_.entries[w].path)) missing(w);
        ++w;
      } else {
        SK_TRY(both(w++, present_.entries[p++]));
      }
    }
    relink();
    set_logs_aside();
    std::ranges::reverse(plan_.remove);
    return std::move(plan_);
  }

 private:
  /// Directories with something in them that is no configuration or state, or a mount.
  void find_occupied_directories() {
    const auto occupy = [&](std::string path) {
      for (path = parent_of(path); !path.empty() && occupied_.insert(path).second;) path = parent_of(path);
    };
    for (const Entry& entry : present_.entries) {
      if (!is_protected(entry)) occupy(entry.path);
    }
    for (const std::string& path : present_.mounts) occupy(path);
    for (const std::string& path : wanted_.mounts) occupy(path);
  }

  bool is_left_out(std::size_t index) const { return index < wanted_.left_out.size() && wanted_.left_out[index]; }

  bool is_unknown_ground(std::string_view path) const {
    return std::ranges::any_of(wanted_.mounts, [&](const std::string& mount) { return is_at_or_below(path, mount); });
  }

  bool is_mounted_over(const std::string& path) const {
    return std::ranges::any_of(present_.mounts, [&](const std::string& mount) { return is_at_or_below(path, mount); });
  }

  /// What a mount hides can be neither compared nor replaced, and what it shows is none of this partition. An empty
  /// directory that serves as a mount point is as good as it can be.
  Result<void> check_mounts() const {
    for (std::size_t i = 0; i < wanted_.entries.size(); ++i) {
      const Entry& entry = wanted_.entries[i];
      if (is_unknown_ground(entry.path) || !is_mounted_over(entry.path)) continue;
      const bool is_mount_point = std::ranges::find(present_.mounts, entry.path) != present_.mounts.end();
      const bool is_empty = i + 1 == wanted_.entries.size() || !is_at_or_below(wanted_.entries[i + 1].path, entry.path);
      if (is_mount_point && is_directory(entry) && is_empty) continue;
      return make_error(Errc::restore_incomplete,
                        entry.path +
                            ": something is mounted over it; nothing was restored yet. Unmount it and run "
                            "'slotkeeper recover' again");
    }
    return success();
  }

  void unknown(const Entry& entry) {
    if (!is_protected(entry)) return;
    if (entry.status.type == io::EntryType::regular && logs_.may_hold_log(entry.path)) {
      trial_logs_.push_back(entry.path);
    } else if (occupied_.contains(entry.path)) {
      plan_.kept.push_back(entry.path);
    } else {
      plan_.remove.push_back(entry.path);
    }
  }

  void missing(std::size_t index) {
    const Entry& entry = wanted_.entries[index];
    if (is_directory(entry)) {
      plan_.create_directories.push_back(index);
    } else if (entry.hard_link.empty()) {
      build(index);
    } else {
      plan_.link.push_back(index);
    }
  }

  Result<void> both(std::size_t index, const Entry& now) {
    const Entry& entry = wanted_.entries[index];
    if (is_protected(entry) != is_protected(now)) {
      return make_error(Errc::restore_incomplete,
                        entry.path + ": is in another class now than in the snapshot; the class table does not fit it");
    }
    const bool differs = !is_directory(entry) && !is_directory(now) && !is_same(entry, now);
    if (differs && now.status.type == io::EntryType::regular && logs_.calls_log(now.path)) {
      plan_.link_aside.push_back(now.path);
    }
    if (is_directory(entry) != is_directory(now)) {
      plan_.clear_first.push_back(now.path);
      missing(index);
    } else if (is_directory(entry)) {
      if (is_protected(entry) && !is_same(entry, now)) plan_.fix_directories.push_back(index);
    } else if (differs) {
      missing(index);
    }
    return success();
  }

  bool is_same(const Entry& entry, const Entry& now) const {
    if (!looks_the_same(entry, now)) return false;
    // A new name outside, e.g. among the logs: writing there would change this file.
    return outside_of(present_outside_, now) <= outside_of(wanted_outside_, entry);
  }

  static std::uint64_t outside_of(const std::map<std::string, std::uint64_t>& outside, const Entry& entry) {
    const auto found = outside.find(entry.path);
    return found == outside.end() ? 0 : found->second;
  }

  void build(std::size_t index) {
    plan_.build.push_back(index);
    rebuilt_.insert(wanted_.entries[index].path);
  }

  /// Whatever is another name of an entry that is built anew must be linked anew.
  void relink() {
    for (std::size_t i = 0; i < wanted_.entries.size(); ++i) {
      if (rebuilt_.contains(wanted_.entries[i].hard_link)) plan_.link.push_back(i);
    }
    std::ranges::sort(plan_.link);
    // Not std::ranges::unique: clang 14, which builds the fuzzers, cannot compile what it returns.
    plan_.link.erase(std::unique(plan_.link.begin(), plan_.link.end()), plan_.link.end());
  }

  /// Each log goes with the largest directory around it that would be removed; what else was in there goes first.
  void set_logs_aside() {
    const std::set<std::string> removed(plan_.remove.begin(), plan_.remove.end());
    std::set<std::string> moved;
    std::set<std::string> around;
    for (const std::string& log : trial_logs_) {
      std::string top = log;
      for (std::string above = parent_of(top); removed.contains(above); above = parent_of(above)) {
        around.insert(above);
        top = above;
      }
      moved.insert(top);
    }
    plan_.set_aside.assign(moved.begin(), moved.end());
    std::erase_if(plan_.remove, [&](const std::string& path) { return around.contains(path); });
  }

  const SnapshotListing& wanted_;
  const Inventory& present_;
  const TrialLogs& logs_;
  std::vector<std::string> trial_logs_;
  std::map<std::string, std::uint64_t> wanted_outside_;
  std::map<std::string, std::uint64_t> present_outside_;
  std::set<std::string> occupied_;
  std::set<std::string> rebuilt_;
  RestorePlan plan_;
};

}  // namespace

void SnapshotListing::add(const Entry& entry, const Inventory& present) {
  if (is_protected(entry) && !is_directory(entry) && entry.status.links == 1) {
    const auto index = present.entries.find(entry.path);
    if (index && is_protected(present.entries.kind(*index))) {
      const Entry now = present.entries[*index];
      if (now.status.links == 1 && looks_the_same(entry, now)) {
        left_out.resize(present.entries.size());
        left_out[*index] = true;
        return;
      }
    }
  }
  entries.push_back(entry);
}

Result<RestorePlan> plan_restore(const SnapshotListing& wanted, const Inventory& present, const TrialLogs& logs) {
  return Comparison(wanted, present, logs).run();
}

}  // namespace slotkeeper::permanent
