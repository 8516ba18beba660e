// Part of `bundle create --delta-from`: which parts of the old image a piece of the new one is made from. Contents are
// found at any byte, wherever a rebuild has moved them: files move by blocks, what a compiler made moves by bytes.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "engine/bundle/delta_frame.hpp"
#include "partitions/io/file.hpp"
#include "partitions/progress.hpp"

namespace slotkeeper::bundle {

/// A place in an image that is found again by what stands there, whatever is before and behind it.
struct Landmark {
  std::uint64_t hash = 0;  ///< of the 64 bytes that end here
  std::uint64_t end = 0;   ///< offset behind the last of them
  auto operator<=>(const Landmark&) const = default;
};

/// Finds the landmarks of a stream of bytes. Where they are depends on the contents alone, not on where the stream was
/// begun, but for their spacing.
class LandmarkFinder {
 public:
  /// In the mean there is one in 2^`rarity` bytes; 6 to 32.
  explicit LandmarkFinder(unsigned rarity);
  void add(io::ConstBytes bytes, std::vector<Landmark>& found);

 private:
  unsigned shift_;
  std::uint64_t spacing_;
  std::uint64_t hash_ = 0;
  std::uint64_t offset_ = 0;
  Landmark last_;
};

/// Memory: 16 bytes for each 256 bytes of the image; above 1 GiB about 64 MiB, whatever its size, and at most four
/// times that.
class OldContents {
 public:
  /// Reads all of the file, which must stay. Errors: io_error, cancelled.
  [[nodiscard]] static Result<OldContents> look_at(io::File& file, ProgressSink& progress);
  /// What a frame of the piece should refer to: no more than kOldPartsMaxBlocks, ascending; nothing when the old image
  /// has nothing of it. Called by several threads.
  [[nodiscard]] std::vector<OldPart> find(io::ConstBytes piece) const;
  /// The parts, one after the other. Errors: io_error.
  [[nodiscard]] Result<std::vector<std::byte>> read(const std::vector<OldPart>& parts) const;
  [[nodiscard]] std::uint64_t size_bytes() const { return size_bytes_; }

 private:
  /// How many landmarks speak for a block of the old image.
  using Votes = std::map<std::uint32_t, std::uint32_t>;

  OldContents(io::File& file, std::uint64_t size_bytes, unsigned rarity)
      : file_(&file), size_bytes_(size_bytes), rarity_(rarity) {}
  [[nodiscard]] std::uint32_t blocks() const { return static_cast<std::uint32_t>(size_bytes_ / kOldBlockBytes); }
  [[nodiscard]] std::span<const Landmark> same_as(const Landmark& landmark) const;
  [[nodiscard]] const Landmark& choose(std::span<const Landmark> same, std::span<const Landmark> ahead,
                                       const Votes& votes) const;
  [[nodiscard]] Votes vote(io::ConstBytes piece) const;

  io::File* file_;
  std::uint64_t size_bytes_;
  unsigned rarity_;
  std::vector<Landmark> landmarks_;  ///< sorted
};

}  // namespace slotkeeper::bundle
