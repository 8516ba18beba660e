// The snapshot's container: a pax archive, compressed with zstd, in an area of the state store. The one door to
// libarchive for snapshots; it only moves items in and out and knows nothing of the partition.
#pragma once

#include <memory>

#include "partitions/digest.hpp"
#include "partitions/permanent/snapshot.hpp"
#include "partitions/state_store.hpp"

namespace slotkeeper::permanent {

/// Extended attributes of one entry, names and values together: what a reader of the archive takes.
inline constexpr std::size_t kAttributesMaxBytes = std::size_t{512} * 1024;

class SnapshotArchiveWriter {
 public:
  struct Facts {
    std::uint64_t stored_bytes = 0;
    Sha256 digest;  ///< of what is in the area
  };

  /// Writes from the area's start. Errors: internal (libarchive cannot be set up).
  [[nodiscard]] static Result<std::unique_ptr<SnapshotArchiveWriter>> begin(StoreArea& area);
  SnapshotArchiveWriter() = default;
  SnapshotArchiveWriter(const SnapshotArchiveWriter&) = delete;
  SnapshotArchiveWriter& operator=(const SnapshotArchiveWriter&) = delete;
  virtual ~SnapshotArchiveWriter() = default;

  /// Exactly `item.entry.status.size_bytes` of contents must follow for a regular file without `hard_link`.
  /// Errors: io_error and the like of the area; what the archive cannot hold is io_error with the path.
  [[nodiscard]] virtual Result<void> add(const SnapshotReader::Item& item) = 0;
  [[nodiscard]] virtual Result<void> add_contents(io::ConstBytes data) = 0;
  /// Ends the archive. What no longer fits the area is counted but not written, so that the error can tell how much
  /// would be needed. Errors: no_space (details needed_bytes, capacity_bytes).
  [[nodiscard]] virtual Result<Facts> finish() = 0;
};

}  // namespace slotkeeper::permanent
