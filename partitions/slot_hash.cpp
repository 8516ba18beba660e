#include "partitions/slot_hash.hpp"

#include <algorithm>
#include <atomic>
#include <functional>
#include <map>
#include <mutex>
#include <utility>

#include "partitions/io/aligned_buffer.hpp"
#include "partitions/volume_device.hpp"

namespace slotkeeper {
namespace {

static_assert(kHashPieceBytes % kHashBlockBytes == 0);

std::size_t pieces_in(std::uint64_t length) {
  return static_cast<std::size_t>((length + kHashPieceBytes - 1) / kHashPieceBytes);
}

/// Buffers for the threads that read: each takes one and gives it back.
class Buffers {
 public:
  class Lease {
   public:
    explicit Lease(Buffers& owner) : owner_(owner), buffer_(owner.take()) {}
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    ~Lease() { owner_.give_back(std::move(buffer_)); }
    [[nodiscard]] io::Bytes bytes() { return buffer_.bytes(); }

   private:
    Buffers& owner_;
    io::AlignedBuffer buffer_;
  };

 private:
  io::AlignedBuffer take() {
    const std::lock_guard lock(mutex_);
    if (free_.empty()) return io::AlignedBuffer(kHashPieceBytes);
    io::AlignedBuffer buffer = std::move(free_.back());
    free_.pop_back();
    return buffer;
  }
  void give_back(io::AlignedBuffer buffer) {
    const std::lock_guard lock(mutex_);
    free_.push_back(std::move(buffer));
  }

  std::mutex mutex_;
  std::vector<io::AlignedBuffer> free_;
};

/// Puts the blocks of pieces into order, which several threads read in none. Pieces are begun in ascending order: no
/// more than one for each thread waits here.
class BlocksInOrder {
 public:
  explicit BlocksInOrder(const BlockLook& look) : look_(look) {}

  void take(std::size_t piece, io::ConstBytes data) {
    if (!look_) return;
    std::vector<BlockHash> blocks;
    blocks.reserve(data.size() / kHashBlockBytes + 1);
    while (!data.empty()) {
      const auto block = data.first(std::min<std::size_t>(data.size(), kHashBlockBytes));
      blocks.push_back(hash_block(block));
      data = data.subspan(block.size());
    }
    const std::lock_guard lock(mutex_);
    waiting_.emplace(piece, std::move(blocks));
    for (auto first = waiting_.begin(); first != waiting_.end() && first->first == next_; ++next_) {
      look_(first->second);
      first = waiting_.erase(first);
    }
  }

 private:
  const BlockLook& look_;
  std::mutex mutex_;
  std::map<std::size_t, std::vector<BlockHash>> waiting_;
  std::size_t next_ = 0;
};

/// Hands every piece to `look`, from several threads.
Result<void> read_pieces(io::Storage& storage, const Volume& volume, std::uint64_t length, ProgressSink& progress,
                         Phase phase, Helpers helpers, const std::function<void(std::size_t, io::ConstBytes)>& look) {
  SK_TRY_ASSIGN(VolumeDevice device, VolumeDevice::open(storage, volume, io::OpenMode::Access::read));
  if (length > device.capacity_bytes()) {
    return make_error(Errc::io_error, device.description() + " has " + std::to_string(device.capacity_bytes()) +
                                          " bytes, fewer than the " + std::to_string(length) + " to be read");
  }
  SK_TRY(device.forget_cache());
  Buffers buffers;
  const auto read = [&](std::size_t piece) -> Result<void> {
    Buffers::Lease buffer(buffers);
    const std::uint64_t offset = std::uint64_t{piece} * kHashPieceBytes;
    SK_TRY_ASSIGN(const io::ConstBytes found, device.read(offset, buffer.bytes()));
    look(piece, found.first(static_cast<std::size_t>(std::min<std::uint64_t>(found.size(), length - offset))));
    return success();
  };
  const auto between = [&](std::size_t done) -> Result<void> {
    progress.progress(phase, std::min(std::uint64_t{done} * kHashPieceBytes, length), length);
    // From the switch on the work is finished, whatever was asked for.
    return phase < Phase::switch_over ? progress.check_cancelled() : success();
  };
  SK_TRY(for_each_piece(helpers, pieces_in(length), read, between));
  progress.progress(phase, length, length);
  return device.close();
}

}  // namespace

BlockHash hash_block(io::ConstBytes block) { return {.hash = fast_hash(block), .is_zero = io::is_all_zero(block)}; }

Result<VolumeHash> hash_volume(io::Storage& storage, const Volume& volume, std::uint64_t length, ProgressSink& progress,
                               Phase phase, Helpers helpers, const BlockLook& look) {
  VolumeHash hash;
  hash.fast_hashes.resize(pieces_in(length));
  std::vector<Sha256> digests(pieces_in(length));
  BlocksInOrder blocks(look);
  SK_TRY(read_pieces(storage, volume, length, progress, phase, helpers, [&](std::size_t piece, io::ConstBytes data) {
    hash.fast_hashes[piece] = fast_hash(data);
    digests[piece] = hash_piece(data);
    blocks.take(piece, data);
  }));
  hash.digest = combine_pieces(digests);
  return hash;
}

Result<void> look_at_blocks(io::Storage& storage, const Volume& volume, std::uint64_t length, ProgressSink& progress,
                            Phase phase, Helpers helpers, const BlockLook& look) {
  BlocksInOrder blocks(look);
  return read_pieces(storage, volume, length, progress, phase, helpers,
                     [&](std::size_t piece, io::ConstBytes data) { blocks.take(piece, data); });
}

Result<bool> reads_the_same(io::Storage& storage, const Volume& volume, std::uint64_t length,
                            const std::vector<std::uint64_t>& fast_hashes, ProgressSink& progress, Phase phase,
                            Helpers helpers) {
  SK_INVARIANT(fast_hashes.size() == pieces_in(length));
  std::atomic<bool> is_same{true};
  SK_TRY(read_pieces(storage, volume, length, progress, phase, helpers, [&](std::size_t piece, io::ConstBytes data) {
    if (fast_hash(data) != fast_hashes[piece]) is_same = false;
  }));
  return is_same.load();
}

}  // namespace slotkeeper
