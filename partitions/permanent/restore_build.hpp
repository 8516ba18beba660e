// The replacements of a restore: built in the directory of the reserve, synced, read back and compared, before the
// first one is renamed into place.
#pragma once

#include <string>
#include <vector>

#include "partitions/io/directory.hpp"
#include "partitions/permanent/path_list.hpp"
#include "partitions/permanent/restore_plan.hpp"
#include "partitions/progress.hpp"

namespace slotkeeper::permanent {

/// What was built: where it goes, and its name in the directory of the reserve; in the order of the snapshot.
struct Replacements {
  PathList paths;
  PathList names;

  void add(const std::string& path, const std::string& name) {
    paths.push_back(path);
    names.push_back(name);
  }
};

/// Clears up after a restore that was cut off, gives back of the reserve what the plan needs free (the slack, and a
/// file for every inode that is not a regular file's; on a filesystem that does not overwrite in place, for every
/// entry), and builds everything in `plan.build`, each one synced, read back and compared with the snapshot of `facts`.
/// Where the reserve has nothing left a new file is made. Durable: contents, attributes and names in the reserve. On
/// crash: the next restore clears up. Errors: storage_full, readback_mismatch, io_error, sync_failed, state_store.
[[nodiscard]] Result<Replacements> build_replacements(io::Directory& root, const RestorePlan& plan, StoreArea& snapshot,
                                                      const SnapshotFacts& facts, ProgressSink& progress);

/// Removes a file or an empty directory.
[[nodiscard]] Result<void> remove_entry(io::Directory& parent, const std::string& name);

/// Makes owner, mode, times and extended attributes of an entry those of `wanted`.
[[nodiscard]] Result<void> give_attributes(io::Directory& directory, const std::string& name, const Entry& wanted);

/// True when owner, mode (not of symbolic links), time of change and extended attributes are those of `wanted`.
[[nodiscard]] bool has_attributes(const io::EntryStatus& status, const std::vector<io::ExtendedAttribute>& attributes,
                                  const Entry& wanted);

}  // namespace slotkeeper::permanent
