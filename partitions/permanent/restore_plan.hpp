// What a restore has to do: the difference between a snapshot and the partition, as pure data.
#pragma once

#include <string>
#include <vector>

#include "partitions/permanent/inventory.hpp"
#include "partitions/permanent/snapshot.hpp"
#include "partitions/permanent/trial_logs.hpp"

namespace slotkeeper::permanent {

/// A snapshot in memory, without contents. Of 200,000 files most are what they were, and there is no room to hold them
/// twice: what has one name and equals what is there need not be listed.
struct SnapshotListing {
  EntryList entries;                ///< as an inventory has them, with digests
  std::vector<std::string> mounts;  ///< nothing is known of these paths and what is below
  std::vector<bool> left_out;       ///< by index into the inventory; may be shorter than that

  /// Takes an entry into the list, or leaves it out because `present` has the same.
  void add(const Entry& entry, const Inventory& present);
};

struct RestorePlan {
  std::vector<std::size_t> build;               ///< entries to build anew and to rename into place; no directories
  std::vector<std::size_t> link;                ///< entries to make another name of an entry before them
  std::vector<std::size_t> create_directories;  ///< parents first
  std::vector<std::size_t> fix_directories;     ///< attributes differ; without those that lie on the way only
  std::vector<std::string> clear_first;         ///< of another type than the snapshot has: must go before all else
  std::vector<std::string> remove;              ///< children first
  std::vector<std::string> set_aside;           ///< logs of the trial, or directories of such, in a place of config
  std::vector<std::string> link_aside;          ///< config files that the trial took for its logs: kept, then replaced
  std::vector<std::string> kept;                ///< unknown to the snapshot, but with logs or a mount inside

  [[nodiscard]] bool is_empty() const {
    return build.empty() && link.empty() && create_directories.empty() && fix_directories.empty() &&
           clear_first.empty() && remove.empty() && set_aside.empty();
  }
  /// Whether anything but attributes of directories has to change.
  [[nodiscard]] bool changes_entries() const {
    return !(build.empty() && link.empty() && create_directories.empty() && clear_first.empty() && remove.empty() &&
             set_aside.empty());
  }
};

/// Indices are those of `wanted.entries`.
/// Errors: restore_incomplete (the class table does not fit the snapshot; something is mounted over what the snapshot
/// holds).
[[nodiscard]] Result<RestorePlan> plan_restore(const SnapshotListing& wanted, const Inventory& present,
                                               const TrialLogs& logs);

}  // namespace slotkeeper::permanent
