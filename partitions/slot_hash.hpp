// The checksum of a volume, as baselines have it.
#pragma once

#include <cstdint>
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

/// Of the first `length` bytes, read past the cache by the calling thread and `helpers` more. Errors: io_error.
[[nodiscard]] Result<VolumeHash> hash_volume(io::Storage& storage, const Volume& volume, std::uint64_t length,
                                             ProgressSink& progress, Phase phase, Helpers helpers);

/// Whether the volume reads as it did, by the fast hashes: finds what breaks, not an attacker. Errors: io_error.
[[nodiscard]] Result<bool> reads_the_same(io::Storage& storage, const Volume& volume, std::uint64_t length,
                                          const std::vector<std::uint64_t>& fast_hashes, ProgressSink& progress,
                                          Phase phase, Helpers helpers);

}  // namespace slotkeeper
