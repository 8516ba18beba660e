#include "partitions/permanent/contents_readers.hpp"

#include <algorithm>
#include <utility>

#include "partitions/permanent/steady_file.hpp"

namespace slotkeeper::permanent {
namespace {

constexpr std::size_t kBufferBytes = std::size_t{128} * 1024;

/// State may change while it is in use: a second look is all it gets. Logs grow, and nothing depends on their digest.
int attempts_max(ClassKind kind) {
  if (kind == ClassKind::config) return kReadAttemptsMax;
  return is_protected(kind) ? 2 : 1;
}

}  // namespace

unsigned int readers_for(const io::Directory& root) {
  const unsigned int processors = std::thread::hardware_concurrency();
  return root.is_concurrent() && processors > 1 ? std::min(processors, kReadersMax) : 0;
}

ContentsReaders::ContentsReaders(io::Directory& root, unsigned int threads) : root_(root) {
  if (threads == 0) own_buffer_.resize(kBufferBytes);
  for (unsigned int i = 0; i < threads; ++i) threads_.emplace_back([this] { work(); });
}

ContentsReaders::~ContentsReaders() {
  {
    const std::scoped_lock lock(mutex_);
    given_up_ = true;
  }
  is_queued_.notify_all();
}

void ContentsReaders::hand_over(Entry entry) {
  SK_INVARIANT(in_flight_ < kReadsInFlightMax);
  ++in_flight_;
  if (threads_.empty()) {
    done_.push_back(read(std::move(entry), own_buffer_));
    return;
  }
  {
    const std::scoped_lock lock(mutex_);
    queue_.push_back(std::move(entry));
  }
  is_queued_.notify_one();
}

std::vector<ContentsReaders::Done> ContentsReaders::take_back(std::chrono::milliseconds wait) {
  std::unique_lock lock(mutex_);
  if (in_flight_ > 0) is_done_.wait_for(lock, wait, [this] { return !done_.empty(); });
  std::vector<Done> taken = std::exchange(done_, {});
  in_flight_ -= taken.size();
  return taken;
}

void ContentsReaders::work() {
  std::vector<std::byte> buffer(kBufferBytes);
  std::unique_lock lock(mutex_);
  for (;;) {
    is_queued_.wait(lock, [this] { return given_up_ || !queue_.empty(); });
    if (given_up_) return;
    Entry entry = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    Done done = read(std::move(entry), buffer);
    lock.lock();
    done_.push_back(std::move(done));
    is_done_.notify_one();
  }
}

ContentsReaders::Done ContentsReaders::read(Entry entry, io::Bytes buffer) const {
  for (int attempt = 1;; ++attempt) {
    Result<bool> steady = read_once(entry, buffer);
    if (!steady.has_value()) return {.entry = std::move(entry), .error = std::move(steady).assume_error()};
    if (steady.assume_value()) return {.entry = std::move(entry), .error = {}};
    if (attempt < attempts_max(entry.kind)) continue;
    const bool counts = entry.kind == ClassKind::config;
    return {.entry = std::move(entry), .keeps_changing = counts, .error = {}};
  }
}

/// True when the file was the same all the time.
Result<bool> ContentsReaders::read_once(Entry& entry, io::Bytes buffer) const {
  SK_TRY_ASSIGN(SteadyFile file, SteadyFile::open(root_, entry.path));
  entry.status = file.status();
  if (is_protected(entry)) {
    SK_TRY_ASSIGN(entry.attributes, file.file().extended_attributes());
    std::ranges::sort(entry.attributes);
  }
  SK_TRY_ASSIGN(entry.digest, hash_contents(file.file(), buffer, entry.status.size_bytes, &given_up_));
  SK_TRY_ASSIGN(const bool same, file.stayed_the_same());
  SK_TRY(file.file().close());
  return same;
}

}  // namespace slotkeeper::permanent
