// Whether the configuration stayed what it was: first a thorough look that takes its time, then quick ones that compare
// statuses only and fit into the two seconds of a freeze.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "partitions/permanent/inventory.hpp"
#include "partitions/permanent/snapshot.hpp"

namespace slotkeeper::permanent {

inline constexpr std::size_t kDriftPathsMax = 20;
/// A filesystem's clock may stand still for that long: seconds on ext4 with inodes of 128 bytes. What was changed so
/// shortly before the first look is read again in the second one.
inline constexpr std::int64_t kClockTickMaxS = 2;
inline constexpr std::uint64_t kRereadMaxBytes = 16ull << 20;  ///< in one quick look

struct QuickLook {
  bool complete = false;           ///< it was not stopped half-way
  std::vector<std::string> paths;  ///< config entries that changed, came or went; at most kDriftPathsMax
  std::uint64_t entries = 0;       ///< config entries looked at
  std::uint64_t reread_bytes = 0;
};

/// The configuration as it was when it was hashed, and what each entry looked like then.
///
/// Why statuses are enough: every change of a file moves its time of change, but for those within one tick of the
/// filesystem's clock, and those of a page that is mapped and dirty already. `begin` therefore notes the time, flushes
/// the filesystem (which makes every mapped page clean), and hashes; in `look_again` the contents and attributes of
/// whatever was changed less than kClockTickMaxS before that time, or after it, are read again.
class DriftWatch {
 public:
  /// Flushes and hashes. `classes` must outlive the watch.
  /// Errors: those of `take_inventory`; sync_failed.
  [[nodiscard]] static Result<DriftWatch> begin(io::Directory& root, const ClassTable& classes, io::TimeStamp now,
                                                ProgressSink& progress);

  [[nodiscard]] const Inventory& inventory() const { return inventory_; }  ///< config contents hashed

  /// Gives its memory back, of 200,000 files some 30 MiB; only a new look from the beginning is possible then.
  void forget() {
    inventory_.entries = {};
    expected_ = {};
  }

  /// Compares. Reads only and reports nothing, so that it may run under a freeze; asks `may_go_on` every few entries
  /// and ends incomplete when it says no, or when more than kRereadMaxBytes would have to be read.
  /// Errors: io_error.
  [[nodiscard]] Result<QuickLook> look_again(io::Directory& root, const std::function<bool()>& may_go_on) const;

 private:
  friend class SecondLook;
  /// 24 bytes for each config entry, because there may be 200,000.
  struct Expected {
    std::uint64_t path = 0;    ///< hash of it
    std::uint64_t status = 0;  ///< hash of what must be the same
    std::uint32_t times = 0;   ///< hash of the times of change; of a directory they may move without harm
    std::uint32_t index : 31;  ///< in the inventory
    std::uint32_t fresh : 1;   ///< was changed so shortly before that its times tell nothing
  };

  DriftWatch(const ClassTable& classes, Inventory inventory, io::TimeStamp since);

  const ClassTable* classes_;
  Inventory inventory_;
  std::vector<Expected> expected_;  ///< sorted by `path`
};

/// Config entries of an inventory with hashed contents that are not what the sealed snapshot in `area` holds, at most
/// `limit` of them. Errors: state_store, io_error.
[[nodiscard]] Result<std::vector<std::string>> paths_unlike_snapshot(StoreArea& area, const Inventory& inventory,
                                                                     std::size_t limit);

}  // namespace slotkeeper::permanent
