// The stored form of a chunk that is made from the old image: which parts of that image its frame refers to, and the
// frame. The format is in engine/DESIGN.md, "image/VOLUME.zst".
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "partitions/io/result.hpp"
#include "partitions/io/types.hpp"

namespace slotkeeper::bundle {

inline constexpr std::uint32_t kOldBlockBytes = 4096;
/// All parts that one frame refers to, together: what a device has to hold in memory for it.
inline constexpr std::uint32_t kOldPartsMaxBytes = 1 << 20;
inline constexpr std::uint32_t kOldPartsMaxBlocks = kOldPartsMaxBytes / kOldBlockBytes;

/// A part of the old image, in whole blocks; at least one.
struct OldPart {
  std::uint32_t first_block = 0;
  std::uint32_t blocks = 0;
  bool operator==(const OldPart&) const = default;
};

struct DeltaFrame {
  std::vector<OldPart> parts;  ///< put together in this order they are the prefix of the frame
  io::ConstBytes frame;        ///< in the bytes that were parsed

  [[nodiscard]] std::uint32_t prefix_bytes() const;
};

/// `old_bytes`: length of the old image. Errors: corrupt (no list, parts outside the old image or too many of them).
[[nodiscard]] Result<DeltaFrame> parse_delta_frame(io::ConstBytes stored, std::uint64_t old_bytes);
/// Requires: one to kOldPartsMaxBlocks blocks.
[[nodiscard]] std::vector<std::byte> print_delta_frame(std::span<const OldPart> parts, io::ConstBytes frame);

}  // namespace slotkeeper::bundle
