// Step 4: gives back what the permanent partition holds needlessly, without altering anything that counts. A plan is
// pure data in a fixed order, so that a dry run prints exactly what the real run does.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "partitions/io/directory.hpp"
#include "partitions/permanent/classes.hpp"
#include "partitions/permanent/forecast.hpp"
#include "partitions/permanent/inventory.hpp"
#include "partitions/state_store.hpp"

namespace slotkeeper::permanent {

/// A segment that was changed less than this ago is left alone: it may be in the middle of being rotated.
inline constexpr std::int64_t kQuietSeconds = 2;
/// Compaction leaves at least this much to those who write while it builds replacements.
inline constexpr std::uint64_t kRoomForWritersBytes = std::uint64_t{256} * 1024;
inline constexpr std::uint64_t kRoomForWritersInodes = 4;
/// Of the files that are left alone so many are named; all are counted.
inline constexpr std::size_t kLeftAloneNamedMax = 1000;

/// Why a file that could have been compacted is left as it is.
enum class LeftAloneReason : std::uint8_t {
  in_use,             ///< somebody has it open (a segment: for writing), or nobody can tell
  not_quiet,          ///< changed within kQuietSeconds
  several_names,      ///< hard links
  cannot_be_changed,  ///< immutable or append-only
  too_small,          ///< not a block would be gained
  compressed_already,
  name_taken,      ///< NAME.zst exists
  name_too_long,   ///< NAME.zst would be
  other_class,     ///< NAME.zst would belong to another class
  changed,         ///< not the planned file any more
  no_room,         ///< neither room for a replacement, nor can it be compressed in place here
  being_finished,  ///< an earlier run was cut off in it, and it cannot be finished as long as somebody has it open
};
[[nodiscard]] std::string_view text_of(LeftAloneReason reason);  ///< as printed: "in use", ...

struct LeftAlone {
  std::string path;
  LeftAloneReason reason = LeftAloneReason::in_use;
  bool operator==(const LeftAlone&) const = default;
};

/// Names the first ones, counts all.
class LeftAloneList {
 public:
  void add(std::string path, LeftAloneReason reason);
  [[nodiscard]] const std::vector<LeftAlone>& named() const { return named_; }
  [[nodiscard]] std::uint64_t count() const { return count_; }

 private:
  std::vector<LeftAlone> named_;
  std::uint64_t count_ = 0;
};

struct CompactionAction {
  enum class Kind : std::uint8_t {
    remove_disposable,
    drop_expired,  ///< a segment past its retention
    compress,      ///< a rotated segment becomes NAME.zst
  } kind = Kind::remove_disposable;
  std::uint32_t entry = 0;   ///< index into the plan's inventory: the file as it must still be
  std::uint32_t series = 0;  ///< of drop_expired: nothing newer of a series goes when something older stayed
  Amount frees;              ///< at least, of compress: estimated from samples
};
/// "remove spool/x", "drop expired log/x.9", "compress log/x.1": what a dry run prints.
[[nodiscard]] std::string text_of(CompactionAction::Kind kind, std::string_view path);

struct CompactionPlan {
  Inventory inventory;  ///< that the plan was made from
  /// Disposable files by directory and name, expired segments by series from the oldest on, then what is to be
  /// compressed by gain.
  std::vector<CompactionAction> actions;
  Amount frees;
  std::map<std::string, Amount> frees_by_class;  ///< by rule name; only classes that free something
  LeftAloneList left_alone;

  /// The file as it was found.
  [[nodiscard]] Entry file(const CompactionAction& action) const { return inventory.entries[action.entry]; }
  [[nodiscard]] std::string_view path(const CompactionAction& action) const {
    return inventory.entries.path(action.entry);
  }
  /// Forgets every entry of the inventory that no action is about: what carrying out does not need.
  void keep_planned_files();
};

struct CompactionLimits {
  io::TimeStamp now;
  /// Files that must stay whatever their class: identities of the bundle being installed.
  std::vector<std::pair<std::uint64_t, std::uint64_t>> keep = {};  ///< device, inode
  /// A log that an earlier run has half compressed in place, see `half_compressed`.
  std::optional<std::uint64_t> half_compressed_inode = {};
};

/// What can go and what can shrink: regular files of class `disposable` with one name that nobody has open; of rotated
/// segments (see segment_name.hpp) those of kind `log` whose retention is over, and of kinds `log` and `security-log`
/// those that gain a block by compression, that nobody writes and that are quiet. The file that a program writes is
/// never touched. Where the filesystem has no leases nobody can tell whether a file is open, so all are left alone.
/// Writes nothing. Errors: io_error.
[[nodiscard]] Result<CompactionPlan> plan_compaction(io::Directory& root, Inventory inventory,
                                                     const ClassTable& classes, const CompactionLimits& limits);

/// Where a log that is compressed in place lies while the file itself does not hold all of it: two areas of the state
/// store that are sealed in turn.
struct ScratchAreas {
  StoreArea& first;
  StoreArea& second;
};

struct DroppedSegment {
  std::string path;
  std::uint64_t bytes = 0;
  std::optional<std::uint64_t> entries;  ///< lines; nothing when they could not be counted
};

struct CompressedSegment {
  std::string path;
  std::uint64_t before_bytes = 0;
  std::uint64_t after_bytes = 0;
};

struct CompactionReport {
  std::uint64_t removed_files = 0;
  std::vector<DroppedSegment> dropped;
  std::vector<CompressedSegment> compressed;
  Amount freed;              ///< as the filesystem's figures show it
  LeftAloneList left_alone;  ///< planned, but in use or changed by now
  [[nodiscard]] bool has_effect() const { return removed_files != 0 || !dropped.empty() || !compressed.empty(); }
};

/// Carries a plan out in its order. Each file is opened, shown to be the planned one and in nobody's hands. A segment
/// is compressed into kOwnDirectory, synced, read back and compared; then it gets its name, and the original goes last.
/// Without room for that (or an inode) it is compressed in its own place, a piece at a time, through the scratch
/// areas. Every step is told by a notice. Needs no space: works with no byte and no inode free.
/// Durable: everything, when it returns. On crash: see the crash table in engine/DESIGN.md; `recover_compaction` goes
/// on. After an error it has tidied up as far as it could.
/// Errors: io_error, sync_failed, readback_mismatch, read_only, cancelled.
[[nodiscard]] Result<CompactionReport> carry_out(io::Directory& root, const CompactionPlan& plan, ScratchAreas scratch,
                                                 ProgressSink& progress);

/// Brings what a compaction left unfinished to its end: a log that lies half compressed in its own place is compressed
/// to its end, a replacement whose original still exists loses one of the two, temporary files go. Every entry is found
/// exactly once afterwards. A log that somebody has opened for writing since is left for the next time (a notice).
/// True when anything was to be done. Idempotent; bounded by the size of one log.
/// Errors: io_error, sync_failed, readback_mismatch, read_only, storage_full.
[[nodiscard]] Result<bool> recover_compaction(io::Directory& root, ScratchAreas scratch, ProgressSink& progress);

/// The log that lies half compressed in its own place, if there is one: its inode. Only looks.
[[nodiscard]] Result<std::optional<std::uint64_t>> half_compressed(ScratchAreas scratch);

}  // namespace slotkeeper::permanent
