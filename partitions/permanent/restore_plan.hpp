// What a restore has to do: the difference between a snapshot and the partition, as pure data.
#pragma once

#include <string>
#include <vector>

#include "partitions/permanent/inventory.hpp"
#include "partitions/permanent/path_list.hpp"
#include "partitions/permanent/snapshot.hpp"
#include "partitions/permanent/trial_logs.hpp"

namespace slotkeeper::permanent {

/// Entries of a snapshot by their place in it, mounts not counted. Whoever needs more of them reads the snapshot again:
/// there may be 200,000, and there is no room for a second list of that length.
class SnapshotPlaces {
 public:
  /// Each place once, in any order.
  void add(std::size_t place, const Entry& entry);

  [[nodiscard]] bool contains(std::size_t place) const { return place < places_.size() && places_[place]; }
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] bool empty() const { return size_ == 0; }
  [[nodiscard]] const std::string& first_path() const { return first_path_; }
  [[nodiscard]] std::uint64_t contents_bytes() const { return contents_bytes_; }
  [[nodiscard]] bool only_regular_files() const { return only_regular_files_; }

 private:
  std::vector<bool> places_;
  std::size_t size_ = 0;
  std::string first_path_;
  std::uint64_t contents_bytes_ = 0;
  bool only_regular_files_ = true;
};

struct RestorePlan {
  EntryList entries;                ///< of the snapshot: directories, and all names of files with several names
  std::vector<std::string> mounts;  ///< of the snapshot: nothing is known of these paths and what is below

  SnapshotPlaces build;                         ///< to build anew and to rename into place; no directories
  std::vector<std::size_t> link;                ///< of `entries`: to make another name of an entry before them
  std::vector<std::size_t> create_directories;  ///< of `entries`; parents first
  std::vector<std::size_t> fix_directories;     ///< of `entries`: attributes differ; without those only on the way
  std::vector<std::string> clear_first;         ///< of another type than the snapshot has: must go before all else
  PathList remove;                              ///< children first
  PathList set_aside;             ///< logs of the trial, or directories of such, in a place of configuration
  PathList link_aside;            ///< config files that the trial took for its logs: kept, then replaced
  std::vector<std::string> kept;  ///< unknown to the snapshot, but with logs or a mount inside

  [[nodiscard]] bool is_empty() const { return !changes_entries() && fix_directories.empty(); }
  /// Whether anything but attributes of directories has to change.
  [[nodiscard]] bool changes_entries() const {
    return !(build.empty() && link.empty() && create_directories.empty() && clear_first.empty() && remove.empty() &&
             set_aside.empty());
  }
};

/// Reads the snapshot beside the inventory, so that no list of it is needed.
/// Errors: restore_incomplete (the class table does not fit the snapshot; something is mounted over what the snapshot
/// holds), and those of `read_recorded_snapshot`.
[[nodiscard]] Result<RestorePlan> plan_restore(StoreArea& snapshot, const SnapshotFacts& facts,
                                               const Inventory& present, const TrialLogs& logs);

}  // namespace slotkeeper::permanent
