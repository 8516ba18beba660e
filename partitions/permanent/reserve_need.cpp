#include "partitions/permanent/reserve_need.hpp"

#include <limits>

namespace slotkeeper::permanent {
namespace {

constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();
constexpr std::size_t kInlineTargetBytes = 59;  ///< ext4 keeps shorter link targets in the inode
/// What a name of the reserve takes in its directory at most, twice over because a split leaves blocks half empty.
constexpr std::uint64_t kNameBytes = std::uint64_t{2} * 64;
/// A large file on a nearly full partition is scattered: one block of extents describes some 340 pieces, in the worst
/// case of one block each.
constexpr std::uint64_t kLargeFileBytes = std::uint64_t{1024} * 1024;
constexpr std::uint64_t kPiecesPerExtentBlock = 340;

std::uint64_t plus(std::uint64_t a, std::uint64_t b) { return a > kMost - b ? kMost : a + b; }
std::uint64_t times(std::uint64_t a, std::uint64_t b) { return b != 0 && a > kMost / b ? kMost : a * b; }

}  // namespace

std::uint64_t whole_blocks(std::uint64_t bytes, std::uint64_t block_bytes) {
  if (block_bytes == 0 || bytes % block_bytes == 0) return bytes;
  return plus(bytes - bytes % block_bytes, block_bytes);
}

std::uint64_t reserve_size_of(const Entry& entry, std::uint64_t block_bytes) {
  switch (entry.status.type) {
    case io::EntryType::regular:
      return whole_blocks(entry.status.size_bytes, block_bytes);
    case io::EntryType::directory:
      return block_bytes;
    case io::EntryType::symlink:
      return entry.link_target.size() > kInlineTargetBytes ? block_bytes : 0;
    default:
      return 0;
  }
}

void ReserveNeed::add(const Entry& entry) {
  if (!entry.hard_link.empty()) return;
  ++files_[reserve_size_of(entry, block_bytes_)];
  if (!entry.attributes.empty()) loose_bytes_ = plus(loose_bytes_, attribute_bytes(entry));
  if (entry.status.type == io::EntryType::directory) loose_bytes_ = plus(loose_bytes_, block_bytes_);
}

/// One block on ext4, which has no more for them; others have room for values of 64 KiB.
std::uint64_t ReserveNeed::attribute_bytes(const Entry& entry) const {
  std::uint64_t sum = 1;
  for (const auto& attribute : entry.attributes) sum += attribute.name.size() + attribute.value.size();
  const std::uint64_t in_blocks = whole_blocks(sum, block_bytes_);
  return in_blocks <= 2 * block_bytes_ ? block_bytes_ : in_blocks;
}

Amount ReserveNeed::amount() const {
  Amount sum{.bytes = plus(loose_bytes_, 4 * block_bytes_), .inodes = 2};
  std::uint64_t names = 1;
  for (const auto& [size, count] : files_) {
    sum.bytes = plus(sum.bytes, times(size, count));
    if (size >= kLargeFileBytes) {
      sum.bytes = plus(sum.bytes, times(whole_blocks(size / kPiecesPerExtentBlock, block_bytes_), count));
    }
    sum.inodes = plus(sum.inodes, count);
    names = plus(names, count);
  }
  sum.bytes = plus(sum.bytes, whole_blocks(times(names, kNameBytes), block_bytes_));
  return sum;
}

}  // namespace slotkeeper::permanent
