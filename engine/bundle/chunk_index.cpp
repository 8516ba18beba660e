#include "engine/bundle/chunk_index.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <string>

#include "engine/bundle/chunk_cutter.hpp"
#include "engine/bundle/manifest.hpp"

namespace slotkeeper::bundle {
namespace {

constexpr std::string_view kMagic{"SKIDX1\0\0", 8};
constexpr std::size_t kHeaderBytes = 16;
constexpr std::size_t kRowBytes = 88;

template <class Integer>
Integer read_little(io::ConstBytes bytes, std::size_t offset) {
  Integer value = 0;
  for (std::size_t i = 0; i < sizeof(Integer); ++i) {
    value = static_cast<Integer>(value | (static_cast<Integer>(bytes[offset + i]) << (8 * i)));
  }
  return value;
}

template <class Integer>
void append_little(std::vector<std::byte>& bytes, Integer value) {
  for (std::size_t i = 0; i < sizeof(Integer); ++i) {
    bytes.push_back(static_cast<std::byte>((value >> (8 * i)) & 0xff));
  }
}

Sha256 read_digest(io::ConstBytes bytes, std::size_t offset) {
  Sha256 digest;
  std::memcpy(digest.bytes.data(), bytes.data() + offset, digest.bytes.size());
  return digest;
}

Error wrong(std::size_t row, std::string_view why) {
  return make_error(Errc::corrupt, "chunk index: row " + std::to_string(row) + ": " + std::string(why));
}

Result<void> check_row(const ChunkRow& row, std::size_t number) {
  if ((row.flags & ~chunk_flag::kKnown) != 0) {
    return make_error(Errc::unsupported, "chunk index: row " + std::to_string(number) + " has unknown flags");
  }
  if (row.plain_bytes == 0) return wrong(number, "a chunk without bytes");
  if ((row.flags & chunk_flag::kZeroRun) != 0) {
    if (row.flags != chunk_flag::kZeroRun) return wrong(number, "a zero run that is something else, too");
    if (row.stored_bytes != 0 || row.stored_digest != Sha256{} || row.plain_digest != Sha256{} || row.lookup != 0) {
      return wrong(number, "a zero run with stored bytes");
    }
    if (row.plain_bytes > kZeroRunMaxBytes) return wrong(number, "a zero run that is too long");
    return success();
  }
  const bool is_delta = (row.flags & chunk_flag::kOldImage) != 0;
  if (row.plain_bytes > (is_delta ? kDeltaChunkMaxBytes : kChunkMaxBytes)) {
    return wrong(number, "a chunk that is too long");
  }
  if (row.stored_bytes == 0 || row.stored_bytes > kFrameMaxBytes) return wrong(number, "a frame of impossible length");
  return success();
}

bool is_average(std::uint32_t bytes) {
  return bytes == 0 || (std::has_single_bit(bytes) && bytes >= kHashBlockBytes && bytes <= kCutAverageMaxBytes);
}

}  // namespace

std::uint64_t ChunkIndex::plain_bytes() const {
  std::uint64_t sum = 0;
  for (const auto& row : rows) sum += row.plain_bytes;
  return sum;
}

bool ChunkIndex::needs_old_image() const {
  return std::ranges::any_of(rows, [](const ChunkRow& row) { return (row.flags & chunk_flag::kOldImage) != 0; });
}

bool ChunkIndex::frames_are(bool encrypted) const {
  return std::ranges::all_of(rows, [&](const ChunkRow& row) {
    return (row.flags & chunk_flag::kZeroRun) != 0 || ((row.flags & chunk_flag::kEncrypted) != 0) == encrypted;
  });
}

std::uint64_t ChunkIndex::stored_bytes() const {
  std::uint64_t sum = 0;
  for (const auto& row : rows) sum += row.stored_bytes;
  return sum;
}

Result<ChunkIndex> parse_chunk_index(io::ConstBytes bytes, std::uint64_t plain_bytes, std::uint64_t stored_bytes) {
  if (bytes.size() > kIndexMaxBytes || bytes.size() < kHeaderBytes ||
      io::as_text(bytes.first(kMagic.size())) != kMagic || !is_average(read_little<std::uint32_t>(bytes, 12))) {
    return make_error(Errc::corrupt, "chunk index: not an index of this format");
  }
  const auto count = read_little<std::uint32_t>(bytes, 8);
  if (bytes.size() != kHeaderBytes + std::uint64_t{count} * kRowBytes) {
    return make_error(Errc::corrupt, "chunk index: its length does not fit its number of rows");
  }
  ChunkIndex index;
  index.cut_average_bytes = read_little<std::uint32_t>(bytes, 12);
  index.rows.reserve(count);
  std::uint64_t plain_sum = 0;
  std::uint64_t stored_sum = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t at = kHeaderBytes + i * kRowBytes;
    const ChunkRow row{.plain_bytes = read_little<std::uint64_t>(bytes, at),
                       .stored_bytes = read_little<std::uint32_t>(bytes, at + 8),
                       .flags = read_little<std::uint32_t>(bytes, at + 12),
                       .stored_digest = read_digest(bytes, at + 16),
                       .plain_digest = read_digest(bytes, at + 48),
                       .lookup = read_little<std::uint64_t>(bytes, at + 80)};
    SK_TRY(check_row(row, i));
    // Each term is bounded by the checks above and the count by the index's size: the sums cannot overflow.
    plain_sum += row.plain_bytes;
    stored_sum += row.stored_bytes;
    if (plain_sum > plain_bytes) return wrong(i, "more bytes than the image has");
    if (row.lookup != 0 && (plain_sum - row.plain_bytes) % kHashBlockBytes != 0) {
      return wrong(i, "a look-up hash inside a block");
    }
    index.rows.push_back(row);
  }
  if (plain_sum != plain_bytes || stored_sum != stored_bytes) {
    return make_error(Errc::corrupt, "chunk index: its sums differ from the manifest's");
  }
  return index;
}

std::vector<std::byte> print_chunk_index(const ChunkIndex& index) {
  std::vector<std::byte> bytes;
  bytes.reserve(kHeaderBytes + index.rows.size() * kRowBytes);
  for (const char c : kMagic) bytes.push_back(static_cast<std::byte>(c));
  append_little(bytes, static_cast<std::uint32_t>(index.rows.size()));
  append_little(bytes, index.cut_average_bytes);
  for (const auto& row : index.rows) {
    append_little(bytes, row.plain_bytes);
    append_little(bytes, row.stored_bytes);
    append_little(bytes, row.flags);
    bytes.insert(bytes.end(), row.stored_digest.bytes.begin(), row.stored_digest.bytes.end());
    bytes.insert(bytes.end(), row.plain_digest.bytes.begin(), row.plain_digest.bytes.end());
    append_little(bytes, row.lookup);
  }
  return bytes;
}

}  // namespace slotkeeper::bundle
