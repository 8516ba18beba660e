// Ranges of an open file or device: how long it is, allocating, zeroing, discarding, dropping from the page cache.
// Private to partitions/io.
#pragma once

#include <cstdint>
#include <string>

#include "partitions/io/result.hpp"
#include "partitions/io/types.hpp"

namespace slotkeeper::io {

struct OpenRange {
  int descriptor = -1;
  bool is_device = false;
  const std::string& name;  ///< in messages
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
};

[[nodiscard]] Result<std::uint64_t> size_of(int descriptor, const std::string& name, bool is_device);
[[nodiscard]] Result<void> allocate_range(const OpenRange& range);
/// False where neither device nor filesystem can zero a range by itself; then nothing was changed.
[[nodiscard]] Result<bool> zero_range(const OpenRange& range);
[[nodiscard]] Result<void> discard_range(const OpenRange& range);
[[nodiscard]] Result<void> release_cached_pages(const OpenRange& range);
[[nodiscard]] Result<ReadBackLevel> drop_cached_pages(const OpenRange& range);
/// Of a regular file, as far as the range reaches.
[[nodiscard]] Result<FileLayout> find_layout(const OpenRange& range);

}  // namespace slotkeeper::io
