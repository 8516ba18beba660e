#include "bootloader-hooks/environment_copies.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <thread>

#include "partitions/io/aligned_buffer.hpp"

namespace slotkeeper::boot {
namespace {

constexpr std::size_t kSectorBytes = 512;  ///< what a device writes in one piece
constexpr std::chrono::milliseconds kLockPoll{10};
constexpr std::uint32_t kLockMode = 0644;
constexpr int kLockOpenAttempts = 5;  ///< another tool may create the file between our two looks

/// Nothing when there is no folder in which anybody could lock.
Result<std::unique_ptr<io::File>> open_lock(io::Storage& storage, const std::string& path) {
  for (int attempt = 0; attempt < kLockOpenAttempts; ++attempt) {
    auto opened = storage.open_file(path, io::OpenMode::read_write());
    if (opened.has_value()) return opened;
    if (opened.assume_error().os_errno == EROFS) return std::unique_ptr<io::File>();
    if (opened.assume_error().os_errno != ENOENT) return opened;
    auto created = storage.open_file(path, io::OpenMode::create_new(kLockMode));
    if (created.has_value()) return created;
    const int failure = created.assume_error().os_errno;
    if (failure == ENOENT || failure == EROFS) return std::unique_ptr<io::File>();
    if (failure != EEXIST) return created;
  }
  return make_error(Errc::busy, path + ": is created and removed all the time");
}

io::OpenMode configured(io::OpenMode mode) {
  mode.follow_symlink = true;  // /dev/disk/by-partlabel and the like
  return mode;
}

std::string copy_text(const EnvironmentPlace& place) {
  return "copy at offset " + std::to_string(place.offset) + " of " + place.device_path;
}

Result<EnvironmentCopy> read_copy(io::Storage& storage, const EnvironmentPlace& place) {
  io::OpenMode mode = configured(io::OpenMode::read_only());
  mode.direct = true;
  SK_TRY_ASSIGN(const auto file, storage.open_file(place.device_path, mode));
  SK_TRY(file->drop_cache());
  const std::uint64_t begin = io::round_down_to_block(place.offset);
  io::AlignedBuffer buffer(static_cast<std::size_t>(io::round_up_to_block(place.offset + place.size_bytes) - begin));
  SK_TRY_ASSIGN(const std::size_t count, file->read_at(begin, buffer.bytes()));
  SK_TRY(file->close());
  const auto skip = static_cast<std::size_t>(place.offset - begin);
  if (count < skip + place.size_bytes) {
    return make_error(Errc::io_error, place.device_path + ": ends before the copy of the boot environment at offset " +
                                          std::to_string(place.offset) + " does");
  }
  const io::ConstBytes bytes = io::ConstBytes(buffer.bytes()).subspan(skip, place.size_bytes);
  return EnvironmentCopy(bytes.begin(), bytes.end());
}

}  // namespace

Result<EnvironmentLock> EnvironmentLock::take(io::Storage& storage, const std::string& path,
                                              std::chrono::milliseconds limit) {
  EnvironmentLock lock;
  SK_TRY_ASSIGN(lock.file_, open_lock(storage, path));
  if (!lock.file_) return lock;
  const auto end = std::chrono::steady_clock::now() + limit;
  while (true) {
    SK_TRY_ASSIGN(const bool taken, lock.file_->try_lock(io::LockKind::exclusive));
    if (taken) return lock;
    if (std::chrono::steady_clock::now() >= end) {
      return make_error(Errc::busy, "another program holds the boot environment (lock " + path + ")");
    }
    std::this_thread::sleep_for(kLockPoll);
  }
}

Result<void> EnvironmentLock::release() {
  if (!file_) return success();
  const auto file = std::move(file_);
  return file->close();
}

Result<void> check_places(io::Storage& storage, const EnvironmentPlaces& places, const std::string& name) {
  std::array<io::EntryStatus, 2> found;
  for (std::size_t i = 0; i < places.size(); ++i) {
    const EnvironmentPlace& place = places[i];
    auto status = storage.status_of(place.device_path);
    if (!status.has_value()) {
      return std::move(status).assume_error().with_code(Errc::config).with_context(name);
    }
    found[i] = status.assume_value();
    if (found[i].type != io::EntryType::regular && found[i].type != io::EntryType::block_device) {
      return make_error(Errc::config, name + ": " + place.device_path +
                                          " is neither a block device nor a file; an environment on raw flash (MTD, "
                                          "UBI) is not supported");
    }
    auto file = storage.open_file(place.device_path, configured(io::OpenMode::read_only()));
    if (!file.has_value()) return std::move(file).assume_error().with_context(name);
    SK_TRY_ASSIGN(const std::uint64_t size, file.assume_value()->size());
    SK_TRY(file.assume_value()->close());
    if (place.offset + place.size_bytes > size) {
      return make_error(Errc::config, name + ": the " + copy_text(place) + " ends at byte " +
                                          std::to_string(place.offset + place.size_bytes) + ", but there are only " +
                                          std::to_string(size) + " bytes");
    }
  }
  const bool is_device = found[0].type == io::EntryType::block_device;
  const bool same = found[0].type == found[1].type &&
                    (is_device ? found[0].node_device == found[1].node_device
                               : found[0].device == found[1].device && found[0].inode == found[1].inode);
  if (same && places[0].offset < places[1].offset + places[1].size_bytes &&
      places[1].offset < places[0].offset + places[0].size_bytes) {
    return make_error(Errc::config, name + ": the copies overlap: " + places[0].device_path + " and " +
                                        places[1].device_path + " are the same");
  }
  return success();
}

Result<EnvironmentCopies> read_copies(io::Storage& storage, const EnvironmentPlaces& places) {
  EnvironmentCopies copies;
  for (std::size_t i = 0; i < places.size(); ++i) {
    SK_TRY_ASSIGN(copies[i], read_copy(storage, places[i]));
  }
  return copies;
}

Result<void> clear_front(io::Storage& storage, const EnvironmentPlace& place) {
  constexpr std::array<std::byte, kSectorBytes> kZeros{};
  SK_TRY_ASSIGN(const auto file, storage.open_file(place.device_path, configured(io::OpenMode::read_write())));
  SK_TRY(file->write_at(place.offset, io::ConstBytes(kZeros).first(std::min(kZeros.size(), place.size_bytes))));
  SK_TRY(file->sync());
  return file->close();
}

Result<void> write_copy(io::Storage& storage, const EnvironmentPlace& place, const EnvironmentCopy& copy) {
  SK_INVARIANT(copy.size() == place.size_bytes);
  // Buffered, because the copies of the field begin at any sector; the sync makes it durable, the read-back is direct.
  SK_TRY_ASSIGN(const auto file, storage.open_file(place.device_path, configured(io::OpenMode::read_write())));
  SK_TRY(file->write_at(place.offset, copy));
  SK_TRY(file->sync());
  SK_TRY(file->close());
  SK_TRY_ASSIGN(const auto read_back, read_copy(storage, place));
  if (read_back == copy) return success();
  return make_error(Errc::readback_mismatch, "the " + copy_text(place) + " does not read back as it was written");
}

}  // namespace slotkeeper::boot
