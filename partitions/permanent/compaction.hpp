// Step 4: gives back what the permanent partition holds needlessly, without altering anything that counts. A plan is
// pure data, so that a dry run prints exactly what the real run does.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "partitions/io/directory.hpp"
#include "partitions/permanent/forecast.hpp"
#include "partitions/permanent/inventory.hpp"

namespace slotkeeper::permanent {

struct CompactionAction {
  enum class Kind : std::uint8_t { remove_disposable } kind = Kind::remove_disposable;
  std::string path;
  std::uint64_t device = 0;  ///< identity the file must still have
  std::uint64_t inode = 0;
  std::uint64_t size_bytes = 0;
  io::TimeStamp modified;
  Amount frees;
};

struct CompactionPlan {
  std::vector<CompactionAction> actions;  ///< by directory, then by name
  Amount frees;
  std::vector<std::string> left_alone;  ///< disposable, but in use, or not known not to be
};

struct CompactionLimits {
  /// Files that must stay whatever their class: identities of the bundle being installed.
  std::vector<std::pair<std::uint64_t, std::uint64_t>> keep;  ///< device, inode
};

/// Regular files of class `disposable` with one name that nobody has open and that are no bundle in use; directories
/// stay. Where the filesystem has no leases nobody can tell whether a file is open, so it is left alone. Writes
/// nothing. Errors: io_error.
[[nodiscard]] Result<CompactionPlan> plan_compaction(io::Directory& root, const Inventory& inventory,
                                                     const CompactionLimits& limits);

struct CompactionReport {
  std::uint64_t removed_files = 0;
  Amount freed;                         ///< as the filesystem's figures show it
  std::vector<std::string> left_alone;  ///< planned, but in use or changed by now
};

/// Carries a plan out: each file is opened, shown to be the planned one (device, inode, size, time of change) and in
/// nobody's hands, and removed; then each directory is synced once. Files that are in use or changed by now are left
/// alone. Needs no space: works with no byte and no inode free.
/// Durable: every removal, when it returns. On crash: a part of the removals; all of them were allowed.
/// Errors: io_error, sync_failed, read_only, cancelled.
[[nodiscard]] Result<CompactionReport> carry_out(io::Directory& root, const CompactionPlan& plan,
                                                 ProgressSink& progress);

}  // namespace slotkeeper::permanent
