#include "engine/bundle/bundle_writer.hpp"

#include <algorithm>
#include <cerrno>
#include <deque>
#include <functional>
#include <optional>
#include <thread>

#include "engine/bundle/bundle.hpp"
#include "engine/bundle/chunk_cutter.hpp"
#include "engine/bundle/chunk_index.hpp"
#include "engine/bundle/container.hpp"
#include "engine/bundle/frame_codec.hpp"
#include "partitions/io/aligned_buffer.hpp"

namespace slotkeeper::bundle {
namespace {

constexpr std::uint32_t kCutAverageMinBytes = 8 * 1024;
/// So many chunks of the average length at most, so that the index of any image stays small; never more than twice as
/// many are cut.
constexpr std::uint64_t kChunksWanted = 32768;
/// So much is packed on all cores before more is read; at least so many chunks.
constexpr std::size_t kBytesAtOnce = std::size_t{1} << 20U;
constexpr std::size_t kChunksAtOnce = 8;
constexpr std::size_t kCopyBytes = 1 << 20;
constexpr std::uint64_t kSectorBytes = 512;

/// How an image is cut. The average chunk grows with the image.
struct Cutting {
  std::uint32_t fixed_bytes = 0;    ///< every so many bytes; 0: by content
  std::uint32_t average_bytes = 0;  ///< by content
};
Cutting cutting_for(std::uint64_t image_bytes, std::uint32_t wanted_bytes) {
  if (wanted_bytes != 0) return {.fixed_bytes = wanted_bytes, .average_bytes = 0};
  std::uint64_t average = kCutAverageMinBytes;
  while (average <= kCutAverageMaxBytes && image_bytes / average > kChunksWanted) average *= 2;
  if (average > kCutAverageMaxBytes) return {.fixed_bytes = kChunkMaxBytes, .average_bytes = 0};
  return {.fixed_bytes = 0, .average_bytes = static_cast<std::uint32_t>(average)};
}

/// A file that disappears unless it is kept.
class TemporaryFile {
 public:
  TemporaryFile(io::Directory& folder, std::string name) : folder_(folder), name_(std::move(name)) {}
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() {
    if (!file_ || kept_) return;
    auto removed = folder_.remove_file(name_);
    static_cast<void>(removed.has_value());  // a leftover under a temporary name harms nobody
  }

  Result<void> create() {
    // What a run that was killed left behind has the same name.
    auto removed = folder_.remove_file(name_);
    if (!removed.has_value() && removed.assume_error().os_errno != ENOENT) return removed;
    SK_TRY_ASSIGN(file_, folder_.open_file(name_, io::OpenMode::create_new(0644)));
    return success();
  }
  Result<void> append(io::ConstBytes data) {
    SK_TRY(file_->write_at(size_, data));
    size_ += data.size();
    return success();
  }
  Result<void> keep_as(const std::string& name) {
    SK_TRY(file_->sync());
    SK_TRY(file_->close());
    auto renamed = folder_.rename(name_, name, io::RenameKind::no_replace);
    if (!renamed.has_value() && renamed.assume_error().os_errno == EEXIST) {
      return std::move(renamed).assume_error().with_code(Errc::config);  // somebody made it meanwhile
    }
    SK_TRY(std::move(renamed));
    kept_ = true;
    return folder_.sync();
  }
  [[nodiscard]] io::File& file() { return *file_; }
  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] std::uint64_t size() const { return size_; }

 private:
  io::Directory& folder_;
  std::string name_;
  std::unique_ptr<io::File> file_;
  std::uint64_t size_ = 0;
  bool kept_ = false;
};

struct PackedChunk {
  bool is_first = false;  ///< of its image
  std::vector<std::byte> plain;
  ChunkRow row;
  std::vector<std::byte> frame;
  std::optional<Error> failed;
};

void pack(PackedChunk& chunk, FrameEncoder& encoder) {
  chunk.row.plain_bytes = chunk.plain.size();
  // The first chunk always has a frame, so that no member is empty, which zstd would not take for its own.
  if (!chunk.is_first && io::is_all_zero(chunk.plain)) {
    chunk.row.lookup = 0;
    chunk.row.flags = chunk_flag::kZeroRun;
    return;
  }
  chunk.row.plain_digest = sha256(chunk.plain);
  auto frame = encoder.encode(chunk.plain);
  if (!frame.has_value()) {
    chunk.failed = std::move(frame).assume_error();
    return;
  }
  chunk.frame = std::move(frame).assume_value();
  chunk.row.stored_bytes = static_cast<std::uint32_t>(chunk.frame.size());
  chunk.row.stored_digest = sha256(chunk.frame);
}

/// Packs a batch on all cores. Each chunk is a frame of its own, so the result does not depend on their number.
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

/// Reads an image front to back, once, and hands out its chunks.
class ImageSlicer {
 public:
  /// `look` is shown every byte, in order.
  ImageSlicer(io::File& file, std::uint64_t size_bytes, Cutting cutting, std::function<void(io::ConstBytes)> look)
      : file_(file), size_bytes_(size_bytes), cutting_(cutting), look_(std::move(look)) {
    if (cutting.average_bytes != 0) cutter_.emplace(cutting.average_bytes);
  }

  /// Nothing after the last one.
  Result<std::optional<PackedChunk>> next() {
    while (slices_.empty() && read_bytes_ < size_bytes_) SK_TRY(read_piece());
    if (slices_.empty()) return std::optional<PackedChunk>{};
    PackedChunk chunk;
    chunk.is_first = given_bytes_ == 0;
    const Slice slice = slices_.front();
    slices_.pop_front();
    const auto begin = pending_.begin() + static_cast<std::ptrdiff_t>(taken_bytes_);
    chunk.plain.assign(begin, begin + static_cast<std::ptrdiff_t>(slice.bytes));
    chunk.row.lookup = slice.lookup;
    // Zeros at the beginning become a frame, which can be looked up.
    if (chunk.is_first && slice.lookup == 0) chunk.row.lookup = lookup_of(chunk.plain);
    taken_bytes_ += slice.bytes;
    given_bytes_ += slice.bytes;
    return std::optional(std::move(chunk));
  }

 private:
  struct Slice {
    std::size_t bytes;
    std::uint64_t lookup;
  };

  [[nodiscard]] static std::uint64_t lookup_of(io::ConstBytes chunk) {
    std::vector<std::uint64_t> hashes;
    for (; !chunk.empty(); chunk = chunk.subspan(std::min<std::size_t>(chunk.size(), kHashBlockBytes))) {
      hashes.push_back(fast_hash(chunk.first(std::min<std::size_t>(chunk.size(), kHashBlockBytes))));
    }
    return lookup_hash(hashes);
  }

  Result<void> read_piece() {
    pending_.erase(pending_.begin(), pending_.begin() + static_cast<std::ptrdiff_t>(taken_bytes_));
    taken_bytes_ = 0;
    const std::size_t before = pending_.size();
    const std::uint64_t wanted = cutter_ ? kPieceBytes : cutting_.fixed_bytes;
    pending_.resize(before + static_cast<std::size_t>(std::min(wanted, size_bytes_ - read_bytes_)));
    const io::Bytes piece = io::Bytes(pending_).subspan(before);
    SK_TRY(file_.read_exactly_at(read_bytes_, piece));
    look_(piece);
    if (cutter_) {
      cut(piece);
    } else {
      slices_.push_back({piece.size(), read_bytes_ % kHashBlockBytes == 0 ? lookup_of(piece) : 0});
    }
    read_bytes_ += piece.size();
    return success();
  }

  void cut(io::ConstBytes piece) {
    cuts_.clear();
    const bool is_last = read_bytes_ + piece.size() == size_bytes_;
    while (!piece.empty()) {
      const auto block = piece.first(std::min<std::size_t>(piece.size(), kHashBlockBytes));
      cutter_->add(hash_block(block), cuts_);
      piece = piece.subspan(block.size());
    }
    if (is_last) cutter_->finish(cuts_);
    for (const Cut& each : cuts_) {
      const std::uint64_t bytes = std::min(std::uint64_t{each.blocks} * kHashBlockBytes, size_bytes_ - cut_bytes_);
      slices_.push_back({static_cast<std::size_t>(bytes), each.lookup});
      cut_bytes_ += bytes;
    }
  }

  static constexpr std::uint64_t kPieceBytes = 1 << 20;
  static_assert(kPieceBytes % kHashBlockBytes == 0);

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
  std::deque<Slice> slices_;
  std::vector<Cut> cuts_;
};

class ImagePacker {
 public:
  ImagePacker(const CreateRequest& request, ProgressSink& progress, std::uint64_t total_bytes)
      : request_(request), progress_(progress), total_bytes_(total_bytes) {
    const unsigned cores = std::max(1u, std::thread::hardware_concurrency());
    for (unsigned i = 0; i < cores; ++i) encoders_.emplace_back(request.compression_level);
  }

  /// Streams one image through; its frames go to `frames`.
  Result<Image> pack_image(io::File& file, const std::string& volume, TemporaryFile& frames, ChunkIndex& index) {
    SK_TRY_ASSIGN(const auto size, file.size());
    const Cutting cutting = cutting_for(size, request_.chunk_bytes);
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
        SK_TRY_ASSIGN(auto chunk, slicer.next());
        is_last = !chunk.has_value();
        if (is_last) break;
        bytes += chunk->plain.size();
        batch.push_back(std::move(*chunk));
      }
      pack_all(batch, encoders_);
      for (auto& chunk : batch) {
        if (chunk.failed) return std::move(*chunk.failed);
        append_row(index, chunk.row);
        SK_TRY(frames.append(chunk.frame));
        done_bytes_ += chunk.plain.size();
      }
      progress_.progress(Phase::stage, done_bytes_, total_bytes_);
    }
    const auto bytes = print_chunk_index(index);
    return Image{.volume = volume,
                 .plain_bytes = size,
                 .stored_bytes = frames.size() - first,
                 .index_bytes = bytes.size(),
                 .index_digest = sha256(bytes),
                 .plain_digest = whole.finish(),
                 .pieces_digest = pieces.finish()};
  }

 private:
  const CreateRequest& request_;
  ProgressSink& progress_;
  std::uint64_t total_bytes_;
  std::uint64_t done_bytes_ = 0;
  std::vector<FrameEncoder> encoders_;
};

Error config_error(const std::string& message) { return make_error(Errc::config, message); }

struct OpenedImage {
  std::unique_ptr<io::File> file;
  std::uint64_t size_bytes = 0;
};

Result<std::vector<OpenedImage>> open_images(io::Storage& storage, const CreateRequest& request) {
  if (request.images.empty() || request.images.size() > kImagesMax) {
    return config_error("a bundle holds 1 to " + std::to_string(kImagesMax) + " images");
  }
  if (request.chunk_bytes != 0 && (request.chunk_bytes < kChunkMinBytes || request.chunk_bytes > kChunkMaxBytes)) {
    return config_error("chunks have " + std::to_string(kChunkMinBytes) + " to " + std::to_string(kChunkMaxBytes) +
                        " bytes");
  }
  std::vector<OpenedImage> opened;
  for (const auto& image : request.images) {
    if (!is_plain_name(image.volume)) return config_error("'" + image.volume + "' is not a volume's name");
    auto file = storage.open_file(image.path, {.follow_symlink = true});
    if (!file.has_value()) {
      return std::move(file).assume_error().with_code(Errc::config).with_context("image for volume " + image.volume);
    }
    SK_TRY_ASSIGN(const auto size, file.assume_value()->size());
    if (size == 0 || size % kSectorBytes != 0 || size > kImageMaxBytes) {
      return config_error(image.path + " has " + std::to_string(size) +
                          " bytes; an image has at least one sector and whole sectors of 512 bytes");
    }
    opened.push_back({.file = std::move(file).assume_value(), .size_bytes = size});
  }
  return opened;
}

/// The description of the bundle with what is known of its images before they are packed.
Result<Manifest> describe(const CreateRequest& request, const std::vector<OpenedImage>& images) {
  Manifest manifest = request.description;
  manifest.images.clear();
  for (std::size_t i = 0; i < images.size(); ++i) {
    const std::string& volume = request.images[i].volume;
    if (manifest.find(volume) != nullptr) return config_error("volume '" + volume + "' has two images");
    Image image;
    image.volume = volume;
    image.plain_bytes = images[i].size_bytes;
    image.index_bytes = 1;  // any number in its limits
    manifest.images.push_back(std::move(image));
  }
  return manifest;
}

/// What devices would refuse is not written.
Result<void> check_manifest(const std::string& text) {
  auto parsed = parse_manifest(text);
  if (parsed.has_value()) return success();
  return std::move(parsed).assume_error().with_code(Errc::config).with_context("devices would refuse this bundle");
}

/// Opens what was written as a device will, so that a bundle that cannot be read never gets its name.
Result<void> check_written(io::Storage& storage, const std::string& path, const CreatedBundle& created) {
  SK_TRY_ASSIGN(auto source, open_file_source(storage, path));
  SK_TRY_ASSIGN(auto bundle, open_bundle(std::move(source)));
  SK_TRY_ASSIGN(const auto found, inspect_bundle_contents(bundle));
  if (found.digest == created.digest && found.size_bytes == created.size_bytes) return success();
  return make_error(Errc::readback_mismatch, path + " does not hold what was written");
}

Result<void> copy_frames(TemporaryFile& frames, std::uint64_t offset, std::uint64_t length, ContainerWriter& writer) {
  std::vector<std::byte> buffer(kCopyBytes);
  while (length > 0) {
    const auto part = io::Bytes(buffer).first(std::min<std::uint64_t>(buffer.size(), length));
    SK_TRY(frames.file().read_exactly_at(offset, part));
    SK_TRY(writer.write(part));
    offset += part.size();
    length -= part.size();
  }
  return success();
}

Result<void> write_member(ContainerWriter& writer, const std::string& name, io::ConstBytes data) {
  SK_TRY(writer.begin_member(name, data.size()));
  return writer.write(data);
}

Result<void> write_container(TemporaryFile& output, const Manifest& manifest, const std::string& text,
                             const std::string& signature, const std::vector<ChunkIndex>& indexes,
                             TemporaryFile& frames) {
  ContainerWriter writer([&](io::ConstBytes data) { return output.append(data); });
  SK_TRY(write_member(writer, "manifest.json", io::as_bytes(text)));
  SK_TRY(write_member(writer, "manifest.cms", io::as_bytes(signature)));
  for (std::size_t i = 0; i < indexes.size(); ++i) {
    SK_TRY(write_member(writer, "index/" + manifest.images[i].volume, print_chunk_index(indexes[i])));
  }
  std::uint64_t offset = 0;
  for (const auto& image : manifest.images) {
    SK_TRY(writer.begin_member("image/" + image.volume + ".zst", image.stored_bytes));
    SK_TRY(copy_frames(frames, offset, image.stored_bytes, writer));
    offset += image.stored_bytes;
  }
  return writer.finish();
}

struct OutputPlace {
  std::string folder;
  std::string name;
};

OutputPlace split_path(const std::string& path) {
  const auto slash = path.rfind('/');
  if (slash == std::string::npos) return {".", path};
  return {slash == 0 ? "/" : path.substr(0, slash), path.substr(slash + 1)};
}

}  // namespace

Result<CreatedBundle> create_bundle(io::Storage& storage, const CreateRequest& request, ProgressSink& progress) {
  const OutputPlace place = split_path(request.output_path);
  if (place.name.empty()) return config_error("the output must be a file's name");
  SK_TRY_ASSIGN(auto images, open_images(storage, request));
  auto folder_opened = storage.open_directory(place.folder);
  if (!folder_opened.has_value()) return std::move(folder_opened).assume_error().with_code(Errc::config);
  const auto folder = std::move(folder_opened).assume_value();
  if (folder->status_of(place.name).has_value()) {
    return config_error(request.output_path + " exists already; it is not overwritten");
  }
  CreatedBundle created;
  SK_TRY_ASSIGN(created.manifest, describe(request, images));
  // Both are tried first: a wrong version or key should not cost the time of packing.
  SK_TRY(check_manifest(print_manifest(created.manifest)));
  SK_TRY(with_context(sign_manifest("{}", request.identity), "signer"));

  std::uint64_t total = 0;
  for (const auto& image : images) total += image.size_bytes;
  TemporaryFile frames(*folder, "." + place.name + ".frames.tmp");
  SK_TRY(frames.create());
  ImagePacker packer(request, progress, total);
  std::vector<ChunkIndex> indexes(images.size());
  for (std::size_t i = 0; i < images.size(); ++i) {
    SK_TRY_ASSIGN(created.manifest.images[i],
                  packer.pack_image(*images[i].file, request.images[i].volume, frames, indexes[i]));
  }
  const std::string text = print_manifest(created.manifest);
  SK_TRY(check_manifest(text));
  created.digest = sha256(io::as_bytes(text));
  SK_TRY_ASSIGN(const auto signature, sign_manifest(text, request.identity));

  TemporaryFile output(*folder, "." + place.name + ".tmp");
  SK_TRY(output.create());
  SK_TRY(write_container(output, created.manifest, text, signature, indexes, frames));
  created.size_bytes = output.size();
  SK_TRY(check_written(storage, place.folder + "/" + output.name(), created));
  SK_TRY(output.keep_as(place.name));
  return created;
}

}  // namespace slotkeeper::bundle
