// Cuts an image into chunks by its content, so that what moved from one image to the next is cut the same way in both:
// by whoever makes a bundle, and by the device, which looks for the bundle's chunks in the slot that runs. Works on the
// fast hashes of blocks alone. The rule is part of the bundle format (engine/DESIGN.md, "index/VOLUME").
#pragma once

#include <cstdint>
#include <vector>

#include "partitions/slot_hash.hpp"

namespace slotkeeper::bundle {

/// Chunks have four times the average and less than one more average of zeros, and must stay below kChunkMaxBytes.
inline constexpr std::uint32_t kCutAverageMaxBytes = 512 * 1024;

struct Cut {
  std::uint32_t blocks = 0;
  bool zeros = false;
  std::uint64_t lookup = 0;  ///< lookup_hash of its blocks; 0 of zeros
};

/// What finds a chunk on a slot: a fast hash over the fast hashes of its blocks. Never 0. Only a hint: what it finds is
/// compared by SHA-256.
[[nodiscard]] std::uint64_t lookup_hash(const std::vector<std::uint64_t>& block_hashes);

class ChunkCutter {
 public:
  /// `average_bytes`: a power of two from kHashBlockBytes to kCutAverageMaxBytes.
  explicit ChunkCutter(std::uint32_t average_bytes);
  /// Takes the next block; appends the chunks that are known to end by now.
  void add(const BlockHash& block, std::vector<Cut>& cuts);
  /// After the last block.
  void finish(std::vector<Cut>& cuts);

 private:
  void cut_data(std::size_t blocks, std::vector<Cut>& cuts);
  void cut_zeros(std::vector<Cut>& cuts);

  std::uint32_t min_;
  std::uint32_t max_;
  std::uint32_t run_min_;  ///< so many zero blocks are a run of their own
  std::uint64_t one_in_;
  std::vector<std::uint64_t> pending_;  ///< hashes of the blocks that are not in a chunk yet
  std::uint32_t zeros_ = 0;             ///< at the end of them
  std::uint32_t run_ = 0;               ///< blocks of the present zero run; then nothing is pending
};

}  // namespace slotkeeper::bundle
