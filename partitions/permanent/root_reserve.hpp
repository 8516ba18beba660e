// How much of an ext4 filesystem is kept from everybody: for root, and for the filesystem's own bookkeeping. statvfs
// tells only as long as somebody may use anything at all; on a fuller one it takes the superblock to know what
// compaction makes available.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "partitions/io/storage.hpp"

namespace slotkeeper::permanent {

/// Of the filesystem that is mounted at `mount_point`, in bytes. Nothing where it is not ext4 on a block device that
/// can be read. Errors: io_error.
[[nodiscard]] Result<std::optional<std::uint64_t>> bytes_kept_back(io::Storage& storage,
                                                                   const std::string& mount_point);

struct RootReserve {
  std::uint64_t bytes = 0;
  std::uint64_t cluster_bytes = 0;  ///< what the kernel counts its own reserve in
  bool operator==(const RootReserve&) const = default;
};

/// Root's part from the 1024 bytes of a superblock; nothing where they are none, or none of this sort.
[[nodiscard]] std::optional<RootReserve> reserved_in_superblock(io::ConstBytes superblock);

}  // namespace slotkeeper::permanent
