#include "engine/bundle/chunk_index.hpp"

#include <gtest/gtest.h>

#include "engine/bundle/chunk_cutter.hpp"
#include "engine/bundle/manifest.hpp"

namespace slotkeeper::bundle {
namespace {

ChunkRow frame_row(std::uint64_t plain, std::uint32_t stored) {
  ChunkRow row{
      .plain_bytes = plain, .stored_bytes = stored, .flags = 0, .stored_digest = {}, .plain_digest = {}, .lookup = 0};
  row.stored_digest.bytes.fill(std::byte{0xaa});
  row.plain_digest.bytes.fill(std::byte{0xbb});
  row.lookup = plain % kHashBlockBytes == 0 ? 0xcccccccccccccccd : 0;
  return row;
}

ChunkRow zero_row(std::uint64_t plain) {
  return {.plain_bytes = plain,
          .stored_bytes = 0,
          .flags = chunk_flag::kZeroRun,
          .stored_digest = {},
          .plain_digest = {},
          .lookup = 0};
}

std::string hex(io::ConstBytes bytes) {
  std::string text;
  for (const std::byte b : bytes) {
    text += "0123456789abcdef"[std::to_integer<unsigned>(b) >> 4];
    text += "0123456789abcdef"[std::to_integer<unsigned>(b) & 15];
  }
  return text;
}

Errc parse_error(const ChunkIndex& index) {
  const auto parsed = parse_chunk_index(print_chunk_index(index), index.plain_bytes(), index.stored_bytes());
  return parsed.has_value() ? Errc::internal : parsed.error().code;
}

/// A row with this field changed.
template <class Change>
Errc error_of_row(Change change) {
  ChunkRow row = frame_row(4096, 100);
  change(row);
  return parse_error(ChunkIndex{{row}});
}

TEST(ChunkIndex, ComesBackAsPrinted) {
  const ChunkIndex index{{frame_row(65536, 1000), zero_row(1ull << 33), frame_row(5000, 5010), frame_row(1, 13)}};
  const auto bytes = print_chunk_index(index);
  EXPECT_EQ(bytes.size(), 16 + 4 * 88u);
  const auto parsed = parse_chunk_index(bytes, index.plain_bytes(), index.stored_bytes());
  ASSERT_TRUE(parsed.has_value()) << parsed.error().message;
  ASSERT_EQ(parsed.value().rows.size(), 4u);
  EXPECT_EQ(parsed.value().rows[1].plain_bytes, 1ull << 33);
  EXPECT_EQ(print_chunk_index(parsed.value()), bytes);
}

/// The worked example of engine/DESIGN.md.
TEST(ChunkIndex, HasTheBytesOfTheDocumentedExample) {
  EXPECT_EQ(hex(print_chunk_index({{frame_row(131072, 4660), zero_row(393216)}})),
            "534b494458310000"
            "02000000"
            "00000000"
            "0000020000000000"
            "34120000"
            "00000000" +
                std::string(64, 'a') + std::string(64, 'b') +
                "cdcccccccccccccc"
                "0000060000000000"
                "00000000"
                "01000000" +
                std::string(144, '0'));
}

TEST(ChunkIndex, RefusesAnotherHeaderOrLength) {
  ChunkIndex index{{frame_row(4096, 100)}};
  index.cut_average_bytes = 16384;
  const auto good = print_chunk_index(index);
  for (std::size_t i = 0; i < 16; ++i) {
    auto bytes = good;
    bytes[i] ^= std::byte{1};
    const auto parsed = parse_chunk_index(bytes, 4096, 100);
    ASSERT_FALSE(parsed.has_value()) << "byte " << i;
    EXPECT_EQ(parsed.error().code, Errc::corrupt);
  }
  for (std::size_t length = 0; length < good.size(); ++length) {
    EXPECT_FALSE(parse_chunk_index(io::ConstBytes(good).first(length), 4096, 100).has_value()) << length;
  }
  auto longer = good;
  longer.push_back(std::byte{0});
  EXPECT_FALSE(parse_chunk_index(longer, 4096, 100).has_value());
}

TEST(ChunkIndex, BelievesNoRowCountBeyondItsBytes) {
  auto bytes = print_chunk_index({{frame_row(4096, 100)}});
  for (std::size_t i = 8; i < 12; ++i) bytes[i] = std::byte{0xff};
  const auto parsed = parse_chunk_index(bytes, 4096, 100);
  ASSERT_FALSE(parsed.has_value());
  EXPECT_EQ(parsed.error().code, Errc::corrupt);
}

TEST(ChunkIndex, RefusesMoreBytesThanTheLimit) {
  const std::vector<std::byte> bytes(kIndexMaxBytes + 1);
  const auto parsed = parse_chunk_index(bytes, 4096, 100);
  ASSERT_FALSE(parsed.has_value());
  EXPECT_EQ(parsed.error().code, Errc::corrupt);
}

TEST(ChunkIndex, TakesChunksMadeFromTheOldImageUpToTheirOwnLimit) {
  EXPECT_EQ(error_of_row([](ChunkRow& row) {
              row.flags = chunk_flag::kOldImage;
              row.plain_bytes = kDeltaChunkMaxBytes + kHashBlockBytes;
            }),
            Errc::corrupt);
  EXPECT_EQ(error_of_row([](ChunkRow& row) {
              row = zero_row(4096);
              row.flags |= chunk_flag::kOldImage;
            }),
            Errc::corrupt);
  ChunkIndex index{{frame_row(kDeltaChunkMaxBytes, 100)}};
  EXPECT_FALSE(index.needs_old_image());
  index.rows[0].flags = chunk_flag::kOldImage;
  EXPECT_TRUE(index.needs_old_image());
  EXPECT_TRUE(parse_chunk_index(print_chunk_index(index), index.plain_bytes(), 100).has_value());
}

TEST(ChunkIndex, RefusesLengthsOutsideTheLimits) {
  EXPECT_EQ(error_of_row([](ChunkRow& row) { row.plain_bytes = 0; }), Errc::corrupt);
  EXPECT_EQ(error_of_row([](ChunkRow& row) { row.plain_bytes = kChunkMaxBytes + 1; }), Errc::corrupt);
  EXPECT_EQ(error_of_row([](ChunkRow& row) { row.plain_bytes = UINT64_MAX; }), Errc::corrupt);
  EXPECT_EQ(error_of_row([](ChunkRow& row) { row.stored_bytes = 0; }), Errc::corrupt);
  EXPECT_EQ(error_of_row([](ChunkRow& row) { row.stored_bytes = kFrameMaxBytes + 1; }), Errc::corrupt);
  EXPECT_EQ(error_of_row([](ChunkRow& row) { row = zero_row(kZeroRunMaxBytes + 1); }), Errc::corrupt);
  EXPECT_EQ(error_of_row([](ChunkRow& row) { row = zero_row(0); }), Errc::corrupt);
}

TEST(ChunkIndex, RefusesSumsThatDifferOrOverflow) {
  const ChunkIndex index{{frame_row(4096, 100), frame_row(4096, 200)}};
  const auto bytes = print_chunk_index(index);
  EXPECT_TRUE(parse_chunk_index(bytes, 8192, 300).has_value());
  EXPECT_EQ(parse_chunk_index(bytes, 8191, 300).error().code, Errc::corrupt);
  EXPECT_EQ(parse_chunk_index(bytes, 8193, 300).error().code, Errc::corrupt);
  EXPECT_EQ(parse_chunk_index(bytes, 8192, 299).error().code, Errc::corrupt);
  EXPECT_EQ(parse_chunk_index(bytes, 8192, 301).error().code, Errc::corrupt);
  // Two runs whose sum is 2^64 + 4096 must not pass for 4096.
  ChunkIndex wrapping{{zero_row(1ull << 63), zero_row((1ull << 63) + 4096)}};
  EXPECT_EQ(parse_chunk_index(print_chunk_index(wrapping), 4096, 0).error().code, Errc::corrupt);
}

TEST(ChunkIndex, RefusesAnEmptyIndexOfAnImage) {
  EXPECT_EQ(parse_chunk_index(print_chunk_index({}), 4096, 0).error().code, Errc::corrupt);
}

TEST(ChunkIndex, RefusesALookUpHashInsideABlock) {
  ChunkIndex index{{frame_row(5000, 100), frame_row(4096, 100)}};
  EXPECT_EQ(parse_error(index), Errc::corrupt);
  index.rows[1].lookup = 0;
  EXPECT_TRUE(parse_chunk_index(print_chunk_index(index), 9096, 200).has_value());
  EXPECT_EQ(error_of_row([](ChunkRow& row) {
              row = zero_row(4096);
              row.lookup = 1;
            }),
            Errc::corrupt);
}

TEST(ChunkIndex, TakesOnlyAveragesThatTheCutterHas) {
  const auto takes = [](std::uint32_t average) {
    ChunkIndex index{{frame_row(4096, 100)}};
    index.cut_average_bytes = average;
    return parse_chunk_index(print_chunk_index(index), 4096, 100).has_value();
  };
  for (const std::uint32_t average : {0u, kHashBlockBytes, 8192u, kCutAverageMaxBytes}) EXPECT_TRUE(takes(average));
  for (const std::uint32_t average : {1u, 2048u, 8193u, 12288u, 2 * kCutAverageMaxBytes}) EXPECT_FALSE(takes(average));
}

TEST(ChunkIndex, RefusesFlagsItDoesNotKnow) {
  EXPECT_EQ(error_of_row([](ChunkRow& row) { row.flags = 8; }), Errc::unsupported);
  EXPECT_EQ(error_of_row([](ChunkRow& row) { row.flags = 1u << 31; }), Errc::unsupported);
}

TEST(ChunkIndex, TellsWhetherAllFramesAreEncrypted) {
  ChunkIndex index{{frame_row(4096, 100), zero_row(4096), frame_row(4096, 100)}};
  EXPECT_TRUE(index.frames_are(false));
  EXPECT_FALSE(index.frames_are(true));
  index.rows[0].flags = chunk_flag::kEncrypted;
  EXPECT_FALSE(index.frames_are(false));
  EXPECT_FALSE(index.frames_are(true));
  index.rows[2].flags = chunk_flag::kEncrypted | chunk_flag::kOldImage;
  EXPECT_TRUE(index.frames_are(true));
}

TEST(ChunkIndex, RefusesAZeroRunThatSaysAnythingElse) {
  EXPECT_EQ(error_of_row([](ChunkRow& row) { row.flags = chunk_flag::kZeroRun; }), Errc::corrupt);
  EXPECT_EQ(error_of_row([](ChunkRow& row) {
              row = zero_row(4096);
              row.stored_bytes = 1;
            }),
            Errc::corrupt);
  EXPECT_EQ(error_of_row([](ChunkRow& row) {
              row = zero_row(4096);
              row.plain_digest.bytes[31] = std::byte{1};
            }),
            Errc::corrupt);
}

}  // namespace
}  // namespace slotkeeper::bundle
