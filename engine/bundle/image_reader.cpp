// The chunks of one image: unpacked from their frames, or found on a slot and hashed.
// The caller's thread reads the frames; with helpers it does so ahead, into a ring of places, and they do the rest
// meanwhile. A place holds a run: rows that follow one another and come from the same place, so that small chunks cost
// neither a read nor a handing over each.
#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "engine/bundle/bundle.hpp"
#include "engine/bundle/chunk_unpacker.hpp"
#include "partitions/io/aligned_buffer.hpp"

namespace slotkeeper::bundle {
namespace {

/// What all places together may hold: memory is bounded whatever the length of the chunks.
constexpr std::uint64_t kRingMaxBytes = std::uint64_t{3} << 20U;
constexpr std::size_t kPlacesPerHelper = 3;
/// Of a delta: each has parts of the old image in memory, too.
constexpr Helpers kDeltaHelpersMax = 1;
/// A run ends before it has more bytes than this, or more frames than fit, or with its first row.
constexpr std::uint64_t kRunBytes = 256 * 1024;
constexpr std::uint64_t kRunFrameBytes = kRunBytes / 2;

using From = ReusePlan::From;

bool is_zero_run(const ChunkRow& row) { return (row.flags & chunk_flag::kZeroRun) != 0; }

/// How much a place must hold; the index's parser has bounded every length.
struct PlaceSize {
  std::uint64_t frames = 0;
  std::uint64_t plain = 0;
};
PlaceSize place_size_for(const std::vector<ChunkRow>& rows) {
  PlaceSize longest;
  PlaceSize all;
  for (const auto& row : rows) {
    if (is_zero_run(row)) continue;
    longest.frames = std::max<std::uint64_t>(longest.frames, row.stored_bytes);
    longest.plain = std::max(longest.plain, row.plain_bytes);
    all.frames += row.stored_bytes;
    all.plain += row.plain_bytes;
  }
  SK_INVARIANT(longest.frames <= kFrameMaxBytes && longest.plain <= kChunkMaxBytes);
  return {.frames = std::max(longest.frames, std::min(all.frames, kRunFrameBytes)),
          .plain = io::round_up_to_block(std::max(longest.plain, std::min(all.plain, kRunBytes)))};
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

/// Rows from `begin` up to, not including, `end`.
struct Run {
  Position begin;
  Position end;
  ReusePlan::Origin origin;
  bool zeros = false;

  [[nodiscard]] std::uint64_t plain_bytes() const { return end.offset - begin.offset; }
  [[nodiscard]] std::uint64_t frame_bytes() const { return end.frame_offset - begin.frame_offset; }
};

/// Where one run is unpacked.
struct Place {
  Run run;
  std::vector<std::byte> frames;
  io::AlignedBuffer plain;
  Result<void> result = success();
  std::size_t whole = 0;            ///< rows before this one are; of the one that is not, `result` says why
  std::vector<std::size_t> missed;  ///< rows that were not found on the slot
  bool is_ready = false;

  explicit Place(const PlaceSize& size)
      : frames(static_cast<std::size_t>(size.frames)), plain(static_cast<std::size_t>(size.plain)) {}

  [[nodiscard]] io::Bytes plain_of(const Position& position, const ChunkRow& row) {
    return plain.bytes().subspan(static_cast<std::size_t>(position.offset - run.begin.offset),
                                 static_cast<std::size_t>(row.plain_bytes));
  }
};

OldImageAccess old_image_of(const VerifiedManifest& manifest, std::size_t image, const ImageReader::Options& options) {
  const auto& old = manifest.manifest().images[image].old_image;
  return old ? OldImageAccess{.on_slots = options.on_slots, .bytes = old->plain_bytes} : OldImageAccess{};
}

}  // namespace

/// Points into the verified manifest's own state, which stays where it is when the VerifiedManifest is moved.
struct ImageReader::State {
  /// Which frames, of which container.
  struct Frames {
    Source& source;
    const Member& member;  ///< all of them, one after the other
    bool is_last;          ///< member of the container
    OldImageAccess old;
    ImageKey key;
    const std::vector<ChunkRow>& rows;
  };
  State(const Frames& frames, const Options& options);
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State();

  Result<std::optional<Chunk>> next();

 private:
  [[nodiscard]] Result<void> begin();
  [[nodiscard]] Result<void> end();
  [[nodiscard]] ReusePlan::Origin origin_of(std::size_t row) const;
  [[nodiscard]] Run run_from(const Position& begin) const;
  [[nodiscard]] bool can_read() const;
  [[nodiscard]] Result<void> read_next();
  [[nodiscard]] Result<void> read_frames(const Position& from, io::Bytes into);
  [[nodiscard]] Result<void> next_place();
  [[nodiscard]] Result<Chunk> give_out(Place& place);
  [[nodiscard]] Result<void> fetch_missed(Place& place);
  [[nodiscard]] std::string where(const Position& position) const;
  [[nodiscard]] Place& place_of(std::size_t run) { return places_[run % places_.size()]; }
  void unpack_run(Place& place, ChunkUnpacker& unpacker);
  void find_run(Place& place);
  void fill(Place& place, ChunkUnpacker& unpacker);
  void work();

  const Frames frames_;
  const ReusePlan* plan_;
  OnSlots* on_slots_;
  PlaceSize place_size_;
  std::vector<Place> places_;
  ChunkUnpacker unpacker_;
  std::vector<std::byte> missed_frame_;
  // The caller's alone.
  Position to_read_;
  Position to_give_out_;
  std::size_t runs_read_ = 0;
  std::size_t run_given_out_ = 0;  ///< the one that rows are given out of
  bool has_place_ = false;         ///< it is ready
  bool has_begun_ = false;
  bool has_ended_ = false;
  Result<void> read_ = success();  ///< after an error nothing more is read

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Place*> to_unpack_;  ///< never one of zeros: that may be given out, and its place another's, at any time
  bool is_ending_ = false;
  std::vector<std::jthread> threads_;
};

ImageReader::State::State(const Frames& frames, const Options& options)
    : frames_(frames),
      // A stream passes once: what turned out not to be on the slot could not be read any more.
      plan_(options.on_slots != nullptr && frames.source.size_bytes() ? options.plan : nullptr),
      on_slots_(options.on_slots),
      place_size_(place_size_for(frames.rows)),
      unpacker_(frames.old, frames.key) {
  SK_INVARIANT(options.first_chunk <= frames_.rows.size());
  to_read_.frame_offset = frames_.member.offset;
  while (to_read_.row < options.first_chunk) to_read_.step_over(frames_.rows[to_read_.row]);
  to_give_out_ = to_read_;
  const std::uint64_t place_bytes = std::max<std::uint64_t>(place_size_.frames + place_size_.plain, 1);
  const Helpers helpers = frames.old.bytes == 0 ? options.helpers : std::min(options.helpers, kDeltaHelpersMax);
  const std::size_t wanted = helpers == 0 ? 1 : std::max<std::size_t>(helpers * kPlacesPerHelper, 2);
  const std::uint64_t ring_bytes = kRingMaxBytes - (frames.old.bytes == 0 ? 0 : helpers * kOldPartsMaxBytes);
  const auto count = static_cast<std::size_t>(std::clamp<std::uint64_t>(ring_bytes / place_bytes, 1, wanted));
  places_.reserve(count);
  for (std::size_t i = 0; i < count; ++i) places_.emplace_back(place_size_);
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

ReusePlan::Origin ImageReader::State::origin_of(std::size_t row) const {
  return plan_ != nullptr ? plan_->origin(row) : ReusePlan::Origin{};
}

Result<void> ImageReader::State::begin() {
  // Only now: another reader may have been in use since this one was made.
  has_begun_ = true;
  std::vector<ByteRange> wanted;
  std::uint64_t position = to_read_.frame_offset;
  for (std::size_t i = to_read_.row; i < frames_.rows.size(); position += frames_.rows[i++].stored_bytes) {
    if (frames_.rows[i].stored_bytes == 0 || origin_of(i).from != From::bundle) continue;
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

Run ImageReader::State::run_from(const Position& begin) const {
  const auto& rows = frames_.rows;
  Run run{.begin = begin, .end = begin, .origin = origin_of(begin.row), .zeros = is_zero_run(rows[begin.row])};
  run.end.step_over(rows[begin.row]);
  while (!run.zeros && run.end.row < rows.size()) {
    const ChunkRow& row = rows[run.end.row];
    const auto origin = origin_of(run.end.row);
    if (is_zero_run(row) || origin.from != run.origin.from) break;
    if (origin.from == From::old_slot && origin.offset != run.origin.offset + run.plain_bytes()) break;
    if (run.plain_bytes() + row.plain_bytes > place_size_.plain ||
        run.frame_bytes() + row.stored_bytes > place_size_.frames) {
      break;
    }
    run.end.step_over(row);
  }
  return run;
}

/// The place of the run that was given out last is free again when the caller asks for what follows it.
bool ImageReader::State::can_read() const {
  return to_read_.row < frames_.rows.size() && runs_read_ - run_given_out_ < places_.size();
}

Result<void> ImageReader::State::read_frames(const Position& from, io::Bytes into) {
  return with_context(read_exactly(frames_.source, from.frame_offset, into), where(from));
}

Result<void> ImageReader::State::read_next() {
  Place& place = place_of(runs_read_);
  place.run = run_from(to_read_);
  place.whole = place.run.end.row;
  place.missed.clear();
  place.result = success();
  place.is_ready = place.run.zeros;
  if (!place.run.zeros && place.run.origin.from == From::bundle) {
    SK_TRY(read_frames(to_read_, io::Bytes(place.frames).first(static_cast<std::size_t>(place.run.frame_bytes()))));
  }
  to_read_ = place.run.end;
  ++runs_read_;
  if (place.run.zeros || threads_.empty()) return success();
  const std::lock_guard lock(mutex_);
  to_unpack_.push_back(&place);
  changed_.notify_all();
  return success();
}

/// Frame after frame, up to the first that is wrong.
void ImageReader::State::unpack_run(Place& place, ChunkUnpacker& unpacker) {
  for (Position at = place.run.begin; at.row < place.run.end.row; at.step_over(frames_.rows[at.row])) {
    const ChunkRow& row = frames_.rows[at.row];
    const auto frame =
        io::Bytes(place.frames)
            .subspan(static_cast<std::size_t>(at.frame_offset - place.run.begin.frame_offset), row.stored_bytes);
    place.result = unpacker.unpack(row, at.offset, frame, place.plain_of(at, row));
    if (place.result.has_value()) continue;
    place.whole = at.row;
    return;
  }
}

void ImageReader::State::find_run(Place& place) {
  const Run& run = place.run;
  const std::uint64_t offset = run.origin.from == From::target ? run.begin.offset : run.origin.offset;
  const auto length = static_cast<std::size_t>(io::round_up_to_block(run.plain_bytes()));
  const bool was_read = on_slots_->read(run.origin.from, offset, place.plain.bytes().first(length));
  for (Position at = run.begin; at.row < run.end.row; at.step_over(frames_.rows[at.row])) {
    const ChunkRow& row = frames_.rows[at.row];
    if (!was_read || sha256(place.plain_of(at, row)) != row.plain_digest) place.missed.push_back(at.row);
  }
}

void ImageReader::State::fill(Place& place, ChunkUnpacker& unpacker) {
  if (place.run.origin.from == From::bundle) {
    unpack_run(place, unpacker);
  } else {
    find_run(place);
  }
}

void ImageReader::State::work() {
  ChunkUnpacker unpacker(frames_.old, frames_.key);
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return is_ending_ || !to_unpack_.empty(); });
    if (is_ending_) return;
    Place& place = *to_unpack_.front();
    to_unpack_.pop_front();
    lock.unlock();
    fill(place, unpacker);
    lock.lock();
    place.is_ready = true;
    changed_.notify_all();
  }
}

/// What was not on the slot after all comes from the bundle.
Result<void> ImageReader::State::fetch_missed(Place& place) {
  missed_frame_.resize(static_cast<std::size_t>(place_size_.frames));
  Position at = place.run.begin;
  for (const std::size_t missed : place.missed) {
    while (at.row < missed) at.step_over(frames_.rows[at.row]);
    const ChunkRow& row = frames_.rows[at.row];
    const auto frame = io::Bytes(missed_frame_).first(row.stored_bytes);
    SK_TRY(read_frames(at, frame));
    SK_TRY(with_context(unpacker_.unpack(row, at.offset, frame, place.plain_of(at, row)), where(at)));
  }
  return success();
}

/// Until the run to give out is ready.
Result<void> ImageReader::State::next_place() {
  while (read_.has_value() && can_read()) read_ = read_next();
  if (runs_read_ == run_given_out_) return read_.as_failure();  // what was read before it was given out first
  Place& place = place_of(run_given_out_);
  if (!place.run.zeros) {
    if (threads_.empty()) {
      fill(place, unpacker_);
    } else {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return place.is_ready; });
    }
    SK_TRY(fetch_missed(place));
  }
  has_place_ = true;
  return success();
}

Result<Chunk> ImageReader::State::give_out(Place& place) {
  const ChunkRow& row = frames_.rows[to_give_out_.row];
  if (to_give_out_.row == place.whole) SK_TRY(with_context(place.result, where(to_give_out_)));
  Chunk chunk{.number = to_give_out_.row,
              .offset = to_give_out_.offset,
              .plain_bytes = row.plain_bytes,
              .zeros = place.run.zeros,
              .from = place.run.origin.from,
              .made_from_old_bytes = 0,
              .data = {}};
  if (!chunk.zeros) chunk.data = place.plain_of(to_give_out_, row);
  if (std::ranges::binary_search(place.missed, to_give_out_.row)) chunk.from = From::bundle;
  if (chunk.from == From::bundle && (row.flags & chunk_flag::kOldImage) != 0) {
    chunk.made_from_old_bytes = row.plain_bytes - std::min<std::uint64_t>(row.plain_bytes, row.stored_bytes);
  }
  to_give_out_.step_over(row);
  return chunk;
}

Result<std::optional<Chunk>> ImageReader::State::next() {
  if (!has_begun_) SK_TRY(with_context(begin(), frames_.source.name()));
  if (has_place_ && to_give_out_.row == place_of(run_given_out_).run.end.row) {
    ++run_given_out_;
    has_place_ = false;
  }
  if (to_give_out_.row == frames_.rows.size()) {
    if (!has_ended_) SK_TRY(with_context(end(), frames_.source.name()));
    return std::optional<Chunk>{};
  }
  if (!has_place_) SK_TRY(next_place());
  SK_TRY_ASSIGN(const Chunk chunk, give_out(place_of(run_given_out_)));
  return std::optional{chunk};
}

ImageReader::ImageReader(const VerifiedManifest& manifest, std::size_t image, const Options& options)
    : state_(std::make_unique<State>(State::Frames{.source = manifest.source(),
                                                   .member = manifest.frames(image),
                                                   .is_last = image + 1 == manifest.manifest().images.size(),
                                                   .old = old_image_of(manifest, image, options),
                                                   .key = manifest.key_of(image),
                                                   .rows = manifest.index(image).rows},
                                     options)) {}
ImageReader::ImageReader(ImageReader&&) noexcept = default;
ImageReader::~ImageReader() = default;

Result<std::optional<Chunk>> ImageReader::next() { return state_->next(); }

}  // namespace slotkeeper::bundle
