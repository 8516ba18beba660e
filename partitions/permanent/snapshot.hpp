// Step 5: a checked copy of configuration and state in the state store: a pax archive, compressed with zstd, written
// and read through libarchive callbacks only. Owner, mode, times, extended attributes, ACLs, hard and symbolic links.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "partitions/io/directory.hpp"
#include "partitions/permanent/classes.hpp"
#include "partitions/permanent/inventory.hpp"
#include "partitions/progress.hpp"
#include "partitions/state_store.hpp"

namespace slotkeeper::permanent {

inline constexpr int kSnapshotAttemptsMax = 3;

struct SnapshotFacts {
  Sha256 config_root;
  Sha256 protected_root;
  std::uint64_t entries = 0;
  std::uint64_t plain_bytes = 0;
  std::uint64_t stored_bytes = 0;
};

/// Writes a snapshot of everything of kind config and state, as one pass: the roots are computed from the bytes that
/// were archived. A config file that changes meanwhile makes it start over, kSnapshotAttemptsMax times in all; a state
/// file makes it start over once and is then taken as it was read.
/// `description` is the engine's JSON for the seal; it may hold the roots, so it is asked for at the end.
/// Durable: the sealed area, read back. On crash: an unsealed area, which does not count.
/// Errors: config_busy (with the paths), no_space (does not fit the area; figures in details), io_error, sync_failed,
/// readback_mismatch, cancelled.
[[nodiscard]] Result<SnapshotFacts> take_snapshot(io::Directory& root, const ClassTable& classes, StoreArea& area,
                                                  const std::function<std::string(const SnapshotFacts&)>& description,
                                                  ProgressSink& progress);

/// Upper bound of what a snapshot of this inventory can take in the area.
[[nodiscard]] std::uint64_t snapshot_bound_bytes(const Inventory& inventory);

/// Reads a sealed snapshot front to back. The area's digest is checked by `verify_snapshot`, not here.
class SnapshotReader {
 public:
  /// Errors: state_store (no seal, not an archive).
  [[nodiscard]] static Result<std::unique_ptr<SnapshotReader>> open(StoreArea& area);
  SnapshotReader() = default;
  SnapshotReader(const SnapshotReader&) = delete;
  SnapshotReader& operator=(const SnapshotReader&) = delete;
  virtual ~SnapshotReader() = default;

  /// Mounts first, the rest in the order of an inventory. Contents of regular files follow by `read`, unless
  /// `entry.hard_link` says that this is another name of an earlier entry.
  struct Item {
    Entry entry;  ///< without digest; of kind config or state, or a directory on the way to such an entry
    /// Something was mounted here: nothing is known about what lies at this path and below.
    bool is_mount = false;
  };
  [[nodiscard]] virtual Result<std::optional<Item>> next() = 0;
  /// The next bytes of the item last returned; fewer than asked for only at their end.
  [[nodiscard]] virtual Result<std::size_t> read(io::Bytes into) = 0;
};

/// Reads a snapshot in full. `visit` gets every item with the digest of its contents; it may be empty.
/// Errors: state_store, io_error, and those of `visit`.
struct SnapshotContents {
  Sha256 config_root;
  Sha256 protected_root;
  std::uint64_t entries = 0;
  std::uint64_t plain_bytes = 0;
};
[[nodiscard]] Result<SnapshotContents> read_snapshot(StoreArea& area,
                                                     const std::function<Result<void>(SnapshotReader::Item&&)>& visit);
/// The same for the snapshot of `facts`; that it is this one is known at the end: readback_mismatch if not.
[[nodiscard]] Result<SnapshotContents> read_recorded_snapshot(
    StoreArea& area, const SnapshotFacts& facts, const std::function<Result<void>(SnapshotReader::Item&&)>& visit);

/// Reads the area past the cache against its seal's digest, and the archive against the roots in `facts`.
/// Errors: readback_mismatch, state_store, io_error.
[[nodiscard]] Result<void> verify_snapshot(StoreArea& area, const SnapshotFacts& facts, ProgressSink& progress);

}  // namespace slotkeeper::permanent
