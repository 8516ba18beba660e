#include "engine/bundle/reuse_plan.hpp"

#include <algorithm>

namespace slotkeeper::bundle {

void OldChunks::add(std::span<const BlockHash> blocks) {
  for (const BlockHash& block : blocks) cutter_.add(block, cuts_);
  keep_cuts();
}

void OldChunks::finish() {
  cutter_.finish(cuts_);
  keep_cuts();
  std::ranges::sort(entries_);  // of equal chunks the first one on the slot is taken
}

void OldChunks::keep_cuts() {
  for (const Cut& cut : cuts_) {
    if (!cut.zeros) entries_.push_back({cut.lookup, next_block_});
    next_block_ += cut.blocks;
  }
  cuts_.clear();
}

std::optional<std::uint32_t> OldChunks::find(std::uint64_t lookup) const {
  const auto found = std::ranges::lower_bound(entries_, lookup, {}, &Entry::lookup);
  if (found == entries_.end() || found->lookup != lookup) return std::nullopt;
  return found->block;
}

void ReusePlan::take_from_old_slot(const std::vector<ChunkRow>& rows, const OldChunks& old) {
  SK_INVARIANT(rows.size() == origins_.size());
  for (std::size_t row = 0; row < rows.size(); ++row) {
    if (origins_[row] != kBundle || rows[row].lookup == 0) continue;
    if (const auto block = old.find(rows[row].lookup)) origins_[row] = *block;
  }
}

ReusePlan::Origin ReusePlan::origin(std::size_t row) const {
  switch (origins_[row]) {
    case kBundle:
      return {.from = From::bundle, .offset = 0};
    case kTarget:
      return {.from = From::target, .offset = 0};
    default:
      return {.from = From::old_slot, .offset = std::uint64_t{origins_[row]} * kHashBlockBytes};
  }
}

void InPlace::add(std::span<const BlockHash> blocks) {
  for (const BlockHash& block : blocks) {
    // Zero runs may end, and rows without a look-up hash lie, anywhere.
    while (row_ < rows_.size() && rows_[row_].lookup == 0 && row_offset_ + rows_[row_].plain_bytes <= offset_) {
      row_offset_ += rows_[row_++].plain_bytes;
    }
    offset_ += kHashBlockBytes;
    if (row_ == rows_.size() || rows_[row_].lookup == 0) continue;
    hashes_.push_back(block.hash);
    if (row_offset_ + rows_[row_].plain_bytes > offset_) continue;
    if (lookup_hash(hashes_) == rows_[row_].lookup) plan_.take_from_target(row_);
    hashes_.clear();
    row_offset_ += rows_[row_++].plain_bytes;
  }
}

}  // namespace slotkeeper::bundle
