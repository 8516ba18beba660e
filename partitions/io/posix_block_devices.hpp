// How block devices lie on each other, as /sys tells. Private to partitions/io.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "partitions/io/result.hpp"
#include "partitions/io/storage.hpp"

namespace slotkeeper::io {

/// A file, wherever its name is.
struct FileKey {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  auto operator<=>(const FileKey&) const = default;
};

struct LoopDevice {
  std::uint64_t device = 0;
  std::string name;  ///< as the kernel calls it, "loop3"
  FileKey backing;
};

[[nodiscard]] std::string block_member(std::uint64_t device);  ///< "block MAJOR:MINOR"
[[nodiscard]] std::string file_member(const FileKey& file);    ///< "file DEVICE:INODE"

/// The kernel's name of a block device, "sda1" or "dm-0"; empty when there is no such device.
[[nodiscard]] std::string kernel_name(std::uint64_t device);

/// Adds the device and everything below it to `backing`, each once: slaves of dm and md, the file below a loop device.
/// Stops at partitions: the disk they are cut from is not among what they share.
[[nodiscard]] Result<void> add_block_device(Storage& storage, std::uint64_t device, std::vector<std::string>& backing);

/// Names of the drivers' devices that hold this one ("dm-0"), and numbers of its partitions.
[[nodiscard]] Result<std::vector<std::string>> holders_of(std::uint64_t device);
[[nodiscard]] Result<std::vector<std::uint64_t>> partitions_of(Storage& storage, std::uint64_t device);

/// Every loop device that has a file below it.
[[nodiscard]] Result<std::vector<LoopDevice>> loop_devices(Storage& storage);

}  // namespace slotkeeper::io
