#include "partitions/io/posix_range.hpp"

#include <algorithm>
#include <array>
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <new>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

#include "partitions/io/posix_call.hpp"

namespace slotkeeper::io {
namespace {

bool is_unsupported(int failure) { return failure == EOPNOTSUPP || failure == ENOTTY || failure == ENOSYS; }

std::string range_text(std::string_view call, const OpenRange& range) {
  return std::string(call) + " of " + std::to_string(range.length) + " bytes at offset " + std::to_string(range.offset);
}

/// 0 or the errno.
int device_range_call(const OpenRange& range, unsigned long request) {
  const std::uint64_t arguments[2] = {range.offset, range.length};
  return uninterrupted([&] { return ::ioctl(range.descriptor, request, arguments); }) == 0 ? 0 : errno;
}

int fallocate_call(const OpenRange& range, int mode) {
  return uninterrupted([&] {
           return ::fallocate(range.descriptor, mode, static_cast<off_t>(range.offset),
                              static_cast<off_t>(range.length));
         }) == 0
             ? 0
             : errno;
}

/// How much of the range the page cache holds, by mincore over windows of a mapping that is never touched.
Result<bool> any_page_cached(const OpenRange& range) {
  constexpr std::uint64_t kWindowBytes = std::uint64_t{64} << 20U;
  const auto page_bytes = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  std::vector<unsigned char> resident(kWindowBytes / page_bytes);
  for (std::uint64_t start = 0; start < range.length; start += kWindowBytes) {
    const auto window = static_cast<std::size_t>(std::min(kWindowBytes, range.length - start));
    void* const mapping =
        ::mmap(nullptr, window, PROT_READ, MAP_SHARED, range.descriptor, static_cast<off_t>(range.offset + start));
    if (mapping == MAP_FAILED) return call_failed("mmap", range.name, errno);
    const int failure = ::mincore(mapping, window, resident.data()) == 0 ? 0 : errno;
    if (::munmap(mapping, window) != 0) return call_failed("munmap", range.name, errno);
    if (failure != 0) return call_failed("mincore", range.name, failure);
    const auto pages = static_cast<std::ptrdiff_t>((window + page_bytes - 1) / page_bytes);
    const auto is_resident = [](unsigned char page) { return (page & 1U) != 0; };
    if (std::any_of(resident.begin(), resident.begin() + pages, is_resident)) return true;
  }
  return false;
}

FileExtent extent_of(const struct fiemap_extent& found) {
  constexpr std::uint32_t kElsewhere = FIEMAP_EXTENT_UNKNOWN | FIEMAP_EXTENT_DELALLOC | FIEMAP_EXTENT_ENCODED |
                                       FIEMAP_EXTENT_DATA_ENCRYPTED | FIEMAP_EXTENT_NOT_ALIGNED |
                                       FIEMAP_EXTENT_DATA_INLINE | FIEMAP_EXTENT_DATA_TAIL;
  return {.offset = found.fe_logical,
          .length = found.fe_length,
          .physical = found.fe_physical,
          .in_place = (found.fe_flags & kElsewhere) == 0,
          .written = (found.fe_flags & FIEMAP_EXTENT_UNWRITTEN) == 0,
          .shared = (found.fe_flags & FIEMAP_EXTENT_SHARED) != 0};
}

}  // namespace

Result<std::uint64_t> size_of(int descriptor, const std::string& name, bool is_device) {
  if (is_device) {
    std::uint64_t bytes = 0;
    if (::ioctl(descriptor, BLKGETSIZE64, &bytes) != 0) return call_failed("ioctl BLKGETSIZE64", name, errno);
    return bytes;
  }
  struct stat facts {};
  if (::fstat(descriptor, &facts) != 0) return call_failed("fstat", name, errno);
  return static_cast<std::uint64_t>(facts.st_size);
}

Result<void> allocate_range(const OpenRange& range) {
  if (range.length == 0) return success();
  if (range.is_device) {  // has all its blocks, unless the range reaches past its end
    SK_TRY_ASSIGN(const std::uint64_t bytes, size_of(range.descriptor, range.name, true));
    if (range.offset <= bytes && range.length <= bytes - range.offset) return success();
    return call_failed(range_text("allocation", range), range.name, ENOSPC);
  }
  const int failure = fallocate_call(range, 0);
  if (failure != 0) return call_failed(range_text("fallocate", range), range.name, failure);
  return success();
}

Result<bool> zero_range(const OpenRange& range) {
  if (range.length == 0) return true;
  const int failure =
      range.is_device ? device_range_call(range, BLKZEROOUT) : fallocate_call(range, FALLOC_FL_ZERO_RANGE);
  if (failure == 0) return true;
  // EINVAL: the device wants whole sectors. Writing serves it, and reports what is really wrong.
  if (is_unsupported(failure) || failure == EINVAL) return false;
  return call_failed(range_text(range.is_device ? "ioctl BLKZEROOUT" : "fallocate ZERO_RANGE", range), range.name,
                     failure);
}

Result<void> discard_range(const OpenRange& range) {
  if (range.length == 0) return success();
  const int failure = range.is_device ? device_range_call(range, BLKDISCARD)
                                      : fallocate_call(range, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
  // What the range reads as is undefined anyway, so a device that cannot discard has done its duty.
  if (failure == 0 || is_unsupported(failure)) return success();
  return call_failed(range_text(range.is_device ? "ioctl BLKDISCARD" : "fallocate PUNCH_HOLE", range), range.name,
                     failure);
}

Result<void> release_cached_pages(const OpenRange& range) {
  const int failure = ::posix_fadvise(range.descriptor, static_cast<off_t>(range.offset),
                                      static_cast<off_t>(range.length), POSIX_FADV_DONTNEED);
  if (failure == 0) return success();
  return call_failed("posix_fadvise", range.name, failure);
}

Result<ReadBackLevel> drop_cached_pages(const OpenRange& range) {
  // A second try finds what the first met on its way out of the cache (a journal that still held the page).
  constexpr int kTries = 2;
  for (int attempt = 0; attempt < kTries; ++attempt) {
    const int failure = ::posix_fadvise(range.descriptor, 0, 0, POSIX_FADV_DONTNEED);
    if (failure != 0) return call_failed("posix_fadvise", range.name, failure);
    SK_TRY_ASSIGN(const bool cached, any_page_cached(range));
    if (!cached) return ReadBackLevel::cache_dropped;
  }
  return ReadBackLevel::cached;
}

Result<FileLayout> find_layout(const OpenRange& range) {
  constexpr std::uint32_t kExtentsInOneCall = 64;
  // A head with its extents behind it, as the kernel wants them.
  alignas(struct fiemap) std::array<std::byte, sizeof(struct fiemap) + kExtentsInOneCall * sizeof(struct fiemap_extent)>
      buffer{};
  auto* const request = new (buffer.data()) fiemap{};
  FileLayout layout;
  unsigned int flags = 0;
  if (::ioctl(range.descriptor, FS_IOC_GETFLAGS, &flags) == 0) {
    layout.is_encrypted = (flags & FS_ENCRYPT_FL) != 0;
    layout.is_compressed = (flags & FS_COMPR_FL) != 0;
    layout.is_journaled = (flags & FS_JOURNAL_DATA_FL) != 0;
  } else if (!is_unsupported(errno) && errno != EINVAL) {
    return call_failed("ioctl FS_IOC_GETFLAGS", range.name, errno);
  }
  // Also of an empty file: whether the filesystem tells at all.
  const std::uint64_t end = range.offset + std::max<std::uint64_t>(range.length, 1);
  for (std::uint64_t position = range.offset; position < end;) {
    *request = {};
    request->fm_start = position;
    request->fm_length = end - position;
    request->fm_flags = FIEMAP_FLAG_SYNC;
    request->fm_extent_count = kExtentsInOneCall;
    if (uninterrupted([&] { return ::ioctl(range.descriptor, FS_IOC_FIEMAP, request); }) != 0) {
      if (is_unsupported(errno)) return layout;
      return call_failed("ioctl FS_IOC_FIEMAP", range.name, errno);
    }
    const std::uint32_t count = std::min(request->fm_mapped_extents, kExtentsInOneCall);
    const struct fiemap_extent* const found = request->fm_extents;
    for (std::uint32_t i = 0; i < count; ++i) layout.extents.push_back(extent_of(found[i]));
    if (count == 0 || (found[count - 1].fe_flags & FIEMAP_EXTENT_LAST) != 0) break;
    position = found[count - 1].fe_logical + found[count - 1].fe_length;
  }
  layout.is_known = true;
  return layout;
}

}  // namespace slotkeeper::io
