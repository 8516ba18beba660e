#include "partitions/permanent/segment_codec.hpp"

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <zstd.h>

namespace slotkeeper::permanent {
namespace {

constexpr int kDecoderWindowLogMax = 23;
constexpr std::size_t kPieceBytes = std::size_t{128} * 1024;
/// Of one job of a worker. Each worker holds a few of them; the default would be 8 MiB.
constexpr int kJobBytes = 1 << 20;

Error refused(std::string_view what, std::size_t code, Errc errc) {
  return make_error(errc, std::string(what) + ": " + ZSTD_getErrorName(code));
}

}  // namespace

struct SegmentEncoder::State {
  explicit State(unsigned int workers) : output(kPieceBytes) {
    SK_INVARIANT(context != nullptr);
    set(ZSTD_c_compressionLevel, kSegmentLevel);
    set(ZSTD_c_windowLog, kSegmentWindowLog);
    set(ZSTD_c_checksumFlag, 1);
    if (workers < 2) return;
    // A libzstd without threads refuses this, and compresses in ours.
    if (ZSTD_isError(ZSTD_CCtx_setParameter(context, ZSTD_c_nbWorkers, static_cast<int>(workers)))) return;
    set(ZSTD_c_jobSize, kJobBytes);
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() { ZSTD_freeCCtx(context); }

  void set(ZSTD_cParameter parameter, int value) const {
    SK_INVARIANT(!ZSTD_isError(ZSTD_CCtx_setParameter(context, parameter, value)));
  }

  Result<void> run(io::ConstBytes plain, ZSTD_EndDirective directive, const SegmentOutput& give) {
    ZSTD_inBuffer in{.src = plain.data(), .size = plain.size(), .pos = 0};
    for (;;) {
      ZSTD_outBuffer out{.dst = output.data(), .size = output.size(), .pos = 0};
      const std::size_t left = ZSTD_compressStream2(context, &out, &in, directive);
      if (ZSTD_isError(left)) return refused("a segment could not be compressed", left, Errc::internal);
      if (out.pos != 0) SK_TRY(give(io::ConstBytes(output.data(), out.pos)));
      if (directive == ZSTD_e_end ? left == 0 : in.pos == in.size) return success();
    }
  }

  ZSTD_CCtx* context = ZSTD_createCCtx();
  std::vector<std::byte> output;
};

SegmentEncoder::SegmentEncoder(unsigned int workers) : state_(std::make_unique<State>(workers)) {}
SegmentEncoder::SegmentEncoder(SegmentEncoder&&) noexcept = default;
SegmentEncoder::~SegmentEncoder() = default;

void SegmentEncoder::begin(std::uint64_t plain_bytes) {
  SK_INVARIANT(!ZSTD_isError(ZSTD_CCtx_reset(state_->context, ZSTD_reset_session_only)));
  SK_INVARIANT(!ZSTD_isError(ZSTD_CCtx_setPledgedSrcSize(state_->context, plain_bytes)));
}

Result<void> SegmentEncoder::add(io::ConstBytes plain, const SegmentOutput& output) {
  return state_->run(plain, ZSTD_e_continue, output);
}

Result<void> SegmentEncoder::finish(const SegmentOutput& output) { return state_->run({}, ZSTD_e_end, output); }

Result<std::vector<std::byte>> SegmentEncoder::encode(io::ConstBytes plain) {
  SK_INVARIANT(!ZSTD_isError(ZSTD_CCtx_reset(state_->context, ZSTD_reset_session_only)));
  std::vector<std::byte> frame(ZSTD_compressBound(plain.size()));
  const std::size_t size = ZSTD_compress2(state_->context, frame.data(), frame.size(), plain.data(), plain.size());
  if (ZSTD_isError(size)) return refused("a piece of a segment could not be compressed", size, Errc::internal);
  frame.resize(size);
  return frame;
}

Result<void> decode_segment(const SegmentInput& input, const SegmentOutput& output) {
  const std::unique_ptr<ZSTD_DCtx, std::size_t (*)(ZSTD_DCtx*)> context(ZSTD_createDCtx(), ZSTD_freeDCtx);
  SK_INVARIANT(context != nullptr);
  SK_INVARIANT(!ZSTD_isError(ZSTD_DCtx_setParameter(context.get(), ZSTD_d_windowLogMax, kDecoderWindowLogMax)));
  std::vector<std::byte> stored(kPieceBytes);
  std::vector<std::byte> plain(kPieceBytes);
  std::size_t missing = 1;  // not 0: inside a frame, or before the first one
  for (;;) {
    SK_TRY_ASSIGN(const std::size_t count, input(stored));
    ZSTD_inBuffer in{.src = stored.data(), .size = count, .pos = 0};
    for (bool more = true; more;) {
      ZSTD_outBuffer out{.dst = plain.data(), .size = plain.size(), .pos = 0};
      if (in.pos == in.size && missing == 0) break;
      missing = ZSTD_decompressStream(context.get(), &out, &in);
      if (ZSTD_isError(missing)) return refused("a segment cannot be decompressed", missing, Errc::corrupt);
      if (out.pos != 0) SK_TRY(output(io::ConstBytes(plain.data(), out.pos)));
      more = in.pos < in.size || out.pos == out.size;
    }
    if (count < stored.size()) break;
  }
  if (missing != 0) return make_error(Errc::corrupt, "a compressed segment is cut off");
  return success();
}

std::size_t frame_bound(std::size_t plain_bytes) { return ZSTD_compressBound(plain_bytes); }

bool looks_compressed(io::ConstBytes beginning) {
  using namespace std::string_view_literals;
  constexpr std::array<std::string_view, 5> kMagics = {"\x28\xb5\x2f\xfd"sv, "\x1f\x8b"sv,
                                                       "\xfd"
                                                       "7zXZ\0"sv,
                                                       "BZh"sv, "\x04\x22\x4d\x18"sv};
  const std::string_view text = io::as_text(beginning);
  return std::ranges::any_of(kMagics, [&](std::string_view magic) { return text.starts_with(magic); });
}

}  // namespace slotkeeper::permanent
