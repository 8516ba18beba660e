// Files and devices opened past the page cache, with a second choice where the filesystem knows no direct I/O.
#pragma once

#include <memory>
#include <string>

#include "partitions/io/aligned_buffer.hpp"
#include "partitions/io/storage.hpp"

namespace slotkeeper {

/// Offsets, lengths and buffers are multiples of `io::kDirectAlignment` in either case.
struct DirectFile {
  std::unique_ptr<io::File> file;
  bool is_direct = false;

  /// Drops the (synced) cache, so that the next read comes from the device. Direct I/O alone is not enough: some
  /// filesystems serve it from the cache (ext4 with data=journal).
  [[nodiscard]] Result<void> forget_cache();
};

/// Opens with direct I/O, or without where that is not supported (EINVAL). Errors: as File.
[[nodiscard]] Result<DirectFile> open_direct(io::Storage& storage, const std::string& path, io::OpenMode mode);

}  // namespace slotkeeper
