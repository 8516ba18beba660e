// Compressing a segment without a free block and without a free inode: in its own inode, a piece at a time.
//
//   [0, stored)          frames, each read back and compared
//   [stored, consumed)   plain bytes that are in those frames; to be overwritten
//   [consumed, size)     plain bytes still to come
//
// The next frame is sealed in the scratch area before it is written over the beginning of the file, and frames never
// reach plain bytes that are in no frame yet. Afterwards the file is cut off, gets its times back and its new name. At
// every moment each entry is in the file or in the sealed frame, and the scratch area says where.
#pragma once

#include "partitions/permanent/compaction.hpp"
#include "partitions/permanent/compaction_replace.hpp"

namespace slotkeeper::permanent {

/// Compresses one segment as planned. Left alone with no_room where the filesystem does not overwrite in place or the
/// file has holes, too_small where its first piece does not shrink by enough; being_finished when somebody waits for it
/// once it is compressed: then it keeps its name, and the scratch area its description, until `finish_in_place`. Cannot
/// be cancelled in the middle.
/// Durable: every piece; all of it when it returns. On crash: `finish_in_place` goes on.
/// Errors: io_error, sync_failed, readback_mismatch, read_only.
[[nodiscard]] Result<Replaced> compress_in_place(io::Directory& root, const Entry& planned, ScratchAreas scratch,
                                                 CompactionProgress& progress);

enum class InPlaceState : std::uint8_t {
  nothing,   ///< there was nothing to finish
  finished,  ///< what there was is done
  waits,     ///< somebody has the log open for writing; a notice was given
};

/// Goes on where `compress_in_place` was cut off. Entries that somebody appended since are compressed, too.
/// Errors: as compress_in_place, and storage_full (appended entries need a block more than there is).
[[nodiscard]] Result<InPlaceState> finish_in_place(io::Directory& root, ScratchAreas scratch, ProgressSink& progress);

}  // namespace slotkeeper::permanent
