// Chunks that come from the slots instead of the bundle.
#include <algorithm>
#include <functional>
#include <mutex>

#include <gtest/gtest.h>

#include "tests/unit/engine/bundle/bundle_workshop.hpp"

namespace slotkeeper::bundle {
namespace {

using test::MemorySource;
using test::policy_with;
using test::TwoStrings;
using From = ReusePlan::From;

constexpr std::size_t kMiB = 1 << 20;

std::vector<BlockHash> blocks_of(const std::string& bytes) {
  std::vector<BlockHash> blocks;
  for (std::size_t at = 0; at < bytes.size(); at += kHashBlockBytes) {
    blocks.push_back(hash_block(io::as_bytes(std::string_view(bytes).substr(at, kHashBlockBytes))));
  }
  return blocks;
}

/// A bundle of `image`, and a reader that looks at both slots.
class Reuse : public testing::TestWithParam<Helpers> {
 protected:
  void pack(const std::string& image, std::uint32_t chunk_bytes = 0) {
    wanted = image;
    const test::TemporaryDirectory folder;
    auto request = test::request_for(folder, "one.skb", {{"rootfs", image}});
    request.chunk_bytes = chunk_bytes;
    ASSERT_TRUE(test::create(request).has_value());
    auto opened = std::make_unique<MemorySource>(test::read_file(request.output_path));
    source = opened.get();
    manifest.emplace(verify_bundle(open_bundle(std::move(opened)).value(), policy_with()).value());
    rows = &manifest->index(0).rows;
    plan.emplace(rows->size());
  }

  void look_at_target() {
    InPlace in_place(*rows, *plan);
    in_place.add(blocks_of(slots.target));
  }
  void look_at_old() {
    OldChunks chunks(manifest->index(0).cut_average_bytes);
    const auto blocks = blocks_of(slots.old);
    chunks.add(std::span(blocks).first(blocks.size() / 3));
    chunks.add(std::span(blocks).subspan(blocks.size() / 3));
    chunks.finish();
    plan->take_from_old_slot(*rows, chunks);
  }

  /// Bytes by where they came from.
  std::map<From, std::uint64_t> read_whole() {
    const std::uint64_t before = source->bytes_read();
    ImageReader reader(*manifest, 0, {.helpers = GetParam(), .plan = &*plan, .on_slots = &slots});
    std::map<From, std::uint64_t> counts;
    std::string bytes;
    while (true) {
      const auto chunk = reader.next();
      if (!chunk.has_value()) ADD_FAILURE() << chunk.error().message;
      if (!chunk.has_value() || !chunk.value()) break;
      EXPECT_EQ(chunk.value()->offset, bytes.size());
      if (chunk.value()->zeros) {
        bytes.append(chunk.value()->plain_bytes, '\0');
      } else {
        bytes.append(io::as_text(chunk.value()->data));
        counts[chunk.value()->from] += chunk.value()->plain_bytes;
      }
    }
    EXPECT_TRUE(bytes == wanted);
    fetched_bytes = source->bytes_read() - before;
    return counts;
  }

  std::string wanted;
  std::optional<VerifiedManifest> manifest;
  MemorySource* source = nullptr;
  const std::vector<ChunkRow>* rows = nullptr;
  std::optional<ReusePlan> plan;
  TwoStrings slots;
  std::uint64_t fetched_bytes = 0;
};

TEST_P(Reuse, WhatTheTargetHoldsAtItsPlaceIsNotFetched) {
  pack(test::image_bytes(4 * kMiB + 512, 1));
  slots.target = wanted;
  look_at_target();
  EXPECT_EQ(read_whole()[From::bundle], 0u);
  EXPECT_EQ(fetched_bytes, 0u);
  // The same bytes anywhere else are of no use there.
  slots.target.insert(0, 4096, 'x');
  plan.emplace(rows->size());
  look_at_target();
  EXPECT_EQ(read_whole()[From::target], 0u);
}

TEST_P(Reuse, WhatTheRunningSlotHoldsAtAnyPlaceIsCopied) {
  const std::string image = test::image_bytes(4 * kMiB + 512, 1);
  pack(image);
  slots.old = test::image_bytes(kMiB, 2) + image.substr(2 * kMiB, 2 * kMiB) + image.substr(kMiB, kMiB / 2) +
              image.substr(0, kMiB);
  look_at_old();
  auto counts = read_whole();
  EXPECT_GT(counts[From::old_slot], counts[From::bundle] * 4);
  EXPECT_LT(fetched_bytes, counts[From::bundle] + 4096);
}

TEST_P(Reuse, AHintThatIsWrongCostsNothingButTheReading) {
  pack(test::image_bytes(4 * kMiB, 1));
  slots.target = wanted;
  look_at_target();
  slots.old = wanted;
  // Read after the look: every 50th block of the target is another one now.
  for (std::size_t at = 0; at < slots.target.size(); at += 50 * 4096) slots.target[at] ^= 1;
  auto counts = read_whole();
  EXPECT_GT(counts[From::bundle], 0u);
  EXPECT_GT(counts[From::target], counts[From::bundle]);
}

TEST_P(Reuse, ASlotThatCannotBeReadIsReplacedByTheBundle) {
  pack(test::image_bytes(4 * kMiB, 1));
  slots.target = slots.old = wanted;
  look_at_target();
  look_at_old();
  slots.fails = true;
  auto counts = read_whole();
  EXPECT_EQ(counts[From::target] + counts[From::old_slot], 0u);
}

TEST_P(Reuse, ADamagedFrameBehindAWrongHintIsFound) {
  pack(test::image_bytes(kMiB, 1));
  slots.target = wanted;
  look_at_target();
  slots.target.assign(slots.target.size(), 'x');
  source->bytes()[manifest->frames_offset(0) + (*rows)[0].stored_bytes / 2] ^= 1;
  ImageReader reader(*manifest, 0, {.helpers = GetParam(), .plan = &*plan, .on_slots = &slots});
  test::expect_failure(reader.next(), Errc::corrupt, "chunk 0");
}

TEST_P(Reuse, ChunksOfAFixedLengthAreFoundAtTheirPlaceOnly) {
  pack(test::image_bytes(2 * kMiB, 1), 64 * 1024);
  EXPECT_EQ(manifest->index(0).cut_average_bytes, 0u);
  slots.target = wanted;
  look_at_target();
  EXPECT_EQ(read_whole()[From::bundle], 0u);
}

INSTANTIATE_TEST_SUITE_P(Helpers, Reuse, testing::Values(0u, 1u, 3u));

TEST(ReuseOfAStream, LooksAtNoSlot) {
  const test::TemporaryDirectory folder;
  const std::string image = test::image_bytes(kMiB, 1);
  const auto request = test::request_for(folder, "one.skb", {{"rootfs", image}});
  ASSERT_TRUE(test::create(request).has_value());
  auto stream = std::make_unique<MemorySource>(test::read_file(request.output_path), false);
  const auto manifest = verify_bundle(open_bundle(std::move(stream)).value(), policy_with()).value();
  ReusePlan plan(manifest.index(0).rows.size());
  plan.take_from_target(0);
  TwoStrings slots;
  slots.target = image;
  ImageReader reader(manifest, 0, {.plan = &plan, .on_slots = &slots});
  EXPECT_EQ(reader.next().value()->from, From::bundle);
}

}  // namespace
}  // namespace slotkeeper::bundle
