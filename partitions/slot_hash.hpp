// The checksum of a volume, as baselines have it.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "partitions/digest.hpp"
#include "partitions/io/storage.hpp"
#include "partitions/parallel.hpp"
#include "partitions/progress.hpp"
#include "partitions/slot_table.hpp"

namespace slotkeeper {

/// What reading a volume showed.
struct VolumeHash {
  Sha256 digest;                           ///< by pieces, see digest.hpp
  std::vector<std::uint64_t> fast_hashes;  ///< of each piece: enough to see later that it still reads the same
};

inline constexpr std::uint32_t kHashBlockBytes = 4096;

/// One block; the last one of what is read may be shorter.
struct BlockHash {
  std::uint64_t hash = 0;  ///< fast_hash of its bytes
  bool is_zero = false;
};
[[nodiscard]] BlockHash hash_block(io::ConstBytes block);

/// Is shown the blocks of a volume from the first to the last, by one thread at a time.
using BlockLook = std::function<void(std::span<const BlockHash>)>;

/// Of the first `length` bytes, read past the cache by the calling thread and `helpers` more. Shows the blocks to
/// `look` where there is one. Errors: io_error.
[[nodiscard]] Result<VolumeHash> hash_volume(io::Storage& storage, const Volume& volume, std::uint64_t length,
                                             ProgressSink& progress, Phase phase, Helpers helpers,
                                             const BlockLook& look = {});

/// The same without a checksum. Errors: io_error.
[[nodiscard]] Result<void> look_at_blocks(io::Storage& storage, const Volume& volume, std::uint64_t length,
                                          ProgressSink& progress, Phase phase, Helpers helpers, const BlockLook& look);

/// Whether the volume reads as it did, by the fast hashes: finds what breaks, not an attacker. Errors: io_error.
[[nodiscard]] Result<bool> reads_the_same(io::Storage& storage, const Volume& volume, std::uint64_t length,
                                          const std::vector<std::uint64_t>& fast_hashes, ProgressSink& progress,
                                          Phase phase, Helpers helpers);

}  // namespace slotkeeper
