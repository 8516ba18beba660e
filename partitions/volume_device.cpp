#include "partitions/volume_device.hpp"

#include <algorithm>
#include <cerrno>

namespace slotkeeper {

namespace {

/// Whether both stand for the same device or file.
bool is_same(const io::EntryStatus& status, const io::EntryStatus& other) {
  if (status.type != other.type) return false;
  if (status.type == io::EntryType::block_device) return status.node_device == other.node_device;
  return status.device == other.device && status.inode == other.inode;
}

bool is_same(const io::EntryStatus& status, const io::DeviceIdentity& identity) {
  if (identity.is_block_device) {
    return status.type == io::EntryType::block_device && status.node_device == identity.device;
  }
  return status.type != io::EntryType::block_device && status.device == identity.file_device &&
         status.inode == identity.file_inode;
}

}  // namespace

Result<VolumeDevice> VolumeDevice::open(io::Storage& storage, const Volume& volume, io::OpenMode::Access access,
                                        const io::DeviceIdentity* checked) {
  VolumeDevice device;
  device.description_ = "volume " + volume.name + " (" + volume.device_path + ")";
  const bool writes = access == io::OpenMode::Access::read_write;
  auto file = open_direct(storage, volume.device_path, {.access = access, .exclusive = writes, .follow_symlink = true});
  if (!file.has_value() && file.error().os_errno == EBUSY) {
    return make_error(Errc::wrong_state, device.description_ + " is mounted or held and must not be written");
  }
  SK_TRY_ASSIGN(device.file_, with_context(std::move(file), device.description_));
  SK_TRY_ASSIGN(device.capacity_bytes_, device.file_.file->size());
  if (!writes) return device;
  SK_TRY_ASSIGN(const auto status, device.file_.file->status());
  bool is_the_same = checked == nullptr || is_same(status, *checked);
  if (device.file_.is_direct && device.capacity_bytes_ % io::kDirectAlignment != 0) {
    // Not exclusive: the claim is held by the other descriptor already.
    const io::OpenMode mode{.access = io::OpenMode::Access::read_write, .follow_symlink = true};
    SK_TRY_ASSIGN(device.last_part_, storage.open_file(volume.device_path, mode));
    SK_TRY_ASSIGN(const auto status_of_last_part, device.last_part_->status());
    is_the_same = is_the_same && is_same(status, status_of_last_part);
  }
  if (is_the_same) return device;
  return make_error(Errc::wrong_state,
                    device.description_ + " is another device than a moment ago: somebody changes what its path names");
}

std::size_t VolumeDevice::whole_block_part(std::uint64_t offset, std::size_t length) const {
  SK_INVARIANT(offset % io::kDirectAlignment == 0 && offset <= capacity_bytes_ && length <= capacity_bytes_ - offset);
  if (!file_.is_direct || length % io::kDirectAlignment == 0) return length;
  SK_INVARIANT(offset + length == capacity_bytes_);
  return static_cast<std::size_t>(io::round_down_to_block(length));
}

Result<void> VolumeDevice::write_last_part(std::uint64_t offset, io::ConstBytes data) {
  if (data.empty()) return success();
  SK_INVARIANT(last_part_ != nullptr);
  last_part_is_written_ = true;
  return last_part_->write_at(offset, data);
}

Result<void> VolumeDevice::submit(std::uint64_t offset, io::ConstBytes data, std::uint64_t tag) {
  const std::size_t whole = whole_block_part(offset, data.size());
  SK_TRY(write_last_part(offset + whole, data.subspan(whole)));
  const io::WriteRequest request{.offset = offset, .data = data.first(whole), .tag = tag};
  return file_.file->submit({&request, 1});
}

Result<void> VolumeDevice::write(std::uint64_t offset, io::ConstBytes data) {
  const std::size_t whole = whole_block_part(offset, data.size());
  SK_TRY(write_last_part(offset + whole, data.subspan(whole)));
  return file_.file->write_at(offset, data.first(whole));
}

Result<void> VolumeDevice::sync() {
  if (last_part_is_written_) SK_TRY(last_part_->sync());
  SK_TRY(file_.file->sync());
  return file_.forget_cache();
}

Result<io::ConstBytes> VolumeDevice::read(std::uint64_t offset, io::Bytes into) {
  SK_INVARIANT(offset <= capacity_bytes_);
  const auto expected = static_cast<std::size_t>(std::min<std::uint64_t>(into.size(), capacity_bytes_ - offset));
  SK_TRY_ASSIGN(const std::size_t found, file_.file->read_at(offset, into));
  if (found < expected) {
    return make_error(Errc::io_error, description_ + " ends at offset " + std::to_string(offset + found) +
                                          " although it has " + std::to_string(capacity_bytes_) + " bytes");
  }
  return io::ConstBytes(into.first(expected));
}

Result<void> VolumeDevice::close() {
  // Both are closed whatever the first one says.
  Result<void> last_part = success();
  if (last_part_) last_part = last_part_->close();
  SK_TRY(file_.file->close());
  return last_part;
}

}  // namespace slotkeeper
