// Whatever is accepted as a chunk index keeps its limits and its sums and prints as the same bytes.
//
// An input is an index as it lies in a bundle. What the manifest would say of it, the sums of the lengths, is taken
// from the rows themselves, so that a turned length does not end every run at once; a second try adds one.
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "engine/bundle/chunk_index.hpp"
#include "engine/bundle/manifest.hpp"

namespace {

using namespace slotkeeper;
using namespace slotkeeper::bundle;

constexpr std::size_t kHeaderBytes = 16;
constexpr std::size_t kRowBytes = 88;

void require(bool condition) {
  if (!condition) std::abort();
}

std::uint64_t little(io::ConstBytes bytes) {
  std::uint64_t value = 0;
  for (std::size_t i = bytes.size(); i-- > 0;) value = value << 8 | std::to_integer<std::uint64_t>(bytes[i]);
  return value;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  std::uint64_t plain = 0;
  std::uint64_t stored = 0;
  for (std::size_t at = kHeaderBytes; at + kRowBytes <= size; at += kRowBytes) {
    plain += little(bytes.subspan(at, 8));  // modulo 2^64: sums that wrap must not be believed
    stored += little(bytes.subspan(at + 8, 4));
  }
  const auto parsed = parse_chunk_index(bytes, plain, stored);
  require(!parse_chunk_index(bytes, plain + 1, stored).has_value());
  require(!parse_chunk_index(bytes, plain, stored + 1).has_value());
  if (!parsed.has_value()) {
    const Errc code = parsed.assume_error().code;
    require(code == Errc::corrupt || code == Errc::unsupported);
    return 0;
  }
  const ChunkIndex& index = parsed.assume_value();
  require(size <= kIndexMaxBytes && index.plain_bytes() == plain && index.stored_bytes() == stored);
  std::uint64_t left = plain;
  for (const auto& row : index.rows) {
    require(row.plain_bytes >= 1 && row.plain_bytes <= left);
    left -= row.plain_bytes;
    const bool zeros = (row.flags & chunk_flag::kZeroRun) != 0;
    require(!zeros || row.flags == chunk_flag::kZeroRun);
    require((row.flags & chunk_flag::kOldImage) == 0 || row.plain_bytes <= kDeltaChunkMaxBytes);
    require(zeros ? row.stored_bytes == 0 : row.plain_bytes <= kChunkMaxBytes && row.stored_bytes <= kFrameMaxBytes);
  }
  require(left == 0);
  const auto printed = print_chunk_index(index);
  require(std::equal(printed.begin(), printed.end(), bytes.begin(), bytes.end()));
  return 0;
}
