// Which chunks of an image a device has already, so that they need not come from the bundle: the target slot may hold a
// chunk at its place, the slot that runs at any place. What is found here is a hint; nothing is used before its SHA-256
// matched the signed index.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "engine/bundle/chunk_cutter.hpp"
#include "engine/bundle/chunk_index.hpp"
#include "partitions/slot_hash.hpp"

namespace slotkeeper::bundle {

/// The chunks of what lies on a slot, cut as the bundle's image was. Memory: 16 bytes for each.
class OldChunks {
 public:
  explicit OldChunks(std::uint32_t cut_average_bytes) : cutter_(cut_average_bytes) {}
  void add(std::span<const BlockHash> blocks);  ///< in order, from the first one on
  void finish();                                ///< after the last one, before the first `find`
  /// The block where a chunk with this look-up hash begins.
  [[nodiscard]] std::optional<std::uint32_t> find(std::uint64_t lookup) const;

 private:
  struct Entry {
    std::uint64_t lookup;
    std::uint32_t block;
    auto operator<=>(const Entry&) const = default;
  };
  void keep_cuts();

  ChunkCutter cutter_;
  std::vector<Cut> cuts_;
  std::vector<Entry> entries_;
  std::uint32_t next_block_ = 0;
};

class ReusePlan {
 public:
  enum class From : std::uint8_t { bundle, target, old_slot };
  struct Origin {
    From from = From::bundle;
    std::uint64_t offset = 0;  ///< in the volume of the slot that runs
  };

  /// Everything from the bundle.
  explicit ReusePlan(std::size_t rows) : origins_(rows, kBundle) {}
  void take_from_target(std::size_t row) { origins_[row] = kTarget; }
  /// Those of the other rows that the slot that runs has.
  void take_from_old_slot(const std::vector<ChunkRow>& rows, const OldChunks& old);
  [[nodiscard]] Origin origin(std::size_t row) const;

 private:
  static constexpr std::uint32_t kBundle = 0xffffffff;
  static constexpr std::uint32_t kTarget = 0xfffffffe;
  std::vector<std::uint32_t> origins_;  ///< a block of the slot that runs, or one of the above
};

/// Finds the rows of an image that a volume holds at their place.
class InPlace {
 public:
  InPlace(const std::vector<ChunkRow>& rows, ReusePlan& plan) : rows_(rows), plan_(plan) {}
  void add(std::span<const BlockHash> blocks);  ///< in order, from the first one on

 private:
  const std::vector<ChunkRow>& rows_;
  ReusePlan& plan_;
  std::size_t row_ = 0;
  std::uint64_t row_offset_ = 0;  ///< where the row begins
  std::uint64_t offset_ = 0;      ///< of the next block
  std::vector<std::uint64_t> hashes_;
};

}  // namespace slotkeeper::bundle
