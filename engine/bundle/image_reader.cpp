// The chunks of one image: frame read, hashed, only then decompressed, hashed again. With helpers this goes on in a
// ring of places, so that the chunks behind the one that is written are unpacked meanwhile.
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
  State(Source& from, const std::vector<ChunkRow>& index, Position first, Helpers helpers);
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State();

  Result<std::optional<Chunk>> next();

 private:
  [[nodiscard]] Result<void> read_frame(Place& place) const;
  [[nodiscard]] Result<void> fill(Place& place, FrameDecoder& decoder) const;
  [[nodiscard]] std::string where(const Position& position) const;
  void work();

  Source& source_;
  const std::vector<ChunkRow>& rows_;
  std::vector<Place> places_;
  FrameDecoder decoder_{};

  std::mutex reading_;  ///< frames are read one after the other, in order; taken before `mutex_`
  std::mutex mutex_;
  std::condition_variable changed_;
  Position to_unpack_;
  Position to_give_out_;
  bool has_given_out_ = false;  ///< the caller still looks at the chunk before
  bool is_ending_ = false;
  std::vector<std::jthread> threads_;
};

ImageReader::State::State(Source& from, const std::vector<ChunkRow>& index, Position first, Helpers helpers)
    : source_(from), rows_(index), to_unpack_(first), to_give_out_(first) {
  const Longest longest = longest_of(rows_);
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
  return source_.name() + ": chunk " + std::to_string(position.row) + " at offset " + std::to_string(position.offset) +
         " of the image";
}

Result<void> ImageReader::State::read_frame(Place& place) const {
  const ChunkRow& row = rows_[place.position.row];
  if (is_zero_run(row)) return success();
  return with_context(
      read_exactly(source_, place.position.frame_offset, io::Bytes(place.frame).first(row.stored_bytes)),
      where(place.position));
}

Result<void> ImageReader::State::fill(Place& place, FrameDecoder& decoder) const {
  const ChunkRow& row = rows_[place.position.row];
  if (is_zero_run(row)) return success();
  return with_context(unpack(row, place, decoder), where(place.position));
}

void ImageReader::State::work() {
  FrameDecoder decoder;
  for (;;) {
    std::unique_lock reading(reading_);
    Place* place = nullptr;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] {
        const std::size_t taken = to_unpack_.row - to_give_out_.row + (has_given_out_ ? 1 : 0);
        return is_ending_ || to_unpack_.row == rows_.size() || taken < places_.size();
      });
      if (is_ending_ || to_unpack_.row == rows_.size()) return;
      place = &places_[to_unpack_.row % places_.size()];
      place->position = to_unpack_;
      place->is_ready = false;
      to_unpack_.step_over(rows_[to_unpack_.row]);
    }
    place->result = read_frame(*place);
    const bool can_go_on = place->result.has_value();
    reading.unlock();
    if (can_go_on) place->result = fill(*place, decoder);
    const std::lock_guard lock(mutex_);
    place->is_ready = true;
    // Behind what cannot be read nothing is given out.
    if (!place->result.has_value()) is_ending_ = true;
    changed_.notify_all();
  }
}

Result<std::optional<Chunk>> ImageReader::State::next() {
  std::unique_lock lock(mutex_);
  has_given_out_ = false;
  if (to_give_out_.row == rows_.size()) return std::optional<Chunk>{};
  Place& place = places_[to_give_out_.row % places_.size()];
  if (threads_.empty()) {
    place.position = to_give_out_;
    SK_TRY(read_frame(place));
    SK_TRY(fill(place, decoder_));
  } else {
    changed_.notify_all();  // a place is free again
    // One that a helper gave up before it is looked at by nobody: the error lies in a place before it.
    changed_.wait(lock, [&] { return place.is_ready && place.position.row == to_give_out_.row; });
    SK_TRY(place.result);
  }
  const ChunkRow& row = rows_[to_give_out_.row];
  Chunk chunk{.number = to_give_out_.row,
              .offset = to_give_out_.offset,
              .plain_bytes = row.plain_bytes,
              .zeros = is_zero_run(row),
              .data = {}};
  if (!chunk.zeros) chunk.data = io::ConstBytes(place.plain).first(static_cast<std::size_t>(row.plain_bytes));
  to_give_out_.step_over(row);
  has_given_out_ = true;
  return std::optional{chunk};
}

ImageReader::ImageReader(const VerifiedManifest& manifest, std::size_t image, std::size_t first_chunk,
                         Helpers helpers) {
  const std::vector<ChunkRow>& rows = manifest.index(image).rows;
  SK_INVARIANT(first_chunk <= rows.size());
  Position first{.row = 0, .frame_offset = manifest.frames_offset(image), .offset = 0};
  while (first.row < first_chunk) first.step_over(rows[first.row]);
  state_ = std::make_unique<State>(manifest.source(), rows, first, helpers);
}
ImageReader::ImageReader(ImageReader&&) noexcept = default;
ImageReader::~ImageReader() = default;

Result<std::optional<Chunk>> ImageReader::next() { return state_->next(); }

}  // namespace slotkeeper::bundle
