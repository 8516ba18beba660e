// The chunks of one image: frame read, hashed, only then decompressed, hashed again. The caller's thread reads the
// frames; with helpers it does so ahead, into a ring of places, and they unpack meanwhile.
#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "engine/bundle/bundle.hpp"
#include "engine/bundle/frame_codec.hpp"

namespace slotkeeper::bundle {
namespace {

/// What all places together may hold: memory is bounded whatever the length of the chunks.
constexpr std::uint64_t kRingMaxBytes = std::uint64_t{6} << 20U;
constexpr std::size_t kPlacesPerHelper = 8;

bool is_zero_run(const ChunkRow& row) { return (row.flags & chunk_flag::kZeroRun) != 0; }

/// The longest frame and chunk of an index; its parser has bounded every length.
struct Longest {
  std::uint32_t frame_bytes = 0;
  std::uint64_t plain_bytes = 0;
};
Longest longest_of(const std::vector<ChunkRow>& rows) {
  Longest longest;
  for (const auto& row : rows) {
    longest.frame_bytes = std::max(longest.frame_bytes, row.stored_bytes);
    if (!is_zero_run(row)) longest.plain_bytes = std::max(longest.plain_bytes, row.plain_bytes);
  }
  SK_INVARIANT(longest.frame_bytes <= kFrameMaxBytes && longest.plain_bytes <= kChunkMaxBytes);
  return longest;
}

/// A row, and where it lies.
struct Position {
  std::size_t row = 0;
  std::uint64_t frame_offset = 0;  ///< in the bundle
  std::uint64_t offset = 0;        ///< in the image

  void step_over(const ChunkRow& passed) {
    offset += passed.plain_bytes;
    frame_offset += passed.stored_bytes;
    ++row;
  }
};

/// Where one chunk is unpacked.
struct Place {
  Position position;
  std::vector<std::byte> frame;
  std::vector<std::byte> plain;
  Result<void> result = success();
  bool is_ready = false;

  explicit Place(const Longest& longest)
      : frame(longest.frame_bytes), plain(static_cast<std::size_t>(longest.plain_bytes)) {}
};

Result<void> unpack(const ChunkRow& wanted, Place& place, FrameDecoder& decoder) {
  const auto stored = io::ConstBytes(place.frame).first(wanted.stored_bytes);
  if (sha256(stored) != wanted.stored_digest) {
    return make_error(Errc::corrupt, "the bundle's bytes do not match the signed index");
  }
  const auto unpacked = io::Bytes(place.plain).first(static_cast<std::size_t>(wanted.plain_bytes));
  SK_TRY(decoder.decode(stored, unpacked));
  if (sha256(unpacked) != wanted.plain_digest) {
    return make_error(Errc::corrupt, "the decompressed bytes do not match the signed index");
  }
  return success();
}

}  // namespace

/// Points into the verified manifest's own state, which stays where it is when the VerifiedManifest is moved.
struct ImageReader::State {
  /// Which frames, of which container.
  struct Frames {
    Source& source;
    const Member& member;  ///< all of them, one after the other
    bool is_last;          ///< member of the container
    const std::vector<ChunkRow>& rows;
  };
  State(Frames frames, std::size_t first_chunk, Helpers helpers);
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State();

  Result<std::optional<Chunk>> next();

 private:
  [[nodiscard]] Result<void> begin();
  [[nodiscard]] Result<void> end();
  [[nodiscard]] bool can_read() const;
  [[nodiscard]] Result<void> read_next();
  [[nodiscard]] Result<void> unpack_here(Place& place);
  [[nodiscard]] std::string where(const Position& position) const;
  [[nodiscard]] Place& place_of(std::size_t row) { return places_[row % places_.size()]; }
  void work();

  const Frames frames_;
  std::vector<Place> places_;
  FrameDecoder decoder_{};
  // The caller's alone.
  Position to_read_;
  Position to_give_out_;
  bool has_begun_ = false;
  bool has_ended_ = false;
  Result<void> read_ = success();  ///< after an error nothing more is read

  std::mutex mutex_;
  std::condition_variable changed_;
  std::size_t read_up_to_ = 0;  ///< row; what lies before may be unpacked
  std::size_t to_unpack_ = 0;   ///< row
  bool is_ending_ = false;
  std::vector<std::jthread> threads_;
};

ImageReader::State::State(Frames frames, std::size_t first_chunk, Helpers helpers) : frames_(frames) {
  SK_INVARIANT(first_chunk <= frames_.rows.size());
  to_read_.frame_offset = frames_.member.offset;
  while (to_read_.row < first_chunk) to_read_.step_over(frames_.rows[to_read_.row]);
  to_give_out_ = to_read_;
  read_up_to_ = to_unpack_ = first_chunk;
  const Longest longest = longest_of(frames_.rows);
  const std::uint64_t place_bytes = std::max<std::uint64_t>(longest.frame_bytes + longest.plain_bytes, 1);
  const std::size_t wanted = helpers == 0 ? 1 : std::max<std::size_t>(helpers * kPlacesPerHelper, 2);
  const auto count = static_cast<std::size_t>(std::clamp<std::uint64_t>(kRingMaxBytes / place_bytes, 1, wanted));
  places_.reserve(count);
  for (std::size_t i = 0; i < count; ++i) places_.emplace_back(longest);
  if (count < 2) return;  // nothing could go on beside
  for (Helpers i = 0; i < helpers; ++i) threads_.emplace_back([this] { work(); });
}

ImageReader::State::~State() {
  {
    const std::lock_guard lock(mutex_);
    is_ending_ = true;
  }
  changed_.notify_all();
  threads_.clear();
}

std::string ImageReader::State::where(const Position& position) const {
  return frames_.source.name() + ": chunk " + std::to_string(position.row) + " at offset " +
         std::to_string(position.offset) + " of the image";
}

Result<void> ImageReader::State::begin() {
  // Only now: another reader may have been in use since this one was made.
  has_begun_ = true;
  std::vector<ByteRange> wanted;
  std::uint64_t position = to_read_.frame_offset;
  for (std::size_t i = to_read_.row; i < frames_.rows.size(); position += frames_.rows[i++].stored_bytes) {
    if (frames_.rows[i].stored_bytes == 0) continue;
    if (wanted.empty() || wanted.back().end != position) wanted.push_back({position, position});
    wanted.back().end += frames_.rows[i].stored_bytes;
  }
  frames_.source.expect(std::move(wanted));
  if (frames_.source.size_bytes() || to_read_.row != 0) return success();
  const Member& member = frames_.member;
  const std::uint64_t header = member.offset - member_header(member.name, member.size_bytes).size();
  SK_TRY(expect_member(frames_.source, header, member.name, member.size_bytes));
  return success();
}

Result<void> ImageReader::State::end() {
  has_ended_ = true;
  if (frames_.source.size_bytes()) return success();
  SK_TRY(check_padding(frames_.source, frames_.member));
  return frames_.is_last ? check_end(frames_.source, frames_.member.padded_end()) : success();
}

/// The place of the chunk that was given out last is free again when the caller asks for the next one.
bool ImageReader::State::can_read() const {
  return to_read_.row < frames_.rows.size() && to_read_.row - to_give_out_.row < places_.size();
}

Result<void> ImageReader::State::read_next() {
  const ChunkRow& row = frames_.rows[to_read_.row];
  Place& place = place_of(to_read_.row);
  place.position = to_read_;
  place.is_ready = is_zero_run(row);
  place.result = success();
  if (!place.is_ready) {
    SK_TRY(with_context(
        read_exactly(frames_.source, to_read_.frame_offset, io::Bytes(place.frame).first(row.stored_bytes)),
        where(to_read_)));
  }
  to_read_.step_over(row);
  const std::lock_guard lock(mutex_);
  read_up_to_ = to_read_.row;
  changed_.notify_all();
  return success();
}

void ImageReader::State::work() {
  FrameDecoder decoder;
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return is_ending_ || to_unpack_ < read_up_to_; });
    if (is_ending_) return;
    Place& place = place_of(to_unpack_);
    const ChunkRow& row = frames_.rows[to_unpack_++];
    if (is_zero_run(row)) continue;  // may long be given out, and its place another's
    lock.unlock();
    Result<void> result = unpack(row, place, decoder);
    lock.lock();
    place.result = std::move(result);
    place.is_ready = true;
    changed_.notify_all();
  }
}

Result<void> ImageReader::State::unpack_here(Place& place) {
  if (place.is_ready) return success();
  place.is_ready = true;
  return unpack(frames_.rows[place.position.row], place, decoder_);
}

Result<std::optional<Chunk>> ImageReader::State::next() {
  if (!has_begun_) SK_TRY(with_context(begin(), frames_.source.name()));
  if (to_give_out_.row == frames_.rows.size()) {
    if (!has_ended_) SK_TRY(with_context(end(), frames_.source.name()));
    return std::optional<Chunk>{};
  }
  while (read_.has_value() && can_read()) read_ = read_next();
  if (to_read_.row == to_give_out_.row) return read_.as_failure();  // what was read before it was given out first
  Place& place = place_of(to_give_out_.row);
  if (threads_.empty()) {
    SK_TRY(with_context(unpack_here(place), where(place.position)));
  } else {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return place.is_ready; });
    SK_TRY(with_context(place.result, where(place.position)));
  }
  const ChunkRow& row = frames_.rows[to_give_out_.row];
  Chunk chunk{.number = to_give_out_.row,
              .offset = to_give_out_.offset,
              .plain_bytes = row.plain_bytes,
              .zeros = is_zero_run(row),
              .data = {}};
  if (!chunk.zeros) chunk.data = io::ConstBytes(place.plain).first(static_cast<std::size_t>(row.plain_bytes));
  to_give_out_.step_over(row);
  return std::optional{chunk};
}

ImageReader::ImageReader(const VerifiedManifest& manifest, std::size_t image, std::size_t first_chunk, Helpers helpers)
    : state_(std::make_unique<State>(State::Frames{.source = manifest.source(),
                                                   .member = manifest.frames(image),
                                                   .is_last = image + 1 == manifest.manifest().images.size(),
                                                   .rows = manifest.index(image).rows},
                                     first_chunk, helpers)) {}
ImageReader::ImageReader(ImageReader&&) noexcept = default;
ImageReader::~ImageReader() = default;

Result<std::optional<Chunk>> ImageReader::next() { return state_->next(); }

}  // namespace slotkeeper::bundle
