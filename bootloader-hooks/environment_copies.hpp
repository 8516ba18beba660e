// The two copies of a U-Boot environment where they really lie: read past the cache, written one at a time, synced and
// read back, under the lock that the U-Boot tools take as well.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "bootloader-hooks/fw_env_config.hpp"
#include "bootloader-hooks/uboot_environment.hpp"
#include "partitions/io/storage.hpp"

namespace slotkeeper::boot {

class EnvironmentLock {
 public:
  /// Waits up to `limit` for other tools. Where the folder of the lock is missing or read-only nobody can hold a lock
  /// in it, and none is taken.
  /// Errors: busy (held for longer), io_error.
  [[nodiscard]] static Result<EnvironmentLock> take(io::Storage& storage, const std::string& path,
                                                    std::chrono::milliseconds limit);
  [[nodiscard]] Result<void> release();

 private:
  std::unique_ptr<io::File> file_;
};

/// Checks that both copies lie within devices or files that exist, and not on top of each other under two names.
/// Errors: config.
[[nodiscard]] Result<void> check_places(io::Storage& storage, const EnvironmentPlaces& places, const std::string& name);

/// Past the cache. Errors: io_error.
[[nodiscard]] Result<EnvironmentCopies> read_copies(io::Storage& storage, const EnvironmentPlaces& places);

/// Clears the sector that a copy begins with, so that it stays invalid while the rest of it is written: of a copy that
/// was damaged in its tail only, a torn write could otherwise mend just that tail, and bring back what it said once.
/// Durable. On crash: the copy is invalid, as it was. Errors: as write_copy.
[[nodiscard]] Result<void> clear_front(io::Storage& storage, const EnvironmentPlace& place);

/// Writes one copy. Durable: the copy, flushed and read back past the cache.
/// On crash: the copy may be torn, which its CRC shows; the other copy is not touched.
/// Errors: io_error, sync_failed, storage_full, read_only, readback_mismatch.
[[nodiscard]] Result<void> write_copy(io::Storage& storage, const EnvironmentPlace& place, const EnvironmentCopy& copy);

}  // namespace slotkeeper::boot
