#include "engine/bundle/old_contents.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <set>

namespace slotkeeper::bundle {
namespace {

constexpr std::size_t kWindowBytes = 64;  ///< the hash is shifted by a bit for each byte, and so sees as many
constexpr unsigned kRarityMin = 8;
constexpr std::uint64_t kLandmarksWanted = std::uint64_t{1} << 22U;
/// What stands at more places than this says nothing about where the piece comes from.
constexpr std::ptrdiff_t kSamePlacesMax = 16;
/// So many landmarks ahead are looked at to see which of several places goes on as the piece does.
constexpr std::size_t kLookAhead = 8;
/// Blocks around what was found: changed contents mostly stand between those that did not change.
constexpr int kSurroundings = 4;
constexpr std::size_t kReadBytes = 1 << 20;

/// A random number for each value of a byte, always the same ones (SplitMix64).
constexpr std::array<std::uint64_t, 256> kGear = [] {
  std::array<std::uint64_t, 256> gear{};
  std::uint64_t state = 0;
  for (auto& number : gear) {
    state += 0x9e3779b97f4a7c15U;
    std::uint64_t mixed = state;
    mixed = (mixed ^ (mixed >> 30U)) * 0xbf58476d1ce4e5b9U;
    mixed = (mixed ^ (mixed >> 27U)) * 0x94d049bb133111ebU;
    number = mixed ^ (mixed >> 31U);
  }
  return gear;
}();

unsigned rarity_for(std::uint64_t image_bytes) {
  unsigned rarity = kRarityMin;
  while (image_bytes >> rarity > kLandmarksWanted) ++rarity;
  return rarity;
}

std::uint32_t block_at(std::uint64_t offset) { return static_cast<std::uint32_t>(offset / kOldBlockBytes); }

/// How far what is at `there` in the old image has moved to be `here` in the piece; wraps around.
std::uint64_t shift_of(const Landmark& there, const Landmark& here) { return there.end - here.end; }

const Landmark* find_shift(std::span<const Landmark> places, const Landmark& here, std::uint64_t shift) {
  const auto found =
      std::ranges::find_if(places, [&](const Landmark& there) { return shift_of(there, here) == shift; });
  return found == places.end() ? nullptr : &*found;
}

/// Those that most speak for.
std::set<std::uint32_t> best_of(const std::map<std::uint32_t, std::uint32_t>& votes) {
  std::vector<std::pair<std::uint32_t, std::uint32_t>> ranked;
  ranked.reserve(votes.size());
  for (const auto& [block, count] : votes) ranked.emplace_back(count, block);
  if (ranked.size() > kOldPartsMaxBlocks) {
    std::ranges::sort(ranked, std::greater());
    ranked.resize(kOldPartsMaxBlocks);
  }
  std::set<std::uint32_t> blocks;
  for (const auto& [count, block] : ranked) blocks.insert(block);
  return blocks;
}

void add_surroundings(std::set<std::uint32_t>& blocks, std::uint32_t end) {
  for (int round = 0; round < kSurroundings; ++round) {
    const std::vector<std::uint32_t> before(blocks.begin(), blocks.end());
    for (const std::uint32_t block : before) {
      if (blocks.size() < kOldPartsMaxBlocks && block + 1 < end) blocks.insert(block + 1);
      if (blocks.size() < kOldPartsMaxBlocks && block > 0) blocks.insert(block - 1);
    }
  }
}

}  // namespace

LandmarkFinder::LandmarkFinder(unsigned rarity)
    : shift_(64 - rarity),
      // Runs of one byte, and other contents that repeat themselves, would be full of landmarks.
      spacing_(std::uint64_t{1} << (rarity - 2)) {
  SK_INVARIANT(rarity >= 6 && rarity <= 32);
}

void LandmarkFinder::add(io::ConstBytes bytes, std::vector<Landmark>& found) {
  for (const std::byte byte : bytes) {
    hash_ = (hash_ << 1U) + kGear[std::to_integer<std::size_t>(byte)];
    ++offset_;
    if (hash_ >> shift_ != 0 || offset_ < kWindowBytes) continue;
    if (last_.end != 0 && (hash_ == last_.hash || offset_ - last_.end < spacing_)) continue;
    last_ = {.hash = hash_, .end = offset_};
    found.push_back(last_);
  }
}

Result<OldContents> OldContents::look_at(io::File& file, ProgressSink& progress) {
  SK_TRY_ASSIGN(const auto size, file.size());
  OldContents contents(file, size, rarity_for(size));
  LandmarkFinder finder(contents.rarity_);
  auto& landmarks = contents.landmarks_;
  std::vector<std::byte> buffer(kReadBytes);
  for (std::uint64_t at = 0; at < size; at += buffer.size()) {
    SK_TRY(progress.check_cancelled());
    const auto piece = io::Bytes(buffer).first(std::min<std::uint64_t>(buffer.size(), size - at));
    SK_TRY(file.read_exactly_at(at, piece));
    finder.add(piece, landmarks);
  }
  std::ranges::sort(landmarks);
  auto kept = landmarks.begin();
  for (auto begin = landmarks.begin(); begin != landmarks.end();) {
    const auto end = std::find_if(begin, landmarks.end(), [&](const Landmark& one) { return one.hash != begin->hash; });
    if (end - begin <= kSamePlacesMax) kept = std::move(begin, end, kept);
    begin = end;
  }
  landmarks.erase(kept, landmarks.end());
  return contents;
}

std::span<const Landmark> OldContents::same_as(const Landmark& landmark) const {
  return {std::ranges::lower_bound(landmarks_, landmark.hash, {}, &Landmark::hash),
          std::ranges::upper_bound(landmarks_, landmark.hash, {}, &Landmark::hash)};
}

/// Of places with the same contents: one in a block that is wanted already, else the one from where the old image goes
/// on as the piece does. `ahead`: the landmark of the piece and those that follow.
const Landmark& OldContents::choose(std::span<const Landmark> same, std::span<const Landmark> ahead,
                                    const Votes& votes) const {
  if (same.size() == 1) return same.front();
  const Landmark* best = &same.front();
  std::size_t best_length = 0;
  for (const Landmark& there : same) {
    if (votes.contains(block_at(there.end - 1))) return there;
    const std::uint64_t shift = shift_of(there, ahead.front());
    const auto goes_on = [&](const Landmark& here) { return find_shift(same_as(here), here, shift) != nullptr; };
    const auto length = static_cast<std::size_t>(std::ranges::count_if(ahead, goes_on));
    if (length <= best_length) continue;
    best = &there;
    best_length = length;
  }
  return *best;
}

OldContents::Votes OldContents::vote(io::ConstBytes piece) const {
  std::vector<Landmark> own;
  LandmarkFinder(rarity_).add(piece, own);
  Votes votes;
  const Landmark* last = nullptr;  // in the old image
  std::uint64_t shift = 0;
  for (std::size_t i = 0; i < own.size(); ++i) {
    const auto same = same_as(own[i]);
    if (same.empty()) continue;
    const Landmark* there = last == nullptr ? nullptr : find_shift(same, own[i], shift);
    const bool goes_on = there != nullptr;
    if (!goes_on) there = &choose(same, std::span(own).subspan(i, std::min(kLookAhead + 1, own.size() - i)), votes);
    // What stands between two landmarks that moved alike is what became of what stands between them in the piece.
    const std::uint64_t begin = goes_on ? last->end : there->end - kWindowBytes;
    for (std::uint32_t block = block_at(begin); block <= block_at(there->end - 1); ++block) ++votes[block];
    last = there;
    shift = shift_of(*there, own[i]);
  }
  votes.erase(votes.lower_bound(blocks()), votes.end());  // a last block that is not whole
  return votes;
}

std::vector<OldPart> OldContents::find(io::ConstBytes piece) const {
  std::set<std::uint32_t> wanted = best_of(vote(piece));
  add_surroundings(wanted, blocks());
  std::vector<OldPart> parts;
  for (const std::uint32_t block : wanted) {
    if (parts.empty() || parts.back().first_block + parts.back().blocks != block) parts.push_back({block, 0});
    ++parts.back().blocks;
  }
  return parts;
}

Result<std::vector<std::byte>> OldContents::read(const std::vector<OldPart>& parts) const {
  std::vector<std::byte> bytes;
  for (const OldPart& part : parts) {
    const std::size_t filled = bytes.size();
    bytes.resize(filled + std::size_t{part.blocks} * kOldBlockBytes);
    SK_TRY(file_->read_exactly_at(std::uint64_t{part.first_block} * kOldBlockBytes, io::Bytes(bytes).subspan(filled)));
  }
  return bytes;
}

}  // namespace slotkeeper::bundle
