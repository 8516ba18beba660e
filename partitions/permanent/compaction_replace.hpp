// Compressing a segment with room to spare: the replacement is built beside the original, and the original goes when
// nothing depends on it any more.
//
//   kOwnDirectory/compaction-INODE.zst    written, synced, read back, compared; the directory is synced
//   NAME.zst                              second name of it; the directory is synced
//   kOwnDirectory/compaction-INODE.old    the original, moved away so that nobody can open it any more, then removed;
//                                         the directory is synced
//   compaction-INODE.zst                  removed
//
// Whatever the cut leaves, the names say what is what: `finish_replacements` needs no record.
#pragma once

#include <optional>

#include "partitions/permanent/compaction.hpp"
#include "partitions/permanent/segment_codec.hpp"

namespace slotkeeper::permanent {

struct Replaced {
  std::optional<LeftAloneReason> left_alone;  ///< no_room: nothing was changed, in-place compression may be tried
  std::uint64_t after_bytes = 0;              ///< size of NAME.zst
};

/// How far a phase has come, for who watches.
class CompactionProgress {
 public:
  CompactionProgress(ProgressSink& sink, std::uint64_t total_bytes) : sink_(sink), total_bytes_(total_bytes) {}
  void add(std::uint64_t bytes) {
    done_bytes_ += bytes;
    sink_.progress(Phase::compact, std::min(done_bytes_, total_bytes_), total_bytes_);
  }
  [[nodiscard]] ProgressSink& sink() { return sink_; }

 private:
  ProgressSink& sink_;
  std::uint64_t total_bytes_;
  std::uint64_t done_bytes_ = 0;
};

struct PlannedSegment {
  Entry file;  ///< as it must still be
  std::uint64_t frees_bytes = 0;
};

/// Replaces one segment as planned. kOwnDirectory must exist. After an error or a refusal both names may be there;
/// `finish_replacements` clears that up.
/// Durable: NAME.zst before the original goes; the removal when it returns.
/// Errors: io_error, sync_failed, readback_mismatch, read_only, cancelled.
[[nodiscard]] Result<Replaced> replace_segment(io::Directory& root, const PlannedSegment& segment,
                                               SegmentEncoder& encoder, CompactionProgress& progress);

/// Clears up what replacements that were cut off have left: keeps the original, or its replacement where the original
/// is gone, never both and never neither. True when there was something.
[[nodiscard]] Result<bool> finish_replacements(io::Directory& root, ProgressSink& progress);

}  // namespace slotkeeper::permanent
