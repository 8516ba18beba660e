#include "engine/bundle/chunk_cutter.hpp"

#include <algorithm>
#include <random>
#include <set>

#include <gtest/gtest.h>

namespace slotkeeper::bundle {
namespace {

constexpr std::uint32_t kAverage = 16 * 1024;
constexpr std::size_t kAverageBlocks = kAverage / kHashBlockBytes;

using Blocks = std::vector<BlockHash>;

/// Runs of zeros of any length among other blocks.
Blocks random_blocks(std::size_t count, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  Blocks blocks;
  while (blocks.size() < count) {
    const bool zeros = random() % 8 == 0;
    for (std::size_t i = random() % (zeros ? 40 : 200); i-- > 0;) {
      blocks.push_back(zeros ? BlockHash{.hash = 7, .is_zero = true} : BlockHash{.hash = random(), .is_zero = false});
    }
  }
  blocks.resize(count);
  return blocks;
}

std::vector<Cut> cut(const Blocks& blocks, std::uint32_t average = kAverage) {
  ChunkCutter cutter(average);
  std::vector<Cut> cuts;
  for (const BlockHash& block : blocks) cutter.add(block, cuts);
  cutter.finish(cuts);
  return cuts;
}

TEST(ChunkCutter, EveryBlockIsInOneChunkWithinTheBoundsAndLongRunsOfZerosAreTheirOwn) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    const Blocks blocks = random_blocks(3000, seed);
    std::size_t at = 0;
    for (const Cut& each : cut(blocks)) {
      ASSERT_GT(each.blocks, 0u) << "seed " << seed;
      ASSERT_LE(at + each.blocks, blocks.size()) << "seed " << seed;
      std::vector<std::uint64_t> hashes;
      std::size_t zeros_in_a_row = 0;
      for (std::size_t i = at; i < at + each.blocks; ++i) {
        hashes.push_back(blocks[i].hash);
        zeros_in_a_row = blocks[i].is_zero ? zeros_in_a_row + 1 : 0;
        if (each.zeros) {
          ASSERT_TRUE(blocks[i].is_zero) << "seed " << seed << " block " << i;
        } else {
          ASSERT_LT(zeros_in_a_row, kAverageBlocks) << "seed " << seed << " block " << i;
        }
      }
      if (each.zeros) {
        ASSERT_LE(each.blocks, 4 * kAverageBlocks);
        ASSERT_EQ(each.lookup, 0u);
      } else {
        ASSERT_LT(each.blocks, 5 * kAverageBlocks);
        ASSERT_EQ(each.lookup, lookup_hash(hashes));
      }
      at += each.blocks;
    }
    ASSERT_EQ(at, blocks.size()) << "seed " << seed;
  }
}

TEST(ChunkCutter, HasTheAverageItWasAskedFor) {
  Blocks blocks;
  std::mt19937_64 random(3);
  for (int i = 0; i < 200000; ++i) blocks.push_back({.hash = random(), .is_zero = false});
  for (const std::uint32_t average : {8u << 10U, 64u << 10U, 512u << 10U}) {
    const double mean = 200000.0 * kHashBlockBytes / static_cast<double>(cut(blocks, average).size());
    EXPECT_GT(mean, 0.75 * average) << average;
    EXPECT_LT(mean, 1.25 * average) << average;
  }
}

TEST(ChunkCutter, NeverCutsMoreThanTwiceAsManyAsTheAverageSays) {
  // The worst there is: every block may end a chunk, and single ones stand between the shortest runs of zeros.
  Blocks ends(4096, BlockHash{.hash = 0, .is_zero = false});
  EXPECT_LE(cut(ends).size(), 2 * ends.size() / kAverageBlocks + 1);
  Blocks combed;
  while (combed.size() < 4096) {
    combed.push_back({.hash = 5, .is_zero = false});
    combed.insert(combed.end(), kAverageBlocks, BlockHash{.hash = 7, .is_zero = true});
  }
  EXPECT_LE(cut(combed).size(), 2 * combed.size() / kAverageBlocks + 1);
}

TEST(ChunkCutter, WhatMovedIsCutTheSameWay) {
  const Blocks before = random_blocks(4000, 11);
  Blocks after = before;
  const Blocks inserted = random_blocks(3, 12);
  after.insert(after.begin() + 2000, inserted.begin(), inserted.end());
  std::set<std::uint64_t> known;
  for (const Cut& each : cut(before)) known.insert(each.lookup);
  std::size_t unknown = 0;
  for (const Cut& each : cut(after)) unknown += known.contains(each.lookup) ? 0 : each.blocks;
  EXPECT_GE(unknown, 3u);
  EXPECT_LE(unknown, 10 * kAverageBlocks);
}

}  // namespace
}  // namespace slotkeeper::bundle
