// The file or block device under a state store: finds, locks, writes with read-back.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "partitions/digest.hpp"
#include "partitions/direct_access.hpp"
#include "partitions/state_store.hpp"

namespace slotkeeper::store {

/// Writes go through the page cache and are synced; reads come past it, so that a read after a write is a read-back.
class StoreDevice {
 public:
  /// For writing it is locked until closed. Errors: not_provisioned (no such file), state_store (neither a file nor a
  /// block device, or a file behind a symbolic link), busy (locked, mounted or held), io_error.
  [[nodiscard]] static Result<std::unique_ptr<StoreDevice>> open(io::Storage& storage, const std::string& path,
                                                                 StateStore::Access access);

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] bool is_block_device() const { return is_block_device_; }
  [[nodiscard]] Result<std::uint64_t> size_bytes() { return file_->size(); }
  [[nodiscard]] Result<void> resize(std::uint64_t size_bytes) { return file_->resize(size_bytes); }

  /// Reads whole blocks past the cache. Errors: io_error, also when the device ends before.
  [[nodiscard]] Result<io::AlignedBuffer> read_blocks(std::uint64_t offset, std::uint64_t length);
  /// Any offset and length, past the cache.
  [[nodiscard]] Result<void> read_past_cache(std::uint64_t offset, io::Bytes into);
  [[nodiscard]] Result<Sha256> hash_past_cache(std::uint64_t offset, std::uint64_t length);

  /// Durable: nothing until `sync`.
  [[nodiscard]] Result<void> write(std::uint64_t offset, io::ConstBytes data) { return file_->write_at(offset, data); }
  /// Durable: every write before it; the next read comes from the device.
  [[nodiscard]] Result<void> sync();
  /// Writes whole blocks, syncs, reads them back and compares. Durable. Errors: readback_mismatch with the offset,
  /// sync_failed, io_error.
  [[nodiscard]] Result<void> write_checked(std::uint64_t offset, io::ConstBytes blocks);

  [[nodiscard]] Result<void> close();

 private:
  StoreDevice() = default;

  std::string path_;
  bool is_block_device_ = false;
  std::unique_ptr<io::File> file_;
  DirectFile past_cache_;
};

}  // namespace slotkeeper::store
