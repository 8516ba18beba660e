// One chunk, one zstd frame: the one door to zstd for bundles.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "partitions/io/result.hpp"
#include "partitions/io/types.hpp"

namespace slotkeeper::bundle {

/// Compresses chunks, each into a frame of its own that carries its content size. Reuses its working memory; one per
/// thread.
class FrameEncoder {
 public:
  explicit FrameEncoder(int level);
  FrameEncoder(FrameEncoder&&) noexcept;
  ~FrameEncoder();
  /// `prefix`: bytes that the frame may refer to as if they came before it; it can be decoded with the same ones only.
  [[nodiscard]] Result<std::vector<std::byte>> encode(io::ConstBytes plain, io::ConstBytes prefix = {});

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Decompresses frames whose hash was checked before.
class FrameDecoder {
 public:
  FrameDecoder();
  FrameDecoder(FrameDecoder&&) noexcept;
  ~FrameDecoder();
  /// Fills `plain` exactly; `prefix` as it was encoded with. Errors: corrupt (another size, a dictionary, a window
  /// above 8 MiB, bytes behind the frame, damaged).
  [[nodiscard]] Result<void> decode(io::ConstBytes frame, io::Bytes plain, io::ConstBytes prefix = {});

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace slotkeeper::bundle
