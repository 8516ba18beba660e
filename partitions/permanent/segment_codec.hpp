// Compressing log segments: the one door to zstd for the permanent partition. What it makes `zstdcat` reads.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "partitions/io/result.hpp"
#include "partitions/io/types.hpp"

namespace slotkeeper::permanent {

/// Level and window of every frame. Level 6: logs are read seldom and lie for months, and at this level the read-back
/// that follows costs little beside the compression. Window 1 MiB: neither side needs more memory than a small device
/// has.
inline constexpr int kSegmentLevel = 6;
inline constexpr int kSegmentWindowLog = 20;

using SegmentOutput = std::function<Result<void>(io::ConstBytes)>;
/// Fills its argument; fewer bytes only at the end.
using SegmentInput = std::function<Result<std::size_t>(io::Bytes)>;

/// Makes zstd frames with content size and checksum. Reuses its working memory.
class SegmentEncoder {
 public:
  /// With more than one worker it compresses in that many threads, where libzstd can.
  explicit SegmentEncoder(unsigned int workers);
  SegmentEncoder(SegmentEncoder&&) noexcept;
  ~SegmentEncoder();

  /// One frame of exactly `plain_bytes` that `add` brings in pieces. `finish` ends it; internal when they are not as
  /// many. After an error `begin` starts over. Errors: those of `output`.
  void begin(std::uint64_t plain_bytes);
  [[nodiscard]] Result<void> add(io::ConstBytes plain, const SegmentOutput& output);
  [[nodiscard]] Result<void> finish(const SegmentOutput& output);

  /// One frame of a piece in memory.
  [[nodiscard]] Result<std::vector<std::byte>> encode(io::ConstBytes plain);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Unpacks everything that `input` gives: one frame or several, one after the other.
/// Errors: corrupt (no frame, damaged, cut off, a window above 8 MiB), those of `input` and `output`.
[[nodiscard]] Result<void> decode_segment(const SegmentInput& input, const SegmentOutput& output);

/// At most this long is a frame of `plain_bytes` bytes.
[[nodiscard]] std::size_t frame_bound(std::size_t plain_bytes);

/// Whether contents that begin like this are compressed already (zstd, gzip, xz, bzip2, lz4).
[[nodiscard]] bool looks_compressed(io::ConstBytes beginning);

}  // namespace slotkeeper::permanent
