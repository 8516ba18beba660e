// Step 9, on a rollback: makes configuration and state what the snapshot holds, exactly; leaves logs and disposable
// files alone. All replacements are built, synced and verified in the reserve before the first one is renamed into
// place.
#pragma once

#include <string>
#include <vector>

#include "partitions/io/directory.hpp"
#include "partitions/permanent/snapshot.hpp"

namespace slotkeeper::permanent {

struct RestoreReport {
  std::vector<std::string> replaced;  ///< contents or attributes differed, or it was missing
  std::vector<std::string> removed;   ///< config and state entries that the snapshot does not know
  bool changed = false;               ///< false: everything was as the snapshot has it, and nothing was written
};

/// Repeatable: a second run finds nothing to do and changes no byte. Verifies itself: at the end the roots of the
/// partition equal `facts`.
/// Durable: everything, when it returns. On crash: each file is old or restored, complete; run it again.
/// Errors: restore_incomplete (with the cause as context), readback_mismatch, io_error, sync_failed, storage_full.
[[nodiscard]] Result<RestoreReport> restore_snapshot(io::Directory& root, const ClassTable& classes,
                                                     StoreArea& snapshot, const SnapshotFacts& facts,
                                                     ProgressSink& progress);

}  // namespace slotkeeper::permanent
