// Questions about devices, mounts and locks that the kernel answers in /proc and /sys. Private to partitions/io.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "partitions/io/storage.hpp"

namespace slotkeeper::io {

/// `storage` reads the kernel's text files.
[[nodiscard]] Result<DeviceIdentity> identify_device(Storage& storage, const std::string& path);
[[nodiscard]] Result<std::vector<Mount>> read_mounts(Storage& storage);
[[nodiscard]] Result<std::string> find_holder(Storage& storage, const std::string& path);
[[nodiscard]] Result<std::optional<int>> find_lock_holder(Storage& storage, const std::string& path);
[[nodiscard]] Result<std::optional<std::uint64_t>> read_filesystem_errors(Storage& storage, const std::string& path);
[[nodiscard]] Result<StorageHealth> read_health(Storage& storage, const std::string& path);
[[nodiscard]] Result<std::optional<std::uint64_t>> read_bytes_written(Storage& storage, const std::string& path);
[[nodiscard]] Result<DeviceIdentity> find_root_device(Storage& storage);
[[nodiscard]] Result<std::vector<std::string>> find_lying_on(Storage& storage, const std::string& filesystem,
                                                             const std::vector<std::string>& paths);

}  // namespace slotkeeper::io
