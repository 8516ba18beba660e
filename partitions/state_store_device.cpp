#include "partitions/state_store_device.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace slotkeeper::store {
namespace {

constexpr std::size_t kReadPieceBytes = std::size_t{256} * 1024;

}  // namespace

Result<std::unique_ptr<StoreDevice>> StoreDevice::open(io::Storage& storage, const std::string& path,
                                                       StateStore::Access access) {
  auto status = storage.status_of(path);
  if (!status.has_value() && status.error().os_errno == ENOENT) {
    return make_error(Errc::not_provisioned, "there is no state store at " + path);
  }
  if (!status.has_value()) return std::move(status).as_failure();
  const bool is_block_device = status.value().type == io::EntryType::block_device;
  if (!is_block_device && status.value().type != io::EntryType::regular) {
    return make_error(Errc::state_store, path + " is neither a file nor a block device");
  }
  const bool writes = access == StateStore::Access::write;
  // The names of devices below /dev/disk are links; a link to a file could be turned elsewhere by whoever owns it.
  const io::OpenMode mode{.access = writes ? io::OpenMode::Access::read_write : io::OpenMode::Access::read,
                          .exclusive = writes && is_block_device,
                          .follow_symlink = is_block_device};
  auto file = storage.open_file(path, mode);
  if (!file.has_value()) {
    const int reason = file.error().os_errno;
    if (reason == ELOOP)
      return make_error(Errc::state_store, path + " is a symbolic link to a file; name the file itself");
    if (reason == EBUSY) return make_error(Errc::busy, "the state store " + path + " is mounted or held");
    return std::move(file).as_failure();
  }
  std::unique_ptr<StoreDevice> device(new StoreDevice);
  device->path_ = path;
  device->is_block_device_ = is_block_device;
  device->file_ = std::move(file).assume_value();
  SK_TRY_ASSIGN(const auto opened, device->file_->status());
  if (opened.type != status.value().type) {
    return make_error(Errc::state_store, path + " was replaced while it was opened");
  }
  if (writes) {
    SK_TRY_ASSIGN(const bool locked, device->file_->try_lock(io::LockKind::exclusive));
    if (!locked) return make_error(Errc::busy, "another Slotkeeper is at work: the state store " + path + " is locked");
  }
  SK_TRY_ASSIGN(device->past_cache_, open_direct(storage, path, {.follow_symlink = is_block_device}));
  return device;
}

Result<io::AlignedBuffer> StoreDevice::read_blocks(std::uint64_t offset, std::uint64_t length) {
  SK_INVARIANT(offset % kStoreBlockBytes == 0 && length % kStoreBlockBytes == 0);
  io::AlignedBuffer buffer(static_cast<std::size_t>(length));
  SK_TRY(past_cache_.file->read_exactly_at(offset, buffer.bytes()));
  return buffer;
}

Result<void> StoreDevice::read_past_cache(std::uint64_t offset, io::Bytes into) {
  while (!into.empty()) {
    const std::uint64_t first_block = io::round_down_to_block(offset);
    const auto skipped = static_cast<std::size_t>(offset - first_block);
    const std::size_t piece = std::min(into.size(), kReadPieceBytes - skipped);
    SK_TRY_ASSIGN(const io::AlignedBuffer blocks, read_blocks(first_block, io::round_up_to_block(skipped + piece)));
    std::memcpy(into.data(), blocks.bytes().data() + skipped, piece);
    into = into.subspan(piece);
    offset += piece;
  }
  return success();
}

Result<Sha256> StoreDevice::hash_past_cache(std::uint64_t offset, std::uint64_t length) {
  Sha256Stream stream;
  while (length > 0) {
    const auto piece = static_cast<std::size_t>(std::min<std::uint64_t>(length, kReadPieceBytes));
    SK_TRY_ASSIGN(const io::AlignedBuffer blocks, read_blocks(offset, io::round_up_to_block(piece)));
    stream.update(blocks.bytes().first(piece));
    offset += piece;
    length -= piece;
  }
  return stream.finish();
}

Result<void> StoreDevice::sync() {
  SK_TRY(file_->sync());
  return past_cache_.forget_cache();  // of both handles: they share one
}

Result<void> StoreDevice::write_checked(std::uint64_t offset, io::ConstBytes blocks) {
  SK_TRY(write(offset, blocks));
  SK_TRY(sync());
  SK_TRY_ASSIGN(const io::AlignedBuffer found, read_blocks(offset, blocks.size()));
  const io::ConstBytes read_back = found.bytes();
  const auto difference = std::mismatch(blocks.begin(), blocks.end(), read_back.begin());
  if (difference.first == blocks.end()) return success();
  return make_error(Errc::readback_mismatch,
                    "the state store " + path_ + " reads back other bytes than were written at offset " +
                        std::to_string(offset + static_cast<std::uint64_t>(difference.first - blocks.begin())));
}

Result<void> StoreDevice::close() {
  auto read_side = past_cache_.file->close();
  SK_TRY(file_->close());
  return read_side;
}

}  // namespace slotkeeper::store
