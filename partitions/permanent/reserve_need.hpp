// What a rollback needs of the permanent partition, entry by entry. The forecast counts with it before the update, the
// reserve is made by it, and the restore takes from the reserve by it: one truth for the three of them.
#pragma once

#include <cstdint>
#include <map>

#include "partitions/permanent/forecast.hpp"
#include "partitions/permanent/inventory.hpp"

namespace slotkeeper::permanent {

/// Bytes, rounded up to whole blocks. `block_bytes` of 0 leaves them as they are.
[[nodiscard]] std::uint64_t whole_blocks(std::uint64_t bytes, std::uint64_t block_bytes);

/// Size of the file of the reserve that stands for this entry: its contents in whole blocks, or for anything but a
/// regular file the blocks of its own.
[[nodiscard]] std::uint64_t reserve_size_of(const Entry& entry, std::uint64_t block_bytes);

class ReserveNeed {
 public:
  explicit ReserveNeed(std::uint64_t block_bytes) : block_bytes_(block_bytes) {}
  /// Another name of an entry that was added needs nothing.
  void add(const Entry& entry);

  /// How many files of which size. The restore takes any of the size that it needs.
  [[nodiscard]] const std::map<std::uint64_t, std::uint64_t>& files() const { return files_; }
  /// For what has no place in such a file: blocks of extended attributes, names in directories.
  [[nodiscard]] std::uint64_t loose_bytes() const { return loose_bytes_; }
  /// All of it, with the directory and the slack file of the reserve itself.
  [[nodiscard]] Amount amount() const;

 private:
  [[nodiscard]] std::uint64_t attribute_bytes(const Entry& entry) const;

  std::uint64_t block_bytes_;
  std::map<std::uint64_t, std::uint64_t> files_;
  std::uint64_t loose_bytes_ = 0;
};

}  // namespace slotkeeper::permanent
