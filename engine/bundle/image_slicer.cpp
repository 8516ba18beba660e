#include "engine/bundle/image_slicer.hpp"

#include <algorithm>

#include "engine/bundle/chunk_index.hpp"
#include "partitions/digest.hpp"

namespace slotkeeper::bundle {
namespace {

constexpr std::uint32_t kCutAverageMinBytes = 8 * 1024;
/// So many chunks of the average length at most, so that the index of any image stays small; never more than twice as
/// many are cut.
constexpr std::uint64_t kChunksWanted = 32768;
constexpr std::uint64_t kPieceBytes = 1 << 20;
static_assert(kPieceBytes % kHashBlockBytes == 0);

std::uint64_t lookup_of(io::ConstBytes chunk) {
  std::vector<std::uint64_t> hashes;
  for (; !chunk.empty(); chunk = chunk.subspan(std::min<std::size_t>(chunk.size(), kHashBlockBytes))) {
    hashes.push_back(fast_hash(chunk.first(std::min<std::size_t>(chunk.size(), kHashBlockBytes))));
  }
  return lookup_hash(hashes);
}

}  // namespace

Cutting cutting_for(std::uint64_t image_bytes, std::uint32_t wanted_bytes) {
  if (wanted_bytes != 0) return {.fixed_bytes = wanted_bytes, .average_bytes = 0};
  std::uint64_t average = kCutAverageMinBytes;
  while (average <= kCutAverageMaxBytes && image_bytes / average > kChunksWanted) average *= 2;
  if (average > kCutAverageMaxBytes) return {.fixed_bytes = kChunkMaxBytes, .average_bytes = 0};
  return {.fixed_bytes = 0, .average_bytes = static_cast<std::uint32_t>(average)};
}

ImageSlicer::ImageSlicer(io::File& file, std::uint64_t size_bytes, Cutting cutting,
                         std::function<void(io::ConstBytes)> look)
    : file_(file), size_bytes_(size_bytes), cutting_(cutting), look_(std::move(look)) {
  if (cutting.average_bytes != 0) cutter_.emplace(cutting.average_bytes);
}

Result<std::optional<Slice>> ImageSlicer::next() {
  while (slices_.empty() && read_bytes_ < size_bytes_) SK_TRY(read_piece());
  if (slices_.empty()) return std::optional<Slice>{};
  const Piece piece = slices_.front();
  slices_.pop_front();
  Slice slice{.plain = {}, .lookup = piece.lookup, .is_first = given_bytes_ == 0};
  const auto begin = pending_.begin() + static_cast<std::ptrdiff_t>(taken_bytes_);
  slice.plain.assign(begin, begin + static_cast<std::ptrdiff_t>(piece.bytes));
  // Zeros at the beginning become a frame, which can be looked up.
  if (slice.is_first && piece.lookup == 0) slice.lookup = lookup_of(slice.plain);
  taken_bytes_ += piece.bytes;
  given_bytes_ += piece.bytes;
  return std::optional(std::move(slice));
}

Result<void> ImageSlicer::read_piece() {
  pending_.erase(pending_.begin(), pending_.begin() + static_cast<std::ptrdiff_t>(taken_bytes_));
  taken_bytes_ = 0;
  const std::size_t before = pending_.size();
  const std::uint64_t wanted = cutter_ ? kPieceBytes : cutting_.fixed_bytes;
  pending_.resize(before + static_cast<std::size_t>(std::min(wanted, size_bytes_ - read_bytes_)));
  const io::Bytes piece = io::Bytes(pending_).subspan(before);
  SK_TRY(file_.read_exactly_at(read_bytes_, piece));
  look_(piece);
  if (cutter_) {
    cut(piece);
  } else {
    slices_.push_back({piece.size(), read_bytes_ % kHashBlockBytes == 0 ? lookup_of(piece) : 0});
  }
  read_bytes_ += piece.size();
  return success();
}

void ImageSlicer::cut(io::ConstBytes piece) {
  cuts_.clear();
  const bool is_last = read_bytes_ + piece.size() == size_bytes_;
  while (!piece.empty()) {
    const auto block = piece.first(std::min<std::size_t>(piece.size(), kHashBlockBytes));
    cutter_->add(hash_block(block), cuts_);
    piece = piece.subspan(block.size());
  }
  if (is_last) cutter_->finish(cuts_);
  for (const Cut& each : cuts_) {
    const std::uint64_t bytes = std::min(std::uint64_t{each.blocks} * kHashBlockBytes, size_bytes_ - cut_bytes_);
    slices_.push_back({static_cast<std::size_t>(bytes), each.lookup});
    cut_bytes_ += bytes;
  }
}

}  // namespace slotkeeper::bundle
