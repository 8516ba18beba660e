// The rows of one image's chunk index. Offsets are sums of the lengths before; the format is in engine/DESIGN.md.
#pragma once

#include <cstdint>
#include <vector>

#include "partitions/digest.hpp"
#include "partitions/io/result.hpp"
#include "partitions/io/types.hpp"

namespace slotkeeper::bundle {

inline constexpr std::uint32_t kChunkMinBytes = 4096;
inline constexpr std::uint32_t kChunkMaxBytes = 4u << 20;
inline constexpr std::uint32_t kFrameMaxBytes = kChunkMaxBytes + (kChunkMaxBytes >> 7) + 1024;
inline constexpr std::uint64_t kZeroRunMaxBytes = 1ull << 40;
/// Of a chunk that is made from the old image: with what it is made from it must fit into the memory of a device.
inline constexpr std::uint32_t kDeltaChunkMaxBytes = 512 * 1024;

namespace chunk_flag {
inline constexpr std::uint32_t kZeroRun = 1;    ///< no frame; plain bytes are zeros
inline constexpr std::uint32_t kOldImage = 2;   ///< made from the old image: delta_frame.hpp
inline constexpr std::uint32_t kEncrypted = 4;  ///< frame_cipher.hpp; all frames of an image or none
inline constexpr std::uint32_t kKnown = kZeroRun | kOldImage | kEncrypted;
}  // namespace chunk_flag

struct ChunkRow {
  std::uint64_t plain_bytes = 0;  ///< up to kChunkMaxBytes; a zero run may be longer
  std::uint32_t stored_bytes = 0;
  std::uint32_t flags = 0;
  Sha256 stored_digest;
  Sha256 plain_digest;  ///< of a zero run: all zero bytes, not used
  /// lookup_hash of the chunk (chunk_cutter.hpp), where it begins on a whole block of the image; 0: none. It finds a
  /// chunk on a slot and proves nothing.
  std::uint64_t lookup = 0;
};

struct ChunkIndex {
  std::vector<ChunkRow> rows;
  /// How ChunkCutter cut the image, so that others can be cut the same way; 0: in another way.
  std::uint32_t cut_average_bytes = 0;
  [[nodiscard]] std::uint64_t plain_bytes() const;
  [[nodiscard]] std::uint64_t stored_bytes() const;
  [[nodiscard]] bool needs_old_image() const;           ///< one of its chunks does
  [[nodiscard]] bool frames_are(bool encrypted) const;  ///< all of them
};

/// Errors: corrupt (lengths, sums, limits), unsupported (unknown flags).
[[nodiscard]] Result<ChunkIndex> parse_chunk_index(io::ConstBytes bytes, std::uint64_t plain_bytes,
                                                   std::uint64_t stored_bytes);
[[nodiscard]] std::vector<std::byte> print_chunk_index(const ChunkIndex& index);

}  // namespace slotkeeper::bundle
