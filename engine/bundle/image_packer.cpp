#include "engine/bundle/image_packer.hpp"

#include <algorithm>
#include <optional>
#include <thread>

#include "engine/bundle/image_slicer.hpp"
#include "partitions/io/aligned_buffer.hpp"

namespace slotkeeper::bundle {
namespace {

/// So much is packed on all cores before more is read; at least so many chunks.
constexpr std::size_t kBytesAtOnce = std::size_t{1} << 20U;
constexpr std::size_t kChunksAtOnce = 8;

struct PackedChunk {
  Slice slice;
  std::uint64_t offset = 0;  ///< in the image
  ChunkRow row;
  std::vector<std::byte> frame;
  std::optional<Error> failed;
};

/// Of a delta whatever the level that was asked for: it is small, and its size is what it is made for.
constexpr int kDeltaLevel = 19;

/// Turns chunks into what is stored of them. One for each thread.
class ChunkPacker {
 public:
  ChunkPacker(int level, const ImagePacker::Input& input)
      : old_(input.old), encoder_(input.old == nullptr ? level : kDeltaLevel) {
    if (input.key.content_key) cipher_.emplace(input.key);
  }
  void pack(PackedChunk& chunk);

 private:
  /// Marks the row where the frame needs the old image.
  [[nodiscard]] Result<std::vector<std::byte>> store(io::ConstBytes plain, ChunkRow& row);

  const OldContents* old_;
  FrameEncoder encoder_;
  FrameDecoder decoder_;
  std::optional<FrameCipher> cipher_;
};

Result<std::vector<std::byte>> ChunkPacker::store(io::ConstBytes plain, ChunkRow& row) {
  if (old_ == nullptr) return encoder_.encode(plain);
  const auto parts = old_->find(plain);
  if (parts.empty()) return encoder_.encode(plain);
  SK_TRY_ASSIGN(const auto prefix, old_->read(parts));
  SK_TRY_ASSIGN(const auto frame, encoder_.encode(plain, prefix));
  // A prefix is used in few programs: what a device could not unpack is found here and not there.
  std::vector<std::byte> again(plain.size());
  SK_TRY(decoder_.decode(frame, again, prefix));
  if (!std::ranges::equal(again, plain)) return make_error(Errc::internal, "a delta does not decompress to its chunk");
  row.flags = chunk_flag::kOldImage;
  return print_delta_frame(parts, frame);
}

void ChunkPacker::pack(PackedChunk& chunk) {
  const io::ConstBytes plain = chunk.slice.plain;
  chunk.row.plain_bytes = plain.size();
  // The first chunk always has a frame, so that no member is empty, which zstd would not take for its own.
  if (!chunk.slice.is_first && io::is_all_zero(plain)) {
    chunk.row.flags = chunk_flag::kZeroRun;
    return;
  }
  chunk.row.lookup = chunk.slice.lookup;
  chunk.row.plain_digest = sha256(plain);
  auto stored = store(plain, chunk.row);
  if (!stored.has_value()) {
    chunk.failed = std::move(stored).assume_error();
    return;
  }
  chunk.frame = std::move(stored).assume_value();
  if (cipher_) {
    chunk.frame = cipher_->seal(chunk.offset, chunk.frame);
    chunk.row.flags |= chunk_flag::kEncrypted;
  }
  chunk.row.stored_bytes = static_cast<std::uint32_t>(chunk.frame.size());
  chunk.row.stored_digest = sha256(chunk.frame);
}

/// Each chunk is packed by itself, so the result does not depend on the number of packers.
void pack_all(std::vector<PackedChunk>& batch, std::vector<ChunkPacker>& packers) {
  std::vector<std::jthread> workers;
  for (std::size_t worker = 1; worker < packers.size(); ++worker) {
    workers.emplace_back([&, worker] {
      for (std::size_t i = worker; i < batch.size(); i += packers.size()) packers[worker].pack(batch[i]);
    });
  }
  for (std::size_t i = 0; i < batch.size(); i += packers.size()) packers[0].pack(batch[i]);
}

void append_row(ChunkIndex& index, const ChunkRow& row) {
  const bool zeros = (row.flags & chunk_flag::kZeroRun) != 0;
  if (zeros && !index.rows.empty() && (index.rows.back().flags & chunk_flag::kZeroRun) != 0) {
    index.rows.back().plain_bytes += row.plain_bytes;
    return;
  }
  index.rows.push_back(row);
}

}  // namespace

ImagePacker::ImagePacker(const Settings& settings, ProgressSink& progress)
    : settings_(settings), progress_(progress), threads_(std::max(1u, std::thread::hardware_concurrency())) {}

Result<Image> ImagePacker::pack_image(const Input& input, TemporaryFile& frames, std::vector<std::byte>& index) {
  SK_TRY_ASSIGN(const auto size, input.file.size());
  SK_INVARIANT(input.old == nullptr || size <= kDeltaImageMaxBytes);
  const Cutting cutting = input.old == nullptr ? cutting_for(size, settings_.chunk_bytes)
                                               : Cutting{.fixed_bytes = kDeltaChunkMaxBytes, .average_bytes = 0};
  std::vector<ChunkPacker> packers;
  for (unsigned i = 0; i < threads_; ++i) packers.emplace_back(settings_.compression_level, input);
  ChunkIndex rows;
  rows.cut_average_bytes = cutting.average_bytes;
  Sha256Stream whole;
  PiecesStream pieces;
  const std::uint64_t first = frames.size();
  ImageSlicer slicer(input.file, size, cutting, [&](io::ConstBytes bytes) {
    whole.update(bytes);
    pieces.update(bytes);
  });
  std::uint64_t offset = 0;
  for (bool is_last = false; !is_last;) {
    SK_TRY(progress_.check_cancelled());
    std::vector<PackedChunk> batch;
    for (std::size_t bytes = 0; bytes < kBytesAtOnce || batch.size() < kChunksAtOnce;) {
      SK_TRY_ASSIGN(auto slice, slicer.next());
      is_last = !slice.has_value();
      if (is_last) break;
      const std::size_t length = slice->plain.size();
      batch.emplace_back(
          PackedChunk{.slice = std::move(*slice), .offset = offset, .row = {}, .frame = {}, .failed = {}});
      bytes += length;
      offset += length;
    }
    pack_all(batch, packers);
    for (auto& chunk : batch) {
      if (chunk.failed) return std::move(*chunk.failed);
      append_row(rows, chunk.row);
      SK_TRY(frames.append(chunk.frame));
      done_bytes_ += chunk.slice.plain.size();
    }
    progress_.progress(Phase::stage, done_bytes_, settings_.total_bytes);
  }
  index = print_chunk_index(rows);
  if (input.key.content_key) index = FrameCipher(input.key).seal(kIndexPosition, index);
  Image image;
  image.volume = input.volume;
  image.plain_bytes = size;
  image.stored_bytes = frames.size() - first;
  image.index_bytes = index.size();
  image.index_digest = sha256(index);
  image.plain_digest = whole.finish();
  image.pieces_digest = pieces.finish();
  image.encrypted = input.key.content_key != nullptr;
  return image;
}

}  // namespace slotkeeper::bundle
