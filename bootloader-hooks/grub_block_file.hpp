// The file that holds a GRUB environment block, where it really lies: its filesystem and its place on it checked, read
// past the cache, written one sector at a time, synced and read back.
//
// GRUB finds the file by the filesystem's metadata as they lie on the device: it replays no journal (neither that of
// ext4 nor the log of xfs), and when it saves it overwrites the blocks that it found there. What a sync leaves in the
// journal it does not see. So everything that may have changed metadata is followed by a freeze and a thaw of the
// filesystem, which empties the journal: what we do when we make the file, and, because grub-editenv truncates it and a
// package may rename another one over it, also what others may have done before each store.
//
// A store itself overwrites bytes of allocated blocks and changes no metadata but times. It is made through the page
// cache, because direct I/O would have to write more than the file is long; the block that the kernel then writes holds
// the new sector and others that do not change, so a tear leaves the old or the new sector.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "bootloader-hooks/grub_environment.hpp"
#include "partitions/io/storage.hpp"

namespace slotkeeper::boot {

class GrubBlockFile {
 public:
  /// Checks that the folder exists on a filesystem that GRUB can read and that overwrites in place (ext2, ext3, ext4,
  /// xfs, vfat), and, where the file exists, that it is a regular one of at most 1024 bytes whose bytes GRUB finds at
  /// their place: not inline, shared, compressed, encrypted, in data=journal mode, or with a hole. Changes nothing.
  /// Errors: config, io_error.
  [[nodiscard]] static Result<GrubBlockFile> find(io::Storage& storage, const std::string& path);

  /// Past the cache. A missing or short file is no block.
  /// Errors: boot_environment (missing, too short, without its first line), config (too long), io_error.
  [[nodiscard]] Result<GrubBlock> read() const;

  /// Whether a read reaches the device. False: the cache may answer.
  [[nodiscard]] bool reads_device() const { return reads_device_; }

  /// Makes what the kernel knows of the file visible to a reader without a journal: sync, freeze, thaw.
  /// On crash: contents as before. Errors: sync_failed, io_error, busy (frozen by somebody else).
  [[nodiscard]] Result<void> settle() const;

  /// `next` differs from what is there in one sector, or in none. Durable: the sector, flushed and read back past the
  /// cache together with the other one. On crash: the old or the new sector.
  /// Errors: io_error, sync_failed, storage_full, read_only, readback_mismatch.
  [[nodiscard]] Result<void> write_sector(const GrubBlock& before, const GrubBlock& next) const;

  /// Makes the file, or writes one in full that is too short or no block, and settles it. Durable: contents and name,
  /// also for a reader without a journal. On crash: no file, an empty one, one that is no block, or the whole one.
  /// Errors: as above, and config when the filesystem does not keep it at a place of its own.
  [[nodiscard]] Result<void> create(const GrubBlock& block) const;

 private:
  GrubBlockFile(io::Storage& storage, std::string path);
  [[nodiscard]] Result<void> check_filesystem();
  [[nodiscard]] Result<void> check_file();
  [[nodiscard]] Result<void> check_layout(io::File& file) const;
  [[nodiscard]] Result<std::vector<std::byte>> read_bytes() const;
  [[nodiscard]] Result<void> write_and_compare(std::size_t offset, io::ConstBytes data, const GrubBlock& wanted) const;

  io::Storage* storage_;
  std::string path_;
  std::string folder_;
  std::string name_;
  bool has_journal_ = true;
  bool reads_device_ = true;
};

}  // namespace slotkeeper::boot
