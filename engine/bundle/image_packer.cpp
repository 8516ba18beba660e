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
  ChunkRow row;
  std::vector<std::byte> frame;
  std::optional<Error> failed;
};

void pack(PackedChunk& chunk, FrameEncoder& encoder) {
  const io::ConstBytes plain = chunk.slice.plain;
  chunk.row.plain_bytes = plain.size();
  // The first chunk always has a frame, so that no member is empty, which zstd would not take for its own.
  if (!chunk.slice.is_first && io::is_all_zero(plain)) {
    chunk.row.flags = chunk_flag::kZeroRun;
    return;
  }
  chunk.row.lookup = chunk.slice.lookup;
  chunk.row.plain_digest = sha256(plain);
  auto frame = encoder.encode(plain);
  if (!frame.has_value()) {
    chunk.failed = std::move(frame).assume_error();
    return;
  }
  chunk.frame = std::move(frame).assume_value();
  chunk.row.stored_bytes = static_cast<std::uint32_t>(chunk.frame.size());
  chunk.row.stored_digest = sha256(chunk.frame);
}

/// Each chunk is a frame of its own, so the result does not depend on the number of encoders.
void pack_all(std::vector<PackedChunk>& batch, std::vector<FrameEncoder>& encoders) {
  std::vector<std::jthread> workers;
  for (std::size_t worker = 1; worker < encoders.size(); ++worker) {
    workers.emplace_back([&, worker] {
      for (std::size_t i = worker; i < batch.size(); i += encoders.size()) pack(batch[i], encoders[worker]);
    });
  }
  for (std::size_t i = 0; i < batch.size(); i += encoders.size()) pack(batch[i], encoders[0]);
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

ImagePacker::ImagePacker(const Settings& settings, ProgressSink& progress) : settings_(settings), progress_(progress) {
  const unsigned cores = std::max(1u, std::thread::hardware_concurrency());
  for (unsigned i = 0; i < cores; ++i) encoders_.emplace_back(settings.compression_level);
}

Result<Image> ImagePacker::pack_image(io::File& file, const std::string& volume, TemporaryFile& frames,
                                      ChunkIndex& index) {
  SK_TRY_ASSIGN(const auto size, file.size());
  const Cutting cutting = cutting_for(size, settings_.chunk_bytes);
  index.cut_average_bytes = cutting.average_bytes;
  Sha256Stream whole;
  PiecesStream pieces;
  const std::uint64_t first = frames.size();
  ImageSlicer slicer(file, size, cutting, [&](io::ConstBytes bytes) {
    whole.update(bytes);
    pieces.update(bytes);
  });
  for (bool is_last = false; !is_last;) {
    SK_TRY(progress_.check_cancelled());
    std::vector<PackedChunk> batch;
    for (std::size_t bytes = 0; bytes < kBytesAtOnce || batch.size() < kChunksAtOnce;) {
      SK_TRY_ASSIGN(auto slice, slicer.next());
      is_last = !slice.has_value();
      if (is_last) break;
      bytes += slice->plain.size();
      batch.emplace_back().slice = std::move(*slice);
    }
    pack_all(batch, encoders_);
    for (auto& chunk : batch) {
      if (chunk.failed) return std::move(*chunk.failed);
      append_row(index, chunk.row);
      SK_TRY(frames.append(chunk.frame));
      done_bytes_ += chunk.slice.plain.size();
    }
    progress_.progress(Phase::stage, done_bytes_, settings_.total_bytes);
  }
  const auto bytes = print_chunk_index(index);
  Image image;
  image.volume = volume;
  image.plain_bytes = size;
  image.stored_bytes = frames.size() - first;
  image.index_bytes = bytes.size();
  image.index_digest = sha256(bytes);
  image.plain_digest = whole.finish();
  image.pieces_digest = pieces.finish();
  return image;
}

}  // namespace slotkeeper::bundle
