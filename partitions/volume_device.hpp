// The device or image file of one volume, opened past the page cache. Its end need not lie on a whole block.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "partitions/direct_access.hpp"
#include "partitions/slot_table.hpp"

namespace slotkeeper {

class VolumeDevice {
 public:
  /// For writing a device is opened exclusively, and must be what was `checked` under its path before, where that is
  /// given: a link may have been turned meanwhile. Errors: wrong_state (mounted, held, another one), io_error.
  [[nodiscard]] static Result<VolumeDevice> open(io::Storage& storage, const Volume& volume,
                                                 io::OpenMode::Access access,
                                                 const io::DeviceIdentity* checked = nullptr);

  /// "volume rootfs (/dev/...)", for messages.
  [[nodiscard]] const std::string& description() const { return description_; }
  [[nodiscard]] std::uint64_t capacity_bytes() const { return capacity_bytes_; }

  /// Hands over a write that begins on a whole block and ends on one or at the end of the device. The bytes must stay
  /// valid until `reap` gave back the tag, and their buffer must reach to the end of the last block.
  [[nodiscard]] Result<void> submit(std::uint64_t offset, io::ConstBytes data, std::uint64_t tag);
  [[nodiscard]] Result<std::vector<io::WriteCompletion>> reap(std::size_t minimum) { return file_.file->reap(minimum); }
  /// Whole blocks; durable nothing until `sync`.
  [[nodiscard]] Result<void> zero(std::uint64_t offset, std::uint64_t length) {
    return file_.file->zero(offset, length);
  }
  /// Writes now; same rules as `submit`.
  [[nodiscard]] Result<void> write(std::uint64_t offset, io::ConstBytes data);
  /// Durable: every write that was reaped. The next read comes from the device.
  [[nodiscard]] Result<void> sync();
  /// Fills `into`, an aligned buffer of whole blocks, and returns its part before the end of the device. Errors:
  /// io_error, also when fewer bytes come than lie before the end.
  [[nodiscard]] Result<io::ConstBytes> read(std::uint64_t offset, io::Bytes into);
  [[nodiscard]] Result<void> forget_cache() { return file_.forget_cache(); }
  [[nodiscard]] Result<void> close();

 private:
  /// How much of a write direct I/O can carry; the rest lies in the device's last, incomplete block.
  [[nodiscard]] std::size_t whole_block_part(std::uint64_t offset, std::size_t length) const;
  [[nodiscard]] Result<void> write_last_part(std::uint64_t offset, io::ConstBytes data);

  std::string description_;
  std::uint64_t capacity_bytes_ = 0;
  DirectFile file_;
  std::unique_ptr<io::File> last_part_;  ///< for an incomplete last block; the same device
  bool last_part_is_written_ = false;
};

}  // namespace slotkeeper
