#include "partitions/slot_writer.hpp"

#include <algorithm>
#include <array>
#include <bitset>
#include <cstring>
#include <optional>

#include "partitions/slot_read_back.hpp"
#include "partitions/volume_device.hpp"

namespace slotkeeper {
namespace {

/// Windows that are filled or on their way to the device. They, one for reading back and 16 bytes for each window of
/// the image are all the memory.
constexpr std::size_t kBuffers = 4;
/// So much is written between two flushes, where the read-back goes on beside.
constexpr std::size_t kWindowsPerFlush = (std::size_t{32} << 20U) / kWindowBytes;

constexpr std::size_t kHeads = std::size(kHeadRanges);
constexpr std::size_t kBlocks = kWindowBytes / io::kDirectAlignment;  ///< of a window

/// Zeroes the head ranges and shows by reading that they are. Durable.
Result<void> zero_heads(VolumeDevice& device) {
  io::AlignedBuffer block(io::kDirectAlignment);
  for (const HeadRange& range : kHeadRanges) {
    if (range.offset >= device.capacity_bytes()) continue;
    const std::uint64_t length = std::min(range.length, device.capacity_bytes() - range.offset);
    SK_TRY(device.write(range.offset, block.bytes().first(static_cast<std::size_t>(length))));
    // Without the first one nothing comes up, so it is gone before anything else of the old volume is touched.
    if (range.offset == 0) SK_TRY(device.sync());
  }
  SK_TRY(device.sync());
  for (const HeadRange& range : kHeadRanges) {
    if (range.offset >= device.capacity_bytes()) continue;
    SK_TRY_ASSIGN(const io::ConstBytes found, device.read(range.offset, block.bytes()));
    if (!io::is_all_zero(found)) return reads_back_differently(device, range.offset, found.size());
  }
  return success();
}

class DirectVolumeWriter final : public VolumeWriter {
 public:
  DirectVolumeWriter(VolumeDevice device, std::uint64_t image_bytes, Helpers helpers)
      : device_(std::move(device)),
        image_bytes_(image_bytes),
        end_(std::min(io::round_up_to_block(image_bytes), device_.capacity_bytes())),
        read_back_(device_, end_, helpers) {}

  ~DirectVolumeWriter() override {
    // Buffers must outlive the writes that read them; what became of those writes decides nothing here.
    if (!wait_for_all().has_value()) has_failed_ = true;
  }

  [[nodiscard]] std::uint64_t capacity_bytes() const override { return device_.capacity_bytes(); }
  [[nodiscard]] Result<void> withhold_heads() override;
  void leave_what_is_equal() override { old_.emplace(kWindowBytes); }
  [[nodiscard]] Result<void> write_chunk(std::uint64_t offset, io::ConstBytes data, Present present) override;
  [[nodiscard]] Result<void> write_zeros(std::uint64_t offset, std::uint64_t length) override;
  [[nodiscard]] Result<void> settle(Flush flush) override;
  [[nodiscard]] Result<void> check_body(ProgressSink& progress) override;
  [[nodiscard]] Result<void> finish() override;
  [[nodiscard]] std::uint64_t written_bytes() const override { return written_bytes_; }
  [[nodiscard]] Result<void> close() override;

 private:
  using Blocks = std::bitset<kBlocks>;
  enum class Stage : std::uint8_t { opened, heads_withheld, body_checked, finished };

  /// Runs a step; after a failed one nothing is known about the volume, and every later step is refused.
  template <class Step>
  [[nodiscard]] Result<void> guarded(Stage needed, Step step);
  [[nodiscard]] Result<void> check_position(std::uint64_t offset, std::uint64_t length) const;
  [[nodiscard]] Result<void> gather(io::ConstBytes data, Present present);
  [[nodiscard]] Result<void> flush_window();
  [[nodiscard]] Result<void> zero_windows(std::uint64_t count);
  [[nodiscard]] Blocks equal_blocks(std::uint64_t offset, io::ConstBytes window);
  [[nodiscard]] io::ConstBytes read_old(std::uint64_t offset, std::size_t length);
  [[nodiscard]] Result<void> submit_window(std::uint64_t offset, io::ConstBytes window, const Blocks& equal);
  void keep_heads_of(io::Bytes window, std::uint64_t window_offset);
  [[nodiscard]] Result<void> wait_for(std::size_t buffer);
  [[nodiscard]] Result<void> wait_for_all();
  /// Gives what is written by now to the read-back, when it is a group or `all` of it is wanted.
  [[nodiscard]] Result<void> hand_over(bool all);
  [[nodiscard]] Result<void> write_heads();
  [[nodiscard]] io::ConstBytes head_bytes(std::size_t head) const;

  VolumeDevice device_;
  std::uint64_t image_bytes_;
  std::uint64_t end_;  ///< of what is written: the image, filled up with zeros to a whole block where the device has it
  Stage stage_ = Stage::opened;
  bool has_failed_ = false;

  std::uint64_t next_offset_ = 0;
  std::array<io::AlignedBuffer, kBuffers> buffers_{io::AlignedBuffer(kWindowBytes), io::AlignedBuffer(kWindowBytes),
                                                   io::AlignedBuffer(kWindowBytes), io::AlignedBuffer(kWindowBytes)};
  std::array<std::size_t, kBuffers> in_flight_{};  ///< writes
  std::size_t current_ = 0;
  std::size_t filled_bytes_ = 0;        ///< of the current buffer
  Blocks present_;                      ///< blocks of it that the volume is known to hold
  std::vector<WrittenWindow> written_;  ///< behind those that were handed over
  std::uint64_t written_bytes_ = 0;
  std::optional<io::AlignedBuffer> old_;  ///< what a window holds, where equal blocks are left alone
  std::optional<std::uint64_t> zero_window_hash_;
  std::array<io::AlignedBuffer, kHeads> heads_{io::AlignedBuffer(io::kDirectAlignment),
                                               io::AlignedBuffer(io::kDirectAlignment),
                                               io::AlignedBuffer(io::kDirectAlignment)};
  SlotReadBack read_back_;  ///< last: its thread ends before what it reads from
};

template <class Step>
Result<void> DirectVolumeWriter::guarded(Stage needed, Step step) {
  if (has_failed_) return make_error(Errc::io_error, device_.description() + ": an earlier step failed");
  if (stage_ != needed) return make_error(Errc::internal, device_.description() + ": written in the wrong order");
  has_failed_ = true;
  SK_TRY(step());
  has_failed_ = false;
  return success();
}

Result<void> DirectVolumeWriter::withhold_heads() {
  return guarded(Stage::opened, [&]() -> Result<void> {
    SK_TRY(zero_heads(device_));
    stage_ = Stage::heads_withheld;
    return success();
  });
}

Result<void> DirectVolumeWriter::check_position(std::uint64_t offset, std::uint64_t length) const {
  if (offset == next_offset_ && length <= image_bytes_ - next_offset_) return success();
  return make_error(Errc::internal, device_.description() + ": " + std::to_string(length) + " bytes for offset " +
                                        std::to_string(offset) + " of an image of " + std::to_string(image_bytes_) +
                                        " bytes, where " + std::to_string(next_offset_) + " is next");
}

Result<void> DirectVolumeWriter::write_chunk(std::uint64_t offset, io::ConstBytes data, Present present) {
  return guarded(Stage::heads_withheld, [&]() -> Result<void> {
    SK_TRY(check_position(offset, data.size()));
    return gather(data, present);
  });
}

Result<void> DirectVolumeWriter::write_zeros(std::uint64_t offset, std::uint64_t length) {
  return guarded(Stage::heads_withheld, [&]() -> Result<void> {
    SK_TRY(check_position(offset, length));
    static constexpr std::array<std::byte, io::kDirectAlignment> kZeros{};
    while (length > 0) {
      if (filled_bytes_ == 0 && length >= kWindowBytes) {
        // One after the other where each is looked at first.
        const std::uint64_t windows = old_ ? 1 : length / kWindowBytes;
        SK_TRY(zero_windows(windows));
        length -= windows * kWindowBytes;
        continue;
      }
      const std::uint64_t piece =
          std::min({length, std::uint64_t{kZeros.size()}, std::uint64_t{kWindowBytes - filled_bytes_}});
      SK_TRY(gather(io::ConstBytes(kZeros).first(static_cast<std::size_t>(piece)), Present::no));
      length -= piece;
    }
    return success();
  });
}

/// The next ones, of which nothing is gathered yet.
Result<void> DirectVolumeWriter::zero_windows(std::uint64_t count) {
  if (!zero_window_hash_) zero_window_hash_ = fast_hash(io::AlignedBuffer(kWindowBytes).bytes());
  const io::ConstBytes old = read_old(next_offset_, kWindowBytes);
  const bool is_zero = !old.empty() && io::is_all_zero(old);
  if (!is_zero) {
    SK_TRY(device_.zero(next_offset_, count * kWindowBytes));
    written_bytes_ += count * kWindowBytes;
  }
  written_.insert(written_.end(), static_cast<std::size_t>(count), {.hash = *zero_window_hash_, .is_read = is_zero});
  next_offset_ += count * kWindowBytes;
  return hand_over(false);
}

Result<void> DirectVolumeWriter::gather(io::ConstBytes data, Present present) {
  while (!data.empty()) {
    const std::size_t piece = std::min(data.size(), kWindowBytes - filled_bytes_);
    if (present == Present::yes && filled_bytes_ % io::kDirectAlignment == 0) {
      const std::size_t first = filled_bytes_ / io::kDirectAlignment;
      for (std::size_t i = 0; i < piece / io::kDirectAlignment; ++i) present_.set(first + i);
    }
    std::memcpy(buffers_[current_].bytes().data() + filled_bytes_, data.data(), piece);
    data = data.subspan(piece);
    filled_bytes_ += piece;
    next_offset_ += piece;
    if (filled_bytes_ == kWindowBytes || next_offset_ == image_bytes_) SK_TRY(flush_window());
  }
  return success();
}

void DirectVolumeWriter::keep_heads_of(io::Bytes window, std::uint64_t window_offset) {
  for (std::size_t head = 0; head < kHeads; ++head) {
    const HeadRange& range = kHeadRanges[head];
    if (range.offset < window_offset || range.offset >= window_offset + window.size()) continue;
    const auto start = static_cast<std::size_t>(range.offset - window_offset);
    const std::size_t length = std::min(window.size() - start, static_cast<std::size_t>(range.length));
    std::memcpy(heads_[head].bytes().data(), window.data() + start, length);
    std::memset(window.data() + start, 0, length);
  }
}

/// Nothing where it is not wanted or cannot be read: then everything is written, which may well help.
io::ConstBytes DirectVolumeWriter::read_old(std::uint64_t offset, std::size_t length) {
  if (!old_) return {};
  auto found = device_.read(offset, old_->bytes().first(static_cast<std::size_t>(io::round_up_to_block(length))));
  if (!found.has_value() || found.assume_value().size() != length) return {};
  return found.assume_value();
}

DirectVolumeWriter::Blocks DirectVolumeWriter::equal_blocks(std::uint64_t offset, io::ConstBytes window) {
  if (!old_) return {};
  Blocks equal = present_;
  const std::size_t count = io::round_up_to_block(window.size()) / io::kDirectAlignment;
  std::size_t first = 0;
  while (first < count && equal[first]) ++first;
  std::size_t end = count;
  while (end > first && equal[end - 1]) --end;
  if (first == end) return equal;
  const std::size_t start = first * io::kDirectAlignment;
  const io::ConstBytes wanted = window.subspan(start, std::min(end * io::kDirectAlignment, window.size()) - start);
  const io::ConstBytes old = read_old(offset + start, wanted.size());
  if (old.empty()) return equal;
  for (std::size_t block = first; block < end; ++block) {
    const std::size_t at = (block - first) * io::kDirectAlignment;
    const std::size_t length = std::min(io::kDirectAlignment, wanted.size() - at);
    if (std::memcmp(old.data() + at, wanted.data() + at, length) == 0) equal.set(block);
  }
  return equal;
}

/// The blocks that are not equal, as few writes as they allow.
Result<void> DirectVolumeWriter::submit_window(std::uint64_t offset, io::ConstBytes window, const Blocks& equal) {
  const std::size_t count = io::round_up_to_block(window.size()) / io::kDirectAlignment;
  for (std::size_t block = 0; block < count;) {
    if (equal[block]) {
      ++block;
      continue;
    }
    const std::size_t start = block * io::kDirectAlignment;
    while (block < count && !equal[block]) ++block;
    const io::ConstBytes piece = window.subspan(start, std::min(block * io::kDirectAlignment, window.size()) - start);
    // The incomplete block at a device's end is written through a descriptor of its own, which a flush meets as well.
    if (piece.size() % io::kDirectAlignment != 0) SK_TRY(read_back_.wait_for_idle());
    SK_TRY(device_.submit(offset + start, piece, current_));
    ++in_flight_[current_];
    written_bytes_ += piece.size();
  }
  return success();
}

Result<void> DirectVolumeWriter::flush_window() {
  const std::uint64_t offset = next_offset_ - filled_bytes_;
  const auto length = static_cast<std::size_t>(std::min<std::uint64_t>(kWindowBytes, end_ - offset));
  const io::Bytes window = buffers_[current_].bytes().first(length);
  std::memset(window.data() + filled_bytes_, 0, length - filled_bytes_);
  keep_heads_of(window, offset);
  const Blocks equal = equal_blocks(offset, window);
  SK_TRY(submit_window(offset, window, equal));
  written_.push_back({.hash = fast_hash(window), .is_read = in_flight_[current_] == 0});
  if (in_flight_[current_] > 0) current_ = (current_ + 1) % kBuffers;
  filled_bytes_ = 0;
  present_.reset();
  SK_TRY(wait_for(current_));
  return hand_over(false);
}

Result<void> DirectVolumeWriter::hand_over(bool all) {
  if (!all && (!read_back_.is_beside() || written_.size() < kWindowsPerFlush)) return read_back_.failure();
  SK_TRY(wait_for_all());  // a flush covers only what is over
  return read_back_.check(std::exchange(written_, {}));
}

Result<void> DirectVolumeWriter::wait_for(std::size_t buffer) {
  Result<void> outcome = success();
  while (in_flight_[buffer] > 0) {
    SK_TRY_ASSIGN(auto completions, device_.reap(1));
    for (io::WriteCompletion& completion : completions) {
      --in_flight_[static_cast<std::size_t>(completion.tag)];
      if (!completion.result.has_value()) outcome = with_context(std::move(completion.result), device_.description());
    }
  }
  return outcome;
}

Result<void> DirectVolumeWriter::wait_for_all() {
  for (std::size_t buffer = 0; buffer < kBuffers; ++buffer) SK_TRY(wait_for(buffer));
  return success();
}

Result<void> DirectVolumeWriter::settle(Flush flush) {
  return guarded(Stage::heads_withheld, [&]() -> Result<void> {
    SK_TRY(wait_for_all());
    return flush == Flush::yes ? device_.sync() : success();
  });
}

Result<void> DirectVolumeWriter::check_body(ProgressSink& progress) {
  return guarded(Stage::heads_withheld, [&]() -> Result<void> {
    if (next_offset_ != image_bytes_) {
      return make_error(Errc::internal, device_.description() + ": only " + std::to_string(next_offset_) + " of " +
                                            std::to_string(image_bytes_) + " bytes were written");
    }
    SK_TRY(hand_over(true));
    SK_TRY(read_back_.finish(progress));
    stage_ = Stage::body_checked;
    return success();
  });
}

/// The part of a head range that the image has, filled up to a whole block; empty for a range behind the image.
io::ConstBytes DirectVolumeWriter::head_bytes(std::size_t head) const {
  const HeadRange& range = kHeadRanges[head];
  if (range.offset >= image_bytes_) return {};
  return heads_[head].bytes().first(static_cast<std::size_t>(std::min(range.length, end_ - range.offset)));
}

Result<void> DirectVolumeWriter::write_heads() {
  // The first one last, when the others are on the disk: without it hardly anything takes the volume for a filesystem.
  for (std::size_t head = kHeads; head-- > 0;) {
    if (head == 0) SK_TRY(device_.sync());
    if (!head_bytes(head).empty()) SK_TRY(device_.write(kHeadRanges[head].offset, head_bytes(head)));
  }
  SK_TRY(device_.sync());
  io::AlignedBuffer block(io::kDirectAlignment);
  for (std::size_t head = 0; head < kHeads; ++head) {
    const io::ConstBytes expected = head_bytes(head);
    if (expected.empty()) continue;
    SK_TRY_ASSIGN(const io::ConstBytes found, device_.read(kHeadRanges[head].offset, block.bytes()));
    const auto difference = std::mismatch(expected.begin(), expected.end(), found.begin());
    if (difference.first == expected.end()) continue;
    const auto at = static_cast<std::uint64_t>(difference.first - expected.begin());
    return reads_back_differently(device_, kHeadRanges[head].offset + at, expected.size() - at);
  }
  return success();
}

Result<void> DirectVolumeWriter::finish() {
  return guarded(Stage::body_checked, [&]() -> Result<void> {
    SK_TRY(write_heads());
    stage_ = Stage::finished;
    return success();
  });
}

Result<void> DirectVolumeWriter::close() {
  read_back_.stop();
  auto written = wait_for_all();
  SK_TRY(device_.close());
  return written;
}

}  // namespace

Result<std::unique_ptr<VolumeWriter>> VolumeWriter::open(io::Storage& storage, const Volume& volume,
                                                         std::uint64_t image_bytes, Helpers helpers,
                                                         const io::DeviceIdentity* checked) {
  SK_TRY_ASSIGN(VolumeDevice device, VolumeDevice::open(storage, volume, io::OpenMode::Access::read_write, checked));
  if (image_bytes == 0) return make_error(Errc::corrupt, "the image for " + device.description() + " is empty");
  if (image_bytes > device.capacity_bytes()) {
    return make_error(Errc::incompatible, "the image of " + std::to_string(image_bytes) + " bytes is larger than " +
                                              device.description() + ", which has " +
                                              std::to_string(device.capacity_bytes()));
  }
  return std::unique_ptr<VolumeWriter>(new DirectVolumeWriter(std::move(device), image_bytes, helpers));
}

Result<void> make_unbootable(io::Storage& storage, const Volume& volume) {
  SK_TRY_ASSIGN(VolumeDevice device, VolumeDevice::open(storage, volume, io::OpenMode::Access::read_write));
  SK_TRY(zero_heads(device));
  return device.close();
}

}  // namespace slotkeeper
