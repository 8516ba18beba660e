// What /sys tells about the disks below a block device: wear, read-only state, bytes written. Private to partitions/io.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "partitions/io/storage.hpp"

namespace slotkeeper::io {

inline const std::string kSysfs = "/sys";  ///< tests put a folder of their own in its place

/// Follows partitions to their disk, dm and md to their members, loop devices to the filesystem of their file. A device
/// that `sysfs` does not know tells nothing. Errors: io_error (a figure that is none, with its path).
[[nodiscard]] Result<StorageHealth> health_of_device(Storage& storage, const std::string& sysfs, std::uint64_t device);

/// Of this device itself, a partition or a whole disk. Errors: as above.
[[nodiscard]] Result<std::optional<std::uint64_t>> bytes_written_to_device(Storage& storage, const std::string& sysfs,
                                                                           std::uint64_t device);

}  // namespace slotkeeper::io
