// Carries a compaction plan out, action by action in its order.
#include "partitions/permanent/compaction.hpp"

#include <algorithm>
#include <set>
#include <thread>

#include "partitions/permanent/compaction_file.hpp"
#include "partitions/permanent/compaction_in_place.hpp"
#include "partitions/permanent/compaction_redo.hpp"
#include "partitions/permanent/compaction_replace.hpp"
#include "partitions/permanent/paths.hpp"
#include "partitions/permanent/reserve.hpp"
#include "partitions/permanent/segment_name.hpp"
#include "partitions/permanent/steady_file.hpp"

namespace slotkeeper::permanent {
namespace {

using Kind = CompactionAction::Kind;

constexpr unsigned int kWorkersMax = 4;  // each costs memory

unsigned int workers() { return std::clamp(std::thread::hardware_concurrency(), 1U, kWorkersMax); }

/// Bytes that an action works through.
std::uint64_t weight(const CompactionAction& action, const Entry& file) {
  return action.kind == Kind::compress ? file.status.size_bytes : action.frees.bytes;
}

/// Lines of a segment, compressed by us or not; nothing when that cannot be told.
Result<std::optional<std::uint64_t>> count_entries(io::File& file, const std::string& name) {
  std::uint64_t lines = 0;
  const auto count = [&](io::ConstBytes piece) -> Result<void> {
    lines += static_cast<std::uint64_t>(std::ranges::count(piece, std::byte{'\n'}));
    return success();
  };
  if (!name.ends_with(kCompressedSuffix)) {
    if (compressor_suffix(name) != 0) return std::optional<std::uint64_t>();
    SK_TRY(read_through(file, count));
    return std::optional(lines);
  }
  std::uint64_t offset = 0;
  Result<void> decoded = decode_segment(
      [&](io::Bytes into) -> Result<std::size_t> {
        SK_TRY_ASSIGN(const std::size_t got, file.read_at(offset, into));
        offset += got;
        return got;
      },
      count);
  if (!decoded.has_value() && decoded.assume_error().code == Errc::corrupt) return std::optional<std::uint64_t>();
  SK_TRY(std::move(decoded));
  return std::optional(lines);
}

class Compactor {
 public:
  Compactor(io::Directory& root, ScratchAreas scratch, const CompactionPlan& plan, ProgressSink& progress)
      : root_(root), scratch_(scratch), plan_(plan), sink_(progress), progress_(progress, total(plan)) {}

  Result<CompactionReport> run() {
    SK_TRY_ASSIGN(const io::SpaceFacts before, root_.space());
    const std::span<const CompactionAction> actions(plan_.actions);
    std::size_t done = 0;
    while (done < actions.size() && actions[done].kind != Kind::compress) {
      const auto same = [&](const CompactionAction& action) {
        return action.kind == actions[done].kind &&
               parent_of(plan_.path(action)) == parent_of(plan_.path(actions[done]));
      };
      const auto group = actions.subspan(done);
      const auto end = std::ranges::find_if_not(group, same);
      const auto count = static_cast<std::size_t>(end - group.begin());
      SK_TRY(remove_in_directory(group.first(count)));
      done += count;
    }
    SK_TRY(compress(actions.subspan(done)));
    SK_TRY_ASSIGN(const io::SpaceFacts after, root_.space());
    report_.freed.bytes = after.free_bytes > before.free_bytes ? after.free_bytes - before.free_bytes : 0;
    report_.freed.inodes = after.inodes_free > before.inodes_free ? after.inodes_free - before.inodes_free : 0;
    return std::move(report_);
  }

 private:
  static std::uint64_t total(const CompactionPlan& plan) {
    std::uint64_t bytes = 0;
    for (const CompactionAction& action : plan.actions) bytes += weight(action, plan.file(action));
    return bytes;
  }

  Result<void> leave(const CompactionAction& action, LeftAloneReason reason) {
    if (action.kind == Kind::drop_expired) blocked_.insert(action.series);
    const std::string path(plan_.path(action));
    report_.left_alone.add(path, reason);
    sink_.notice("left alone " + path + ": " + std::string(text_of(reason)));
    return success();
  }

  /// The removals of one directory, then its sync.
  Result<void> remove_in_directory(std::span<const CompactionAction> actions) {
    Result<std::unique_ptr<io::Directory>> opened = root_.open_directory(parent_of(plan_.path(actions.front())));
    if (!opened.has_value()) {
      if (!is_about_this_file(opened.assume_error())) return std::move(opened).assume_error();
      for (const CompactionAction& action : actions) SK_TRY(leave(action, LeftAloneReason::changed));
      return success();
    }
    io::Directory& parent = *opened.assume_value();
    Result<void> outcome = success();
    for (const CompactionAction& action : actions) {
      const Entry file = plan_.file(action);
      outcome = sink_.check_cancelled();
      if (outcome.has_value()) outcome = remove(parent, action, file);
      if (!outcome.has_value()) break;
      progress_.add(weight(action, file));
    }
    // What was removed before an error is removed all the same.
    if (std::exchange(removed_, false)) SK_TRY(parent.sync());
    SK_TRY(parent.close());
    return outcome;
  }

  /// Removes the file if it is still the planned one and unused.
  Result<void> remove(io::Directory& parent, const CompactionAction& action, const Entry& file) {
    const bool is_segment = action.kind == Kind::drop_expired;
    if (is_segment && blocked_.contains(action.series)) return leave(action, LeftAloneReason::in_use);
    const std::string name = last_name_of(file.path);
    const auto lease = is_segment ? io::LeaseKind::no_writer : io::LeaseKind::nobody;
    SK_TRY_ASSIGN(const auto held, take_unused(parent, name, lease));
    if (!held) return leave(action, LeftAloneReason::in_use);
    SK_TRY_ASSIGN(const io::EntryStatus opened, held->status());
    if (!is_as_planned(file, opened, is_segment)) return leave(action, LeftAloneReason::changed);
    std::optional<std::uint64_t> entries;
    if (is_segment) {
      SK_TRY_ASSIGN(entries, with_context(count_entries(*held, name), file.path));
    }
    // The name and its file once more, as late as can be: what is removed is the name, and it must still be this
    // file's, and in nobody's hands.
    const Result<io::EntryStatus> named = parent.status_of(name);
    if (!named.has_value() && is_about_this_file(named.assume_error())) return leave(action, LeftAloneReason::changed);
    SK_TRY(named);
    SK_TRY_ASSIGN(const bool still_unused, held->try_lease(lease));
    if (!still_unused) return leave(action, LeftAloneReason::in_use);
    if (!is_as_planned(file, named.assume_value(), is_segment)) return leave(action, LeftAloneReason::changed);
    const Result<void> removed = parent.remove_file(name);
    if (!removed.has_value() && is_about_this_file(removed.assume_error())) {
      const bool is_immutable = removed.assume_error().os_errno == EPERM;
      return leave(action, is_immutable ? LeftAloneReason::cannot_be_changed : LeftAloneReason::changed);
    }
    SK_TRY(removed);
    removed_ = true;
    SK_TRY(held->close());
    note_removal(action.kind, file, entries);
    return success();
  }

  void note_removal(Kind kind, const Entry& file, std::optional<std::uint64_t> entries) {
    const std::uint64_t bytes = file.status.size_bytes;
    if (kind != Kind::drop_expired) {
      ++report_.removed_files;
      sink_.notice("removed " + file.path + ": " + kibibytes(bytes));
      return;
    }
    report_.dropped.push_back({.path = file.path, .bytes = bytes, .entries = entries});
    sink_.notice("dropped expired " + file.path + ": " + kibibytes(bytes) + ", " +
                 (entries ? std::to_string(*entries) + " entries" : "entries not counted"));
  }

  Result<void> compress(std::span<const CompactionAction> actions) {
    if (actions.empty()) return success();
    SegmentEncoder encoder(workers());
    bool has_folder = false;
    for (const CompactionAction& action : actions) {
      SK_TRY(sink_.check_cancelled());
      const PlannedSegment segment{.file = plan_.file(action), .frees_bytes = action.frees.bytes};
      Replaced replaced{.left_alone = LeftAloneReason::no_room, .after_bytes = 0};
      Result<void> made = has_folder ? success() : make_own_directory(root_);
      has_folder = made.has_value();
      if (has_folder) {
        SK_TRY_ASSIGN(replaced, replace_segment(root_, segment, encoder, progress_));
      } else if (!is_about_room(made.assume_error())) {
        return made;
      }
      if (replaced.left_alone == LeftAloneReason::no_room) {
        SK_TRY_ASSIGN(replaced, compress_in_place(root_, segment.file, scratch_, progress_));
      }
      if (replaced.left_alone) {
        SK_TRY(leave(action, *replaced.left_alone));
        continue;
      }
      const std::uint64_t before_bytes = segment.file.status.size_bytes;
      report_.compressed.push_back(
          {.path = segment.file.path, .before_bytes = before_bytes, .after_bytes = replaced.after_bytes});
      sink_.notice("compressed " + segment.file.path + ": " + kibibytes(before_bytes) + " -> " +
                   kibibytes(replaced.after_bytes));
    }
    return sync_own_directory();
  }

  Result<void> sync_own_directory() {
    Result<std::unique_ptr<io::Directory>> own = root_.open_directory(std::string(kOwnDirectory));
    if (!own.has_value()) {
      if (is_gone(own.assume_error())) return success();  // there was no room to make it
      return std::move(own).assume_error();
    }
    SK_TRY(own.assume_value()->sync());
    return own.assume_value()->close();
  }

  io::Directory& root_;
  ScratchAreas scratch_;
  const CompactionPlan& plan_;
  ProgressSink& sink_;
  CompactionProgress progress_;
  std::set<std::uint32_t> blocked_;  ///< series in which something older stayed
  bool removed_ = false;
  CompactionReport report_;
};

}  // namespace

Result<CompactionReport> carry_out(io::Directory& root, const CompactionPlan& plan, ScratchAreas scratch,
                                   ProgressSink& progress) {
  Result<CompactionReport> report = with_context(Compactor(root, scratch, plan, progress).run(), "compaction");
  if (report.has_value()) return report;
  Result<bool> tidied = finish_replacements(root, progress);
  if (tidied.has_value()) return report;
  Error error = std::move(report).assume_error();
  error.message += "; tidying up met another error, 'slotkeeper recover' does it: " + tidied.assume_error().message;
  return error;
}

Result<bool> recover_compaction(io::Directory& root, ScratchAreas scratch, ProgressSink& progress) {
  SK_TRY_ASSIGN(const auto in_place, with_context(finish_in_place(root, scratch, progress), "compaction"));
  SK_TRY_ASSIGN(const bool replaced, with_context(finish_replacements(root, progress), "compaction"));
  return in_place == InPlaceState::finished || replaced;
}

Result<std::optional<std::uint64_t>> half_compressed(ScratchAreas scratch) {
  SK_TRY_ASSIGN(const auto step, RedoLog(scratch).newest());
  if (!step) return std::optional<std::uint64_t>();
  return std::optional(step->inode);
}

}  // namespace slotkeeper::permanent
