#include "engine/bundle/frame_codec.hpp"

#include <string>
#include <zstd.h>

namespace slotkeeper::bundle {
namespace {

/// The largest window (binary logarithm) that a frame may ask for. We unpack in one go and need no window; the limit
/// keeps every frame readable for tools that stream.
constexpr unsigned int kWindowLogMax = 23;

/// RFC 8878, 3.1.1.1: the descriptor follows the magic number; without a single segment a window descriptor comes next.
bool window_is_small(io::ConstBytes frame) {
  constexpr std::byte kSingleSegment{0x20};
  if (frame.size() < 6) return false;
  if ((frame[4] & kSingleSegment) != std::byte{0}) return true;  // the window is the content, whose length is checked
  const unsigned int exponent = 10 + (std::to_integer<unsigned int>(frame[5]) >> 3);
  const bool has_mantissa = (frame[5] & std::byte{7}) != std::byte{0};
  return exponent < kWindowLogMax || (exponent == kWindowLogMax && !has_mantissa);
}

}  // namespace

struct FrameEncoder::State {
  ZSTD_CCtx* context = ZSTD_createCCtx();
  State() = default;
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() { ZSTD_freeCCtx(context); }
};

FrameEncoder::FrameEncoder(int level) : state_(std::make_unique<State>()) {
  SK_INVARIANT(state_->context != nullptr);
  SK_INVARIANT(!ZSTD_isError(ZSTD_CCtx_setParameter(state_->context, ZSTD_c_compressionLevel, level)));
  SK_INVARIANT(!ZSTD_isError(ZSTD_CCtx_setParameter(state_->context, ZSTD_c_contentSizeFlag, 1)));
}
FrameEncoder::FrameEncoder(FrameEncoder&&) noexcept = default;
FrameEncoder::~FrameEncoder() = default;

Result<std::vector<std::byte>> FrameEncoder::encode(io::ConstBytes plain, io::ConstBytes prefix) {
  // For the next frame only; zstd widens the window so that all of it is in reach.
  SK_INVARIANT(!ZSTD_isError(ZSTD_CCtx_refPrefix(state_->context, prefix.data(), prefix.size())));
  std::vector<std::byte> frame(ZSTD_compressBound(plain.size()));
  const std::size_t size = ZSTD_compress2(state_->context, frame.data(), frame.size(), plain.data(), plain.size());
  if (ZSTD_isError(size)) {
    return make_error(Errc::internal, std::string("a chunk could not be compressed: ") + ZSTD_getErrorName(size));
  }
  frame.resize(size);
  return frame;
}

struct FrameDecoder::State {
  ZSTD_DCtx* context = ZSTD_createDCtx();
  State() = default;
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() { ZSTD_freeDCtx(context); }
};

FrameDecoder::FrameDecoder() : state_(std::make_unique<State>()) { SK_INVARIANT(state_->context != nullptr); }
FrameDecoder::FrameDecoder(FrameDecoder&&) noexcept = default;
FrameDecoder::~FrameDecoder() = default;

Result<void> FrameDecoder::decode(io::ConstBytes frame, io::Bytes plain, io::ConstBytes prefix) {
  if (ZSTD_getFrameContentSize(frame.data(), frame.size()) != plain.size() ||
      ZSTD_getDictID_fromFrame(frame.data(), frame.size()) != 0 ||
      ZSTD_findFrameCompressedSize(frame.data(), frame.size()) != frame.size() || !window_is_small(frame)) {
    return make_error(Errc::corrupt, "a frame does not hold what the chunk index says");
  }
  const std::size_t referred = ZSTD_DCtx_refPrefix(state_->context, prefix.data(), prefix.size());
  if (ZSTD_isError(referred)) {
    return make_error(Errc::internal, std::string("a prefix cannot be used: ") + ZSTD_getErrorName(referred));
  }
  // The output buffer bounds what is decompressed, whatever the frame claims.
  const std::size_t size = ZSTD_decompressDCtx(state_->context, plain.data(), plain.size(), frame.data(), frame.size());
  if (ZSTD_isError(size)) {
    return make_error(Errc::corrupt, std::string("a frame cannot be decompressed: ") + ZSTD_getErrorName(size));
  }
  if (size != plain.size()) return make_error(Errc::corrupt, "a frame is shorter than the chunk index says");
  return success();
}

}  // namespace slotkeeper::bundle
