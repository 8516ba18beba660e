#include "partitions/permanent/restore.hpp"

#include <algorithm>
#include <cerrno>
#include <set>

#include "partitions/permanent/paths.hpp"
#include "partitions/permanent/reserve_files.hpp"
#include "partitions/permanent/restore_build.hpp"
#include "partitions/permanent/restore_plan.hpp"
#include "partitions/permanent/steady_file.hpp"

namespace slotkeeper::permanent {
namespace {

constexpr std::string_view kKeptDirectory = "kept";  ///< in kOwnDirectory
constexpr std::uint64_t kKeptNumbersMax = 10'000;

/// A restore that was begun is finished: half of it is of no use to anybody.
class Uncancelled final : public ProgressSink {
 public:
  explicit Uncancelled(ProgressSink& sink) : sink_(sink) {}
  void progress(Phase phase, std::uint64_t done_bytes, std::uint64_t total_bytes) override {
    sink_.progress(phase, done_bytes, total_bytes);
  }
  void notice(std::string_view message) override { sink_.notice(message); }
  [[nodiscard]] bool cancel_requested() const override { return false; }

 private:
  ProgressSink& sink_;
};

/// Puts what was built into place.
class Installation {
 public:
  Installation(io::Directory& root, const SnapshotListing& wanted, const RestorePlan& plan, const Replacements& built,
               RestoreReport& report)
      : root_(root), wanted_(wanted), plan_(plan), built_(built), report_(report) {}

  Result<void> run() {
    for (const std::string& path : plan_.clear_first) SK_TRY(clear(path));
    for (const std::size_t index : plan_.create_directories) SK_TRY(create_directory(wanted_.entries[index]));
    for (const std::size_t index : plan_.build) SK_TRY(rename_into_place(built_.at(index), wanted_.entries[index]));
    for (const std::size_t index : plan_.link) SK_TRY(link_into_place(wanted_.entries[index]));
    for (const std::string& path : plan_.remove) {
      if (!was_cleared(path)) SK_TRY(remove(path));
    }
    SK_TRY(sync_touched());
    return success();
  }

  /// Times of directories change with every name in them, so they come when everything else is in place. Wanted are all
  /// directories of the snapshot but those that only lie on the way, and those made here.
  Result<void> settle_directories() {
    const std::set<std::size_t> created(plan_.create_directories.begin(), plan_.create_directories.end());
    for (std::size_t i = wanted_.entries.size(); i-- > 0;) {
      const Entry& entry = wanted_.entries[i];
      if (entry.status.type != io::EntryType::directory) continue;
      if (!is_protected(entry) && !created.contains(i)) continue;
      SK_TRY_ASSIGN(const io::EntryStatus status, root_.status_of(entry.path));
      SK_TRY_ASSIGN(const auto attributes, root_.extended_attributes_of(entry.path));
      if (has_attributes(status, attributes, entry)) continue;
      SK_TRY(give_attributes(root_, entry.path, entry));
      touched_.insert(entry.path);
    }
    return sync_touched();
  }

 private:
  [[nodiscard]] bool was_cleared(const std::string& path) const {
    return std::ranges::any_of(plan_.clear_first, [&](const auto& cleared) { return is_at_or_below(path, cleared); });
  }

  void touch_parent_of(const std::string& path) { touched_.insert(parent_of(path)); }

  /// Takes away what stands where the snapshot has something of another type. Logs in it are never deleted.
  Result<void> clear(const std::string& path) {
    for (const std::string& below : plan_.remove) {
      if (below != path && is_at_or_below(below, path)) SK_TRY(remove(below));
    }
    SK_TRY_ASSIGN(const io::EntryStatus status, root_.status_of(path));
    touch_parent_of(path);
    const bool is_directory = status.type == io::EntryType::directory;
    if (is_directory) {
      Result<void> removed = root_.remove_directory(path);
      if (removed.has_value()) return success();
      if (removed.assume_error().os_errno != ENOTEMPTY && removed.assume_error().os_errno != EEXIST) return removed;
      return move_aside(path);
    }
    // A file in the place of a directory on the way to something: that directory is none of ours, nor is the file.
    const auto entry = std::ranges::find(wanted_.entries, path, &Entry::path);
    if (entry != wanted_.entries.end() && !is_protected(*entry)) return move_aside(path);
    return root_.remove_file(path);
  }

  Result<void> move_aside(const std::string& path) {
    const std::string kept = std::string(kOwnDirectory) + "/" + std::string(kKeptDirectory);
    Result<void> made = root_.create_directory(kept, 0700);
    if (!made.has_value() && made.assume_error().os_errno != EEXIST) return made;
    for (std::uint64_t number = 1; number <= kKeptNumbersMax; ++number) {
      std::string place = kept + "/";
      place += std::to_string(number) + "-" + last_name_of(path).substr(0, 200);
      const Result<void> moved = root_.rename(path, place, io::RenameKind::no_replace);
      if (!moved.has_value() && moved.assume_error().os_errno == EEXIST) continue;
      SK_TRY(moved);
      touched_.insert(kept);
      touched_.insert(std::string(kOwnDirectory));
      report_.kept.push_back(path + " (moved to " + place + ")");
      return success();
    }
    return make_error(Errc::io_error, kept + ": has too many entries, and " + path + " must be moved there", EEXIST);
  }

  /// Made elsewhere and renamed, so that it never lies there with another owner or mode.
  Result<void> create_directory(const Entry& entry) {
    const std::string temporary = reserve_path() + "/directory";
    SK_TRY(root_.create_directory(temporary, 0700));
    SK_TRY(give_attributes(root_, temporary, entry));
    SK_TRY(root_.rename(temporary, entry.path, io::RenameKind::no_replace));
    touch_parent_of(entry.path);
    touched_.insert(entry.path);
    touched_.insert(reserve_path());
    report_.replaced.push_back(entry.path);
    return success();
  }

  Result<void> rename_into_place(const std::string& built, const Entry& entry) {
    SK_TRY(root_.rename(reserve_path() + "/" + built, entry.path, io::RenameKind::replace));
    touch_parent_of(entry.path);
    touched_.insert(reserve_path());
    report_.replaced.push_back(entry.path);
    return success();
  }

  Result<void> link_into_place(const Entry& entry) {
    const std::string temporary = reserve_path() + "/link";
    SK_TRY(root_.create_hard_link(entry.hard_link, temporary));
    SK_TRY(root_.rename(temporary, entry.path, io::RenameKind::replace));
    // Renaming a name onto another one of the same file does nothing and leaves both.
    Result<void> removed = root_.remove_file(temporary);
    if (!removed.has_value() && !is_gone(removed.assume_error())) return removed;
    touch_parent_of(entry.path);
    touched_.insert(reserve_path());
    report_.replaced.push_back(entry.path);
    return success();
  }

  Result<void> remove(const std::string& path) {
    const Result<io::EntryStatus> status = root_.status_of(path);
    if (!status.has_value() && is_gone(status.assume_error())) return success();
    SK_TRY(status);
    const bool is_directory = status.assume_value().type == io::EntryType::directory;
    Result<void> removed = is_directory ? root_.remove_directory(path) : root_.remove_file(path);
    // Somebody has put a log there meanwhile.
    if (!removed.has_value() && is_directory && removed.assume_error().os_errno == ENOTEMPTY) return success();
    SK_TRY(removed);
    touch_parent_of(path);
    report_.removed.push_back(path);
    return success();
  }

  Result<void> sync_touched() {
    for (const std::string& path : touched_) {
      const Result<std::unique_ptr<io::Directory>> opened = root_.open_directory(path);
      if (!opened.has_value()) {
        // Removed since, perhaps with something else in its place; its own directory is touched, too.
        const int reason = opened.assume_error().os_errno;
        if (reason == ENOENT || reason == ENOTDIR || reason == ELOOP) continue;
        return opened.assume_error();
      }
      SK_TRY(opened.assume_value()->sync());
      SK_TRY(opened.assume_value()->close());
    }
    touched_.clear();
    return success();
  }

  io::Directory& root_;
  const SnapshotListing& wanted_;
  const RestorePlan& plan_;
  const Replacements& built_;
  RestoreReport& report_;
  std::set<std::string> touched_;
};

/// The snapshot in memory, shown to be the one that was recorded.
Result<SnapshotListing> list_snapshot(StoreArea& snapshot, const SnapshotFacts& facts) {
  SnapshotListing listing;
  SK_TRY_ASSIGN(const SnapshotContents contents,
                read_snapshot(snapshot, [&](SnapshotReader::Item&& item) -> Result<void> {
                  if (item.is_mount) {
                    listing.mounts.push_back(item.entry.path);
                  } else {
                    listing.entries.push_back(item.entry);
                  }
                  return success();
                }));
  if (contents.config_root != facts.config_root || contents.protected_root != facts.protected_root) {
    return make_error(Errc::readback_mismatch, "the snapshot in the state store is not the one that was recorded");
  }
  return listing;
}

Result<void> verify_restored(io::Directory& root, const ClassTable& classes, const SnapshotListing& wanted,
                             const SnapshotFacts& facts, ProgressSink& progress) {
  SK_TRY_ASSIGN(const Inventory inventory, take_inventory(root, classes, HashScope::config_and_state, progress));
  SK_TRY_ASSIGN(const RestorePlan rest, plan_restore(wanted, inventory));
  bool good = rest.is_empty();
  if (rest.kept.empty() && wanted.mounts.empty()) good = good && inventory.protected_root == facts.protected_root;
  if (good) return success();
  std::string first = "the roots differ";
  if (!rest.remove.empty()) first = rest.remove.front() + " is there again";
  if (!rest.fix_directories.empty()) first = wanted.entries[rest.fix_directories.front()].path + " differs";
  if (!rest.build.empty()) first = wanted.entries[rest.build.front()].path + " differs";
  return make_error(Errc::readback_mismatch, "afterwards " + first);
}

Result<RestoreReport> restore(io::Directory& root, const ClassTable& classes, StoreArea& snapshot,
                              const SnapshotListing& wanted, const SnapshotFacts& facts, ProgressSink& progress) {
  RestoreReport report;
  SK_TRY_ASSIGN(const Inventory present, take_inventory(root, classes, HashScope::config_and_state, progress));
  SK_TRY_ASSIGN(const RestorePlan plan, plan_restore(wanted, present));
  report.kept = plan.kept;
  if (plan.is_empty()) return report;
  report.changed = true;
  Replacements built;
  if (plan.changes_entries()) {
    SK_TRY_ASSIGN(built, build_replacements(root, wanted, plan, snapshot, progress));
  }
  Installation installation(root, wanted, plan, built, report);
  SK_TRY(installation.run());
  SK_TRY(installation.settle_directories());
  SK_TRY(verify_restored(root, classes, wanted, facts, progress));
  return report;
}

}  // namespace

Result<RestoreReport> restore_snapshot(io::Directory& root, const ClassTable& classes, StoreArea& snapshot,
                                       const SnapshotFacts& facts, ProgressSink& progress) {
  SK_TRY_ASSIGN(const SnapshotListing wanted, with_context(list_snapshot(snapshot, facts), "restore"));
  Uncancelled uncancelled(progress);
  Result<RestoreReport> report = restore(root, classes, snapshot, wanted, facts, uncancelled);
  if (report.has_value()) return report;
  Error error = std::move(report).assume_error();
  const std::string cause(info(error.code).name);
  return std::move(error)
      .with_code(Errc::restore_incomplete)
      .with_context("the configuration is not completely restored")
      .with_detail({"cause", cause});
}

}  // namespace slotkeeper::permanent
