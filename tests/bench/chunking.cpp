// How images could be cut into chunks: what an index costs, what a rebuilt image shares with the one before, what
// compresses how well and how fast. Prints a table. Arguments: the old image, the new image.
//
// Three ways to cut, with averages from 4 KiB to 1 MiB. `fixed`: every so many bytes. `blocks`: behind a block of 4 KiB
// whose XXH3 is divisible by a number that follows from the average, so that every chunk begins on a block. `bytes`:
// behind a byte where the upper bits of the gear hash are zero, two bits more than usual before the average is reached
// and two less after it, as FastCDC does.
// The last two have at least a quarter and at most four times the average. Zero blocks are left out of chunks where a
// run of them is at least as long as the average (`fixed`: where they fill a chunk); each run is one row of the index.
#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <sys/mman.h>
#include <sys/stat.h>
#include <thread>
#include <tuple>
#include <unistd.h>
#include <unordered_set>
#include <vector>
#include <xxhash.h>
#include <zstd.h>

namespace {

constexpr std::size_t kBlock = 4096;
constexpr std::size_t kAverageMax = std::size_t{1} << 20U;
/// A row of the index in a bundle: two hashes and two places with their lengths.
constexpr std::size_t kRowBytes = 80;
/// What finds a chunk of the old image: half of its hash, its place, its length.
constexpr std::size_t kLookupBytes = 32;
constexpr int kLevel = 12;

using Bytes = std::span<const std::uint8_t>;

struct Chunk {
  std::size_t offset = 0;
  std::size_t length = 0;
};

struct Cut {
  std::vector<Chunk> chunks;  // without zero runs
  std::size_t zero_runs = 0;
  [[nodiscard]] std::size_t rows() const { return chunks.size() + zero_runs; }
};

/// The length of a chunk that begins where `data` begins; at most data.size().
using Cutter = std::function<std::size_t(Bytes data)>;

struct Scheme {
  const char* name;
  std::size_t average;
  bool is_fixed;
  Cutter next;
};

[[noreturn]] void fail(const std::string& what) {
  std::perror(what.c_str());
  std::exit(1);
}

Bytes map(const char* path) {
  const int file = ::open(path, O_RDONLY | O_CLOEXEC);
  struct stat status {};
  if (file < 0 || ::fstat(file, &status) != 0) fail(path);
  const auto size = static_cast<std::size_t>(status.st_size);
  void* const data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, file, 0);
  if (data == MAP_FAILED) fail(path);
  ::close(file);
  return {static_cast<const std::uint8_t*>(data), size};
}

double seconds_of(const std::function<void()>& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// ---- cutting ------------------------------------------------------------------------------------------------------

std::size_t end_of_fixed(Bytes data, std::size_t average) { return std::min(average, data.size()); }

std::size_t end_by_blocks(Bytes data, std::size_t average) {
  const std::size_t min = std::max(average / 4, kBlock);
  const std::size_t max = std::min(average * 4, data.size());
  // Past the minimum a cut follows after average - min bytes in the mean.
  const std::uint64_t one_in = std::max<std::uint64_t>(1, (average - min) / kBlock + 1);
  for (std::size_t end = min; end < max; end += kBlock) {
    const std::uint64_t hash = XXH3_64bits(data.data() + end - kBlock, kBlock);
    if (hash % one_in == 0) return end;
  }
  return max;
}

/// A random number for each value of a byte, always the same ones (SplitMix64).
std::array<std::uint64_t, 256> make_gear() {
  std::array<std::uint64_t, 256> gear{};
  std::uint64_t state = 0;
  for (auto& number : gear) {
    state += 0x9e3779b97f4a7c15U;
    std::uint64_t mixed = state;
    mixed = (mixed ^ (mixed >> 30U)) * 0xbf58476d1ce4e5b9U;
    mixed = (mixed ^ (mixed >> 27U)) * 0x94d049bb133111ebU;
    number = mixed ^ (mixed >> 31U);
  }
  return gear;
}

std::size_t end_by_bytes(Bytes data, std::size_t average) {
  static const auto kGear = make_gear();
  const auto bits = static_cast<unsigned>(__builtin_ctzll(average));
  const std::size_t max = std::min(average * 4, data.size());
  const std::size_t normal = std::min(average, max);
  std::size_t i = std::min(average / 4, max);
  std::uint64_t hash = 0;
  // The upper bits have seen the most bytes.
  for (; i < normal; ++i) {
    hash = (hash << 1U) + kGear[data[i]];
    if (hash >> (64 - bits - 2) == 0) return i + 1;
  }
  for (; i < max; ++i) {
    hash = (hash << 1U) + kGear[data[i]];
    if (hash >> (64 - bits + 2) == 0) return i + 1;
  }
  return max;
}

bool is_zero(Bytes data) {
  return data.empty() || (data[0] == 0 && std::equal(data.begin() + 1, data.end(), data.begin()));
}

/// The zero runs that count, as chunks: whole blocks, at least `min` bytes.
std::vector<Chunk> zero_runs_of(Bytes image, std::size_t min) {
  std::vector<Chunk> runs;
  std::size_t begin = 0;
  for (std::size_t at = 0; at <= image.size(); at += kBlock) {
    if (at < image.size() && is_zero(image.subspan(at, std::min(kBlock, image.size() - at)))) continue;
    if (at - begin >= min) runs.push_back({begin, at - begin});
    begin = at + kBlock;
  }
  return runs;
}

Cut cut_fixed(Bytes image, const Scheme& scheme) {
  Cut cut;
  bool in_zeros = false;
  for (std::size_t at = 0; at < image.size(); at += scheme.average) {
    const std::size_t length = scheme.next(image.subspan(at));
    const bool zeros = is_zero(image.subspan(at, length));
    if (!zeros) cut.chunks.push_back({at, length});
    if (zeros && !in_zeros) ++cut.zero_runs;
    in_zeros = zeros;
  }
  return cut;
}

/// `runs` are found before, since that is the same work whatever the scheme.
Cut cut(Bytes image, const Scheme& scheme, const std::vector<Chunk>& runs) {
  if (scheme.is_fixed) return cut_fixed(image, scheme);
  Cut cut;
  cut.zero_runs = runs.size();
  std::size_t at = 0;
  const auto cut_up_to = [&](std::size_t end) {
    while (at < end) {
      const std::size_t length = scheme.next(image.subspan(at, end - at));
      cut.chunks.push_back({at, length});
      at += length;
    }
  };
  for (const auto& run : runs) {
    cut_up_to(run.offset);
    at = run.offset + run.length;
  }
  cut_up_to(image.size());
  return cut;
}

// ---- what is new, compression -------------------------------------------------------------------------------------

struct Key {
  XXH128_hash_t hash;
  bool operator==(const Key& other) const { return XXH128_isEqual(hash, other.hash) != 0; }
};
struct KeyHash {
  std::size_t operator()(const Key& key) const { return key.hash.low64; }
};
using Keys = std::unordered_set<Key, KeyHash>;

Key key_of(Bytes image, const Chunk& chunk) { return {XXH3_128bits(image.data() + chunk.offset, chunk.length)}; }

using Frames = std::vector<std::vector<std::uint8_t>>;

/// Every chunk as a frame of its own; as it is where it does not get smaller.
Frames compress(Bytes image, const std::vector<Chunk>& chunks) {
  Frames frames(chunks.size());
  std::atomic<std::size_t> next = 0;
  const auto work = [&] {
    const std::unique_ptr<ZSTD_CCtx, std::size_t (*)(ZSTD_CCtx*)> context(ZSTD_createCCtx(), ZSTD_freeCCtx);
    std::vector<std::uint8_t> buffer(ZSTD_compressBound(kAverageMax * 4));
    for (std::size_t i = next++; i < chunks.size(); i = next++) {
      const std::uint8_t* const plain = image.data() + chunks[i].offset;
      const std::size_t size =
          ZSTD_compressCCtx(context.get(), buffer.data(), buffer.size(), plain, chunks[i].length, kLevel);
      if (ZSTD_isError(size) != 0) fail("zstd");
      if (size < chunks[i].length) {
        frames[i].assign(buffer.begin(), buffer.begin() + static_cast<std::ptrdiff_t>(size));
      } else {
        frames[i].assign(plain, plain + chunks[i].length);
      }
    }
  };
  {
    std::vector<std::jthread> threads;
    for (unsigned i = 0; i < std::max(1U, std::thread::hardware_concurrency()); ++i) threads.emplace_back(work);
  }
  return frames;
}

void decompress(const Frames& frames, const std::vector<Chunk>& chunks) {
  const std::unique_ptr<ZSTD_DCtx, std::size_t (*)(ZSTD_DCtx*)> context(ZSTD_createDCtx(), ZSTD_freeDCtx);
  std::vector<std::uint8_t> buffer(kAverageMax * 4);
  for (std::size_t i = 0; i < frames.size(); ++i) {
    if (frames[i].size() == chunks[i].length) {
      std::ranges::copy(frames[i], buffer.begin());
    } else if (ZSTD_decompressDCtx(context.get(), buffer.data(), buffer.size(), frames[i].data(), frames[i].size()) !=
               chunks[i].length) {
      fail("zstd");
    }
  }
}

double mib(std::size_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

void print_row(const Scheme& scheme, Bytes old_image, Bytes new_image) {
  const std::size_t zero_min = std::max(scheme.average, kBlock);
  const Cut old_cut = cut(old_image, scheme, zero_runs_of(old_image, zero_min));
  const auto new_runs = zero_runs_of(new_image, zero_min);
  Cut new_cut;
  const double cutting_s = seconds_of([&] { new_cut = cut(new_image, scheme, new_runs); });

  Keys known;
  for (const auto& chunk : old_cut.chunks) known.insert(key_of(old_image, chunk));
  const Frames frames = compress(new_image, new_cut.chunks);
  std::size_t content = 0;
  std::size_t stored = 0;
  std::size_t new_content = 0;
  std::size_t new_stored = 0;
  for (std::size_t i = 0; i < frames.size(); ++i) {
    content += new_cut.chunks[i].length;
    stored += frames[i].size();
    // What comes twice is fetched once.
    if (!known.insert(key_of(new_image, new_cut.chunks[i])).second) continue;
    new_content += new_cut.chunks[i].length;
    new_stored += frames[i].size();
  }
  const double unpacking_s = seconds_of([&] { decompress(frames, new_cut.chunks); });

  const std::string cutting =
      scheme.is_fixed ? "" : std::to_string(static_cast<int>(static_cast<double>(content) / 1e6 / cutting_s));
  std::printf("| %s | %zu | %.1f | %zu | %.0f | %.2f | %.2f | %.2f | %.0f | %s | %.0f |\n", scheme.name,
              scheme.average >> 10U, static_cast<double>(content) / 1024 / static_cast<double>(frames.size()),
              frames.size(), static_cast<double>(new_cut.rows() * kRowBytes) / 1024, mib(new_content), mib(new_stored),
              mib(stored), static_cast<double>(new_cut.rows() * kRowBytes + old_cut.rows() * kLookupBytes) / 1024,
              cutting.c_str(), static_cast<double>(content) / 1e6 / unpacking_s);
  std::fflush(stdout);
}

}  // namespace

int main(int count, char** words) {
  if (count != 3) {
    std::fprintf(stderr, "usage: chunking OLD NEW\n");
    return 2;
  }
  const Bytes old_image = map(words[1]);
  const Bytes new_image = map(words[2]);
  std::printf(
      "| cut | average KiB | measured KiB | chunks | index KiB | new content MiB | new, zstd -%d MiB | all, zstd -%d "
      "MiB | "
      "index in memory KiB | cutting MB/s | unpacking MB/s |\n|---|---|---|---|---|---|---|---|---|---|---|\n",
      kLevel, kLevel);
  for (const auto& [name, is_fixed, end_of] :
       {std::tuple{"fixed", true, &end_of_fixed}, std::tuple{"blocks", false, &end_by_blocks},
        std::tuple{"bytes", false, &end_by_bytes}}) {
    for (std::size_t average = kBlock; average <= kAverageMax; average *= 2) {
      print_row({.name = name,
                 .average = average,
                 .is_fixed = is_fixed,
                 .next = [average, end_of = end_of](Bytes data) { return end_of(data, average); }},
                old_image, new_image);
    }
  }
  return 0;
}
