#include "engine/bundle/delta_frame.hpp"

#include <string>

namespace slotkeeper::bundle {
namespace {

/// The list is a skippable frame (RFC 8878, 3.1.2), so that a member stays a sequence of zstd frames for other tools.
constexpr std::uint32_t kSkippableMagic = 0x184d2a50;
constexpr std::size_t kHeadBytes = 8;
constexpr std::size_t kPartBytes = 8;

std::uint32_t read_little(io::ConstBytes bytes, std::size_t offset) {
  std::uint32_t value = 0;
  for (std::size_t i = 4; i-- > 0;) value = value << 8U | std::to_integer<std::uint32_t>(bytes[offset + i]);
  return value;
}

void append_little(std::vector<std::byte>& bytes, std::uint32_t value) {
  for (unsigned shift = 0; shift < 32; shift += 8) bytes.push_back(static_cast<std::byte>(value >> shift & 0xff));
}

std::uint32_t blocks_of(std::span<const OldPart> parts) {
  std::uint32_t blocks = 0;
  for (const OldPart& part : parts) blocks += part.blocks;
  return blocks;
}

Error wrong(const std::string& why) { return make_error(Errc::corrupt, "list of parts of the old image: " + why); }

}  // namespace

std::uint32_t DeltaFrame::prefix_bytes() const { return blocks_of(parts) * kOldBlockBytes; }

Result<DeltaFrame> parse_delta_frame(io::ConstBytes stored, std::uint64_t old_bytes) {
  if (stored.size() < kHeadBytes || read_little(stored, 0) != kSkippableMagic) return wrong("it is missing");
  const std::size_t list_bytes = read_little(stored, 4);
  // Every part has a block, so that there are no more parts than blocks.
  if (list_bytes == 0 || list_bytes % kPartBytes != 0 || list_bytes / kPartBytes > kOldPartsMaxBlocks ||
      list_bytes > stored.size() - kHeadBytes) {
    return wrong("impossible length of " + std::to_string(list_bytes) + " bytes");
  }
  DeltaFrame delta;
  delta.parts.reserve(list_bytes / kPartBytes);
  std::uint64_t blocks = 0;
  for (std::size_t at = kHeadBytes; at < kHeadBytes + list_bytes; at += kPartBytes) {
    const OldPart part{.first_block = read_little(stored, at), .blocks = read_little(stored, at + 4)};
    if (part.blocks == 0) return wrong("a part without blocks");
    if (std::uint64_t{part.first_block} + part.blocks > old_bytes / kOldBlockBytes) {
      return wrong("blocks from " + std::to_string(part.first_block) + " on that the old image does not have");
    }
    blocks += part.blocks;
    if (blocks > kOldPartsMaxBlocks) return wrong("more than " + std::to_string(kOldPartsMaxBlocks) + " blocks");
    delta.parts.push_back(part);
  }
  delta.frame = stored.subspan(kHeadBytes + list_bytes);
  return delta;
}

std::vector<std::byte> print_delta_frame(std::span<const OldPart> parts, io::ConstBytes frame) {
  SK_INVARIANT(blocks_of(parts) >= 1 && blocks_of(parts) <= kOldPartsMaxBlocks);
  std::vector<std::byte> stored;
  stored.reserve(kHeadBytes + parts.size() * kPartBytes + frame.size());
  append_little(stored, kSkippableMagic);
  append_little(stored, static_cast<std::uint32_t>(parts.size() * kPartBytes));
  for (const OldPart& part : parts) {
    append_little(stored, part.first_block);
    append_little(stored, part.blocks);
  }
  stored.insert(stored.end(), frame.begin(), frame.end());
  return stored;
}

}  // namespace slotkeeper::bundle
