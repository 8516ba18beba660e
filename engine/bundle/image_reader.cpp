// The chunks of one image: frame read, hashed, only then decompressed, hashed again.
#include <algorithm>

#include "engine/bundle/bundle.hpp"
#include "engine/bundle/frame_codec.hpp"

namespace slotkeeper::bundle {

/// Points into the verified manifest's own state, which stays where it is when the VerifiedManifest is moved.
struct ImageReader::State {
  Source& source;
  const Member& member;  ///< the frames
  bool is_last;          ///< member of the container
  const std::vector<ChunkRow>& rows;
  std::uint64_t frame_offset;  ///< of the next frame, in the bundle
  std::size_t row = 0;         ///< of the next chunk
  std::uint64_t offset = 0;    ///< of the next chunk, in the image
  FrameDecoder decoder{};
  std::vector<std::byte> frame{};
  std::vector<std::byte> plain{};
  bool begun = false;
  bool ended = false;

  Result<void> begin();
  Result<void> end();
  void step_over(const ChunkRow& passed) {
    offset += passed.plain_bytes;
    frame_offset += passed.stored_bytes;
    ++row;
  }
  [[nodiscard]] std::string where() const {
    return source.name() + ": chunk " + std::to_string(row) + " at offset " + std::to_string(offset) + " of the image";
  }
  Result<io::ConstBytes> unpack(const ChunkRow& wanted);
};

Result<void> ImageReader::State::begin() {
  // Only now: another reader may have been in use since this one was made.
  begun = true;
  std::vector<ByteRange> wanted;
  std::uint64_t position = frame_offset;
  for (std::size_t i = row; i < rows.size(); position += rows[i++].stored_bytes) {
    if (rows[i].stored_bytes == 0) continue;
    if (wanted.empty() || wanted.back().end != position) wanted.push_back({position, position});
    wanted.back().end += rows[i].stored_bytes;
  }
  source.expect(std::move(wanted));
  if (source.size_bytes() || row != 0) return success();
  const std::uint64_t header = member.offset - member_header(member.name, member.size_bytes).size();
  SK_TRY(expect_member(source, header, member.name, member.size_bytes));
  return success();
}

Result<void> ImageReader::State::end() {
  ended = true;
  if (source.size_bytes()) return success();
  SK_TRY(check_padding(source, member));
  return is_last ? check_end(source, member.padded_end()) : success();
}

Result<io::ConstBytes> ImageReader::State::unpack(const ChunkRow& wanted) {
  const auto stored = io::Bytes(frame).first(wanted.stored_bytes);
  SK_TRY(read_exactly(source, frame_offset, stored));
  if (sha256(stored) != wanted.stored_digest) {
    return make_error(Errc::corrupt, "the bundle's bytes do not match the signed index");
  }
  const auto unpacked = io::Bytes(plain).first(static_cast<std::size_t>(wanted.plain_bytes));
  SK_TRY(decoder.decode(stored, unpacked));
  if (sha256(unpacked) != wanted.plain_digest) {
    return make_error(Errc::corrupt, "the decompressed bytes do not match the signed index");
  }
  return io::ConstBytes(unpacked);
}

ImageReader::ImageReader(const VerifiedManifest& manifest, std::size_t image, std::size_t first_chunk)
    : state_(new State{.source = manifest.source(),
                       .member = manifest.frames(image),
                       .is_last = image + 1 == manifest.manifest().images.size(),
                       .rows = manifest.index(image).rows,
                       .frame_offset = manifest.frames_offset(image)}) {
  SK_INVARIANT(first_chunk <= state_->rows.size());
  // The index's parser has bounded every length: these buffers are one frame and one chunk at most.
  std::uint32_t frame_bytes_max = 0;
  std::uint64_t plain_bytes_max = 0;
  for (const auto& row : state_->rows) {
    frame_bytes_max = std::max(frame_bytes_max, row.stored_bytes);
    if ((row.flags & chunk_flag::kZeroRun) == 0) plain_bytes_max = std::max(plain_bytes_max, row.plain_bytes);
  }
  SK_INVARIANT(frame_bytes_max <= kFrameMaxBytes && plain_bytes_max <= kChunkMaxBytes);
  state_->frame.resize(frame_bytes_max);
  state_->plain.resize(static_cast<std::size_t>(plain_bytes_max));
  while (state_->row < first_chunk) state_->step_over(state_->rows[state_->row]);
}
ImageReader::ImageReader(ImageReader&&) noexcept = default;
ImageReader::~ImageReader() = default;

Result<std::optional<Chunk>> ImageReader::next() {
  State& state = *state_;
  if (!state.begun) SK_TRY(with_context(state.begin(), state.source.name()));
  if (state.row == state.rows.size()) {
    if (!state.ended) SK_TRY(with_context(state.end(), state.source.name()));
    return std::optional<Chunk>{};
  }
  const ChunkRow& row = state.rows[state.row];
  Chunk chunk{.number = state.row, .offset = state.offset, .plain_bytes = row.plain_bytes, .zeros = false, .data = {}};
  if ((row.flags & chunk_flag::kZeroRun) != 0) {
    chunk.zeros = true;
  } else {
    SK_TRY_ASSIGN(chunk.data, with_context(state.unpack(row), state.where()));
  }
  state.step_over(row);
  return std::optional{chunk};
}

}  // namespace slotkeeper::bundle
