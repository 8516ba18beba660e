#include "partitions/permanent/restore_install.hpp"

#include <algorithm>
#include <cerrno>
#include <set>

#include "partitions/permanent/kept_logs.hpp"
#include "partitions/permanent/paths.hpp"
#include "partitions/permanent/reserve_files.hpp"
#include "partitions/permanent/steady_file.hpp"
#include "partitions/permanent/write_protection.hpp"

namespace slotkeeper::permanent {
namespace {

/// Puts what was built into place.
class Installation {
 public:
  Installation(io::Directory& root, const RestorePlan& plan, const Replacements& built, const TrialLogs& logs,
               RestoreReport& report, ProgressSink& progress)
      : root_(root), plan_(plan), built_(built), logs_(logs), report_(report), progress_(progress), kept_(root) {}

  Result<void> run() {
    for (const std::string& path : plan_.link_aside) SK_TRY(link_aside(path));
    SK_TRY(kept_.sync());  // their only other names go next
    for (const std::string& path : plan_.clear_first) SK_TRY(clear(path));
    for (const std::size_t index : plan_.create_directories) SK_TRY(create_directory(plan_.entries[index]));
    auto name = built_.names.begin();
    for (const std::string& path : built_.paths) {
      SK_TRY(rename_into_place(*name, path));
      ++name;
    }
    for (const std::size_t index : plan_.link) SK_TRY(link_into_place(plan_.entries[index]));
    for (const std::string& path : plan_.remove) {
      if (!was_cleared(path)) SK_TRY(remove(path));
    }
    for (const std::string& path : plan_.set_aside) {
      if (!was_cleared(path)) SK_TRY(move_aside(path));
    }
    return root_.sync_filesystem();
  }

  /// Times of directories change with every name in them, so they come when everything else is in place. Wanted are all
  /// directories of the snapshot but those that only lie on the way, and those made here.
  Result<void> settle_directories() {
    const std::set<std::size_t> created(plan_.create_directories.begin(), plan_.create_directories.end());
    for (std::size_t i = plan_.entries.size(); i-- > 0;) {
      const Entry& entry = plan_.entries[i];
      if (entry.status.type != io::EntryType::directory) continue;
      if (!is_protected(entry) && !created.contains(i)) continue;
      const Result<io::EntryStatus> found = root_.status_of(entry.path);
      if (!found.has_value() && is_mount(found.assume_error())) continue;  // an empty directory, mounted over
      SK_TRY_ASSIGN(const io::EntryStatus status, found);
      SK_TRY_ASSIGN(const auto attributes, root_.extended_attributes_of(entry.path));
      if (has_attributes(status, attributes, entry)) continue;
      SK_TRY(despite({entry.path}, [&] { return give_attributes(root_, entry.path, entry); }));
    }
    return root_.sync_filesystem();
  }

 private:
  template <class Change>
  Result<void> despite(const std::vector<std::string>& involved, Change change) {
    return despite_write_protection(
        root_, involved,
        [&](const std::string& path) {
          progress_.notice(path + " was protected against changes (chattr +i or +a); the flag was taken off");
        },
        change);
  }

  [[nodiscard]] bool was_cleared(const std::string& path) const {
    return std::ranges::any_of(plan_.clear_first, [&](const auto& cleared) { return is_at_or_below(path, cleared); });
  }

  /// Takes away what stands where the snapshot has something of another type. Logs in it are never deleted.
  Result<void> clear(const std::string& path) {
    for (const std::string& below : plan_.remove) {
      if (below != path && is_at_or_below(below, path)) SK_TRY(remove(below));
    }
    SK_TRY_ASSIGN(const io::EntryStatus status, root_.status_of(path));
    const bool is_directory = status.type == io::EntryType::directory;
    const std::vector<std::string> involved = {path, parent_of(path)};
    if (is_directory) {
      Result<void> removed = despite(involved, [&] { return root_.remove_directory(path); });
      if (removed.has_value()) return success();
      if (removed.assume_error().os_errno != ENOTEMPTY && removed.assume_error().os_errno != EEXIST) return removed;
      return move_aside(path);
    }
    // A file in the place of a directory on the way to something: that directory is none of ours, nor is the file.
    const auto entry = std::ranges::find(plan_.entries, path, &Entry::path);
    const bool on_the_way = entry != plan_.entries.end() && !is_protected(*entry);
    if (on_the_way || logs_.calls_log(path)) return move_aside(path);
    return despite(involved, [&] { return root_.remove_file(path); });
  }

  Result<void> move_aside(const std::string& path) {
    std::string place;
    SK_TRY(despite({path, parent_of(path), std::string(kOwnDirectory)}, [&]() -> Result<void> {
      SK_TRY_ASSIGN(place, kept_.move(path));
      return success();
    }));
    report_.kept.add(path + " (moved to " + place + ")");
    return success();
  }

  Result<void> link_aside(const std::string& path) {
    std::string place;
    SK_TRY(despite({path, std::string(kOwnDirectory)}, [&]() -> Result<void> {
      SK_TRY_ASSIGN(place, kept_.link(path));
      return success();
    }));
    report_.kept.add(path + " (its log is now " + place + ")");
    return success();
  }

  /// Made elsewhere and renamed, so that it never lies there with another owner or mode.
  Result<void> create_directory(const Entry& entry) {
    const std::string temporary = reserve_path() + "/directory";
    SK_TRY(root_.create_directory(temporary, 0700));
    SK_TRY(give_attributes(root_, temporary, entry));
    SK_TRY(despite({parent_of(entry.path)},
                   [&] { return root_.rename(temporary, entry.path, io::RenameKind::no_replace); }));
    report_.replaced.add(entry.path);
    return success();
  }

  Result<void> rename_into_place(const std::string& built, const std::string& path) {
    SK_TRY(despite({path, parent_of(path)},
                   [&] { return root_.rename(reserve_path() + "/" + built, path, io::RenameKind::replace); }));
    report_.replaced.add(path);
    return success();
  }

  Result<void> link_into_place(const Entry& entry) {
    const std::string temporary = reserve_path() + "/link";
    SK_TRY(despite({entry.hard_link}, [&] { return root_.create_hard_link(entry.hard_link, temporary); }));
    SK_TRY(despite({entry.path, parent_of(entry.path)},
                   [&] { return root_.rename(temporary, entry.path, io::RenameKind::replace); }));
    // Renaming a name onto another one of the same file does nothing and leaves both.
    Result<void> removed = root_.remove_file(temporary);
    if (!removed.has_value() && !is_gone(removed.assume_error())) return removed;
    report_.replaced.add(entry.path);
    return success();
  }

  Result<void> remove(const std::string& path) {
    const Result<io::EntryStatus> status = root_.status_of(path);
    if (!status.has_value() && is_gone(status.assume_error())) return success();
    SK_TRY(status);
    const bool is_directory = status.assume_value().type == io::EntryType::directory;
    Result<void> removed = despite(
        {path, parent_of(path)}, [&] { return is_directory ? root_.remove_directory(path) : root_.remove_file(path); });
    // Somebody has put a log there meanwhile.
    if (!removed.has_value() && is_directory && removed.assume_error().os_errno == ENOTEMPTY) return success();
    SK_TRY(removed);
    report_.removed.add(path);
    return success();
  }

  io::Directory& root_;
  const RestorePlan& plan_;
  const Replacements& built_;
  const TrialLogs& logs_;
  RestoreReport& report_;
  ProgressSink& progress_;
  KeptLogs kept_;
};

}  // namespace

Result<void> install_replacements(io::Directory& root, const RestorePlan& plan, const Replacements& built,
                                  const TrialLogs& logs, RestoreReport& report, ProgressSink& progress) {
  Installation installation(root, plan, built, logs, report, progress);
  SK_TRY(installation.run());
  return installation.settle_directories();
}

}  // namespace slotkeeper::permanent
