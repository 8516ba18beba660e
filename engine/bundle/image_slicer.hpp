// Part of `bundle create`: reads an image front to back, once, and cuts it into chunks.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <vector>

#include "engine/bundle/chunk_cutter.hpp"
#include "partitions/io/file.hpp"

namespace slotkeeper::bundle {

/// How an image is cut.
struct Cutting {
  std::uint32_t fixed_bytes = 0;    ///< every so many bytes; 0: by content
  std::uint32_t average_bytes = 0;  ///< by content
};
/// The average chunk grows with the image. `wanted_bytes`: a fixed length; 0: as suits the image.
[[nodiscard]] Cutting cutting_for(std::uint64_t image_bytes, std::uint32_t wanted_bytes);

/// A chunk of the image as it is.
struct Slice {
  std::vector<std::byte> plain;
  std::uint64_t lookup = 0;
  bool is_first = false;  ///< of its image
};

class ImageSlicer {
 public:
  /// `look` is shown every byte, in order. Memory: a piece of 1 MiB and the longest chunk.
  ImageSlicer(io::File& file, std::uint64_t size_bytes, Cutting cutting, std::function<void(io::ConstBytes)> look);
  /// Nothing after the last one. Errors: io_error.
  [[nodiscard]] Result<std::optional<Slice>> next();

 private:
  struct Piece {
    std::size_t bytes;
    std::uint64_t lookup;
  };
  [[nodiscard]] Result<void> read_piece();
  void cut(io::ConstBytes piece);

  io::File& file_;
  std::uint64_t size_bytes_;
  Cutting cutting_;
  std::function<void(io::ConstBytes)> look_;
  std::optional<ChunkCutter> cutter_;
  std::vector<std::byte> pending_;  ///< read and not given out, behind `taken_bytes_`
  std::size_t taken_bytes_ = 0;
  std::uint64_t read_bytes_ = 0;
  std::uint64_t cut_bytes_ = 0;
  std::uint64_t given_bytes_ = 0;
  std::deque<Piece> slices_;
  std::vector<Cut> cuts_;
};

}  // namespace slotkeeper::bundle
