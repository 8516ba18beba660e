// Step 9, on a rollback: makes configuration and state what the snapshot holds, exactly; leaves logs and disposable
// files alone. All replacements are built, synced and verified in the reserve before the first one is renamed into
// place.
#pragma once

#include <string>
#include <vector>

#include "partitions/io/directory.hpp"
#include "partitions/permanent/snapshot.hpp"

namespace slotkeeper::permanent {

/// The first of many paths, and how many there are.
struct NamedPaths {
  static constexpr std::size_t kNamedMax = 100;
  std::vector<std::string> named;
  std::size_t count = 0;

  void add(const std::string& path) {
    if (count++ < kNamedMax) named.push_back(path);
  }
};

struct RestoreReport {
  NamedPaths replaced;  ///< contents or attributes differed, or it was missing
  NamedPaths removed;   ///< config and state entries that the snapshot does not know
  /// Directories that the snapshot does not know and that stay because logs are in them; logs of the trial that stood
  /// in a place of config or state were moved to kOwnDirectory/kept and are named with their new path.
  NamedPaths kept;
  bool changed = false;  ///< false: everything was as the snapshot has it, and nothing was written
};

/// Repeatable: a second run finds nothing to do and changes no byte. Verifies itself: at the end every entry of the
/// snapshot is on the partition as the snapshot has it, times included, and no other of kind config or state is, but
/// for the directories in `kept`; without such, and without mounts, the roots of the partition equal `facts`.
/// `classes` are those of the transaction; `trial_classes` those of the firmware that was tried, so that its logs are
/// known as such where its classes differ (null: not known, or the same). What is immutable or append-only and in the
/// way loses that flag, with a notice. Takes from the reserve what it needs and creates new files where that has
/// nothing left; the rest of the reserve is the caller's to release. Never cancelled half-way.
/// Durable: everything, when it returns. On crash: each file is old or restored, complete; run it again.
/// Errors: restore_incomplete (message and detail "cause" say why; run it again; nothing was touched where something is
/// mounted over what has to be restored), and before anything was touched
/// state_store and readback_mismatch (the snapshot is not readable or not the one of `facts`).
[[nodiscard]] Result<RestoreReport> restore_snapshot(io::Directory& root, const ClassTable& classes,
                                                     StoreArea& snapshot, const SnapshotFacts& facts,
                                                     ProgressSink& progress, const ClassTable* trial_classes = nullptr);

}  // namespace slotkeeper::permanent
