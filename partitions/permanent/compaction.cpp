#include "partitions/permanent/compaction.hpp"

#include <algorithm>
#include <cerrno>
#include <memory>
#include <string_view>

#include "partitions/permanent/paths.hpp"
#include "partitions/permanent/steady_file.hpp"

namespace slotkeeper::permanent {
namespace {

bool is_kept(const CompactionLimits& limits, const io::EntryStatus& status) {
  return std::ranges::find(limits.keep, std::pair(status.device, status.inode)) != limits.keep.end();
}

/// True when an error only says that this file is not what it was, or that somebody has a lease on it.
bool is_about_this_file(const Error& error) {
  return is_gone(error) || is_mount(error) || error.os_errno == EAGAIN || error.os_errno == ELOOP ||
         error.os_errno == EINVAL || error.os_errno == EISDIR || error.os_errno == ENOTDIR ||
         error.os_errno == ETXTBSY || error.os_errno == EPERM;
}

/// Holds a file that nobody else has open; the lease goes with the object. Nothing when somebody has, or may have.
Result<std::unique_ptr<io::File>> take_unused(io::Directory& parent, const std::string& name) {
  Result<std::unique_ptr<io::File>> opened = parent.open_file(name, io::OpenMode::read_only());
  if (!opened.has_value()) {
    if (is_about_this_file(opened.assume_error())) return std::unique_ptr<io::File>();
    return std::move(opened).assume_error();
  }
  SK_TRY_ASSIGN(const bool unused, opened.assume_value()->try_lease(io::LeaseKind::nobody));
  if (!unused) return std::unique_ptr<io::File>();
  return std::move(opened).assume_value();
}

bool is_as_planned(const CompactionAction& action, const io::EntryStatus& now) {
  return now.type == io::EntryType::regular && now.device == action.device && now.inode == action.inode &&
         now.size_bytes == action.size_bytes && now.modified == action.modified && now.links == 1;
}

/// Removes the file if it is still the planned one and unused; false when it is left alone.
Result<bool> remove_disposable(io::Directory& parent, const std::string& name, const CompactionAction& action) {
  SK_TRY_ASSIGN(const auto held, take_unused(parent, name));
  if (!held) return false;
  SK_TRY_ASSIGN(const io::EntryStatus opened, held->status());
  if (!is_as_planned(action, opened)) return false;
  // The name once more, as late as can be: what is removed is the name, and it must still be this file's.
  const Result<io::EntryStatus> named = parent.status_of(name);
  if (!named.has_value() && is_about_this_file(named.assume_error())) return false;
  SK_TRY(named);
  if (!is_as_planned(action, named.assume_value())) return false;
  const Result<void> removed = parent.remove_file(name);
  if (!removed.has_value() && is_about_this_file(removed.assume_error())) return false;
  SK_TRY(removed);
  SK_TRY(held->close());
  return true;
}

}  // namespace

Result<CompactionPlan> plan_compaction(io::Directory& root, const Inventory& inventory,
                                       const CompactionLimits& limits) {
  CompactionPlan plan;
  for (const Entry& entry : inventory.entries) {
    const io::EntryStatus& status = entry.status;
    const bool candidate = entry.kind == ClassKind::disposable && status.type == io::EntryType::regular &&
                           status.links == 1 && !is_kept(limits, status);
    if (!candidate) continue;
    SK_TRY_ASSIGN(const auto held, with_context(take_unused(root, entry.path), "compaction"));
    if (!held) {
      plan.left_alone.push_back(entry.path);
      continue;
    }
    CompactionAction action;
    action.path = entry.path;
    action.device = status.device;
    action.inode = status.inode;
    action.size_bytes = status.size_bytes;
    action.modified = status.modified;
    action.frees = {.bytes = status.allocated_bytes, .inodes = 1};
    plan.frees.bytes += action.frees.bytes;
    plan.frees.inodes += action.frees.inodes;
    plan.actions.push_back(std::move(action));
  }
  std::ranges::sort(plan.actions, [](const CompactionAction& a, const CompactionAction& b) {
    const std::string left = parent_of(a.path);
    const std::string right = parent_of(b.path);
    return std::tie(left, a.path) < std::tie(right, b.path);
  });
  return plan;
}

namespace {

/// The removals of one directory, then its sync.
Result<void> compact_directory(io::Directory& root, std::span<const CompactionAction> actions, CompactionReport& report,
                               ProgressSink& progress) {
  const std::string directory = parent_of(actions.front().path);
  Result<std::unique_ptr<io::Directory>> opened = root.open_directory(directory);
  if (!opened.has_value()) {
    if (!is_about_this_file(opened.assume_error())) return std::move(opened).assume_error();
    for (const CompactionAction& action : actions) report.left_alone.push_back(action.path);
    return success();
  }
  io::Directory& parent = *opened.assume_value();
  bool touched = false;
  Result<void> outcome = success();
  for (const CompactionAction& action : actions) {
    outcome = progress.check_cancelled();
    if (!outcome.has_value()) break;
    Result<bool> removed = remove_disposable(parent, last_name_of(action.path), action);
    if (!removed.has_value()) {
      outcome = std::move(removed).assume_error();
      break;
    }
    touched = touched || removed.assume_value();
    if (removed.assume_value()) ++report.removed_files;
    if (!removed.assume_value()) report.left_alone.push_back(action.path);
  }
  // What was removed before an error is removed all the same.
  if (touched) SK_TRY(parent.sync());
  SK_TRY(parent.close());
  return outcome;
}

}  // namespace

Result<CompactionReport> carry_out(io::Directory& root, const CompactionPlan& plan, ProgressSink& progress) {
  CompactionReport report;
  SK_TRY_ASSIGN(const io::SpaceFacts before, root.space());
  std::uint64_t done_bytes = 0;
  const std::span<const CompactionAction> actions(plan.actions);
  for (std::size_t begin = 0; begin < actions.size();) {
    const std::string directory = parent_of(actions[begin].path);
    std::size_t end = begin;
    while (end < actions.size() && parent_of(actions[end].path) == directory) {
      done_bytes += actions[end++].frees.bytes;
    }
    SK_TRY(with_context(compact_directory(root, actions.subspan(begin, end - begin), report, progress), "compaction"));
    progress.progress(Phase::compact, done_bytes, plan.frees.bytes);
    begin = end;
  }
  SK_TRY_ASSIGN(const io::SpaceFacts after, root.space());
  report.freed.bytes = after.free_bytes > before.free_bytes ? after.free_bytes - before.free_bytes : 0;
  report.freed.inodes = after.inodes_free > before.inodes_free ? after.inodes_free - before.inodes_free : 0;
  return report;
}

}  // namespace slotkeeper::permanent
