// Writes one volume of the target slot so that nothing can boot it before it is complete: heads are zeroed first and
// written last, every byte is read back after a flush. With helpers the read-back of one part goes on beside the
// writing of the next.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "partitions/io/storage.hpp"
#include "partitions/parallel.hpp"
#include "partitions/progress.hpp"
#include "partitions/slot_table.hpp"

namespace slotkeeper {

/// A range of a volume in which a filesystem keeps its magic: ext4, xfs, squashfs, vfat, erofs in the first 4 KiB,
/// iso9660 at 32 KiB, btrfs at 64 KiB.
struct HeadRange {
  std::uint64_t offset;
  std::uint64_t length;
};
inline constexpr HeadRange kHeadRanges[] = {{0, 4096}, {32768, 4096}, {65536, 4096}};

class VolumeWriter {
 public:
  /// Opens for direct, exclusive writing, see `VolumeDevice::open`. Errors: wrong_state (held, or not what was
  /// `checked`), io_error, corrupt (an empty image), incompatible (one that does not fit).
  [[nodiscard]] static Result<std::unique_ptr<VolumeWriter>> open(io::Storage& storage, const Volume& volume,
                                                                  std::uint64_t image_bytes, Helpers helpers = 0,
                                                                  const io::DeviceIdentity* checked = nullptr);
  VolumeWriter() = default;
  VolumeWriter(const VolumeWriter&) = delete;
  VolumeWriter& operator=(const VolumeWriter&) = delete;
  virtual ~VolumeWriter() = default;

  [[nodiscard]] virtual std::uint64_t capacity_bytes() const = 0;

  /// Zeroes the head ranges and flushes. Durable: from now on nothing can boot or mount this volume.
  [[nodiscard]] virtual Result<void> withhold_heads() = 0;

  /// From now on blocks are read before they are written, and those that are as they should be are left alone. Pays
  /// where the volume holds much of the image; before the first chunk.
  virtual void leave_what_is_equal() = 0;

  /// Whether bytes were just read from this volume, at the same place: then they are not read again before they are
  /// left alone.
  enum class Present : bool { no, yes };
  /// Chunks come in order and without gaps. Bytes of head ranges are kept in memory and written by `finish`.
  [[nodiscard]] virtual Result<void> write_chunk(std::uint64_t offset, io::ConstBytes data,
                                                 Present present = Present::no) = 0;
  [[nodiscard]] virtual Result<void> write_zeros(std::uint64_t offset, std::uint64_t length) = 0;

  /// Waits until nothing is on its way to the device, and with `yes` flushes its cache, so that nobody else's flush has
  /// to carry what is ours. Durable with `yes`: what was gathered in whole windows up to now.
  enum class Flush : bool { no, yes };
  [[nodiscard]] virtual Result<void> settle(Flush flush) = 0;

  /// Flushes and reads back past the cache whatever was not read back before, outside of the head ranges. Errors:
  /// readback_mismatch with the offset, sync_failed, io_error, and whatever `progress` ends it with.
  [[nodiscard]] virtual Result<void> check_body(ProgressSink& progress) = 0;

  /// Writes the true heads, flushes, reads them back. Durable: the whole volume.
  [[nodiscard]] virtual Result<void> finish() = 0;

  /// Bytes that were written up to now, heads left out.
  [[nodiscard]] virtual std::uint64_t written_bytes() const = 0;

  /// Closes the device. Errors: io_error.
  [[nodiscard]] virtual Result<void> close() = 0;
};

/// Zeroes the head ranges of a volume and flushes, without an image. Durable.
[[nodiscard]] Result<void> make_unbootable(io::Storage& storage, const Volume& volume);

}  // namespace slotkeeper
