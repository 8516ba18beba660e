#include "engine/bundle/chunk_cutter.hpp"

#include <algorithm>
#include <span>

#include "partitions/digest.hpp"
#include "partitions/io/result.hpp"

namespace slotkeeper::bundle {

std::uint64_t lookup_hash(const std::vector<std::uint64_t>& block_hashes) {
  return std::max<std::uint64_t>(fast_hash(std::as_bytes(std::span(block_hashes))), 1);
}

ChunkCutter::ChunkCutter(std::uint32_t average_bytes)
    : min_(std::max<std::uint32_t>(average_bytes / kHashBlockBytes / 2, 1)),
      max_(average_bytes / kHashBlockBytes * 4),
      run_min_(std::max<std::uint32_t>(average_bytes / kHashBlockBytes, 1)),
      // Past the minimum a chunk ends after so many blocks in the mean.
      one_in_(average_bytes / kHashBlockBytes - min_ + 1) {
  SK_INVARIANT(average_bytes >= kHashBlockBytes && average_bytes <= kCutAverageMaxBytes &&
               (average_bytes & (average_bytes - 1)) == 0);
}

void ChunkCutter::add(const BlockHash& block, std::vector<Cut>& cuts) {
  if (block.is_zero && run_ > 0) {
    if (++run_ == max_) cut_zeros(cuts);
    return;
  }
  if (block.is_zero) {
    pending_.push_back(block.hash);
    if (++zeros_ < run_min_) return;
    cut_data(pending_.size() - zeros_, cuts);
    run_ = zeros_;
    pending_.clear();
    zeros_ = 0;
    return;
  }
  cut_zeros(cuts);
  pending_.push_back(block.hash);
  zeros_ = 0;
  if (pending_.size() >= max_ || (pending_.size() >= min_ && block.hash % one_in_ == 0)) {
    cut_data(pending_.size(), cuts);
    pending_.clear();
  }
}

void ChunkCutter::finish(std::vector<Cut>& cuts) {
  cut_zeros(cuts);
  cut_data(pending_.size(), cuts);
  pending_.clear();
  zeros_ = 0;
}

/// The first of the pending blocks.
void ChunkCutter::cut_data(std::size_t blocks, std::vector<Cut>& cuts) {
  if (blocks == 0) return;
  pending_.resize(blocks);
  cuts.push_back({.blocks = static_cast<std::uint32_t>(blocks), .zeros = false, .lookup = lookup_hash(pending_)});
}

void ChunkCutter::cut_zeros(std::vector<Cut>& cuts) {
  if (run_ == 0) return;
  cuts.push_back({.blocks = run_, .zeros = true, .lookup = 0});
  run_ = 0;
}

}  // namespace slotkeeper::bundle
