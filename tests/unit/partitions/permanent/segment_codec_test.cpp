#include "partitions/permanent/segment_codec.hpp"

#include <algorithm>

#include <gtest/gtest.h>

#include "tests/support/log_lines.hpp"
#include "tests/support/loop_device.hpp"
#include "tests/support/permanent_partition.hpp"
#include "tests/support/temporary_directory.hpp"

namespace slotkeeper::permanent {
namespace {

using namespace slotkeeper::test;  // NOLINT: the words of the tests

Result<std::string> decoded(const std::string& stored, std::size_t piece_bytes = 1 << 20) {
  std::string plain;
  std::size_t offset = 0;
  const SegmentInput input = [&](io::Bytes into) -> Result<std::size_t> {
    std::size_t count = 0;
    while (count < into.size() && offset < stored.size()) {
      const std::size_t piece = std::min({piece_bytes, into.size() - count, stored.size() - offset});
      std::copy_n(reinterpret_cast<const std::byte*>(stored.data()) + offset, piece, into.data() + count);
      offset += piece;
      count += piece;
    }
    return count;
  };
  SK_TRY(decode_segment(input, [&](io::ConstBytes bytes) -> Result<void> {
    plain += io::as_text(bytes);
    return success();
  }));
  return plain;
}

std::string encoded(const std::string& plain, unsigned int workers, std::size_t piece_bytes = 100'000) {
  SegmentEncoder encoder(workers);
  std::string stored;
  const SegmentOutput output = [&](io::ConstBytes bytes) -> Result<void> {
    stored += io::as_text(bytes);
    return success();
  };
  for (int round = 0; round < 2; ++round) {  // the second one reuses its memory
    stored.clear();
    encoder.begin(plain.size());
    for (std::size_t at = 0; at < plain.size(); at += piece_bytes) {
      EXPECT_TRUE(
          encoder.add(io::as_bytes(plain).subspan(at, std::min(piece_bytes, plain.size() - at)), output).has_value());
    }
    EXPECT_TRUE(encoder.finish(output).has_value());
  }
  return stored;
}

TEST(SegmentCodec, WhatItMakesIsReadByItselfAndByTheZstdTool) {
  const TemporaryDirectory folder;
  for (const std::size_t lines : {0U, 1U, 1000U, 60'000U}) {
    for (const unsigned int workers : {1U, 2U}) {
      const std::string plain = log_lines(1, lines);
      const std::string stored = encoded(plain, workers);
      EXPECT_TRUE(decoded(stored).value() == plain) << lines << " " << workers;
      put_file(folder / "x.zst", stored);
      EXPECT_TRUE(output_of("zstd -dcq " + folder / "x.zst") == plain);
      EXPECT_TRUE(lines == 0 || run_tool({"zstd", "-l", "-v", folder / "x.zst"}).find("XXH64") != std::string::npos);
      EXPECT_TRUE(lines < 1000 || stored.size() * 3 < plain.size());
    }
  }
}

TEST(SegmentCodec, FramesOneBehindTheOtherAreOneStream) {
  SegmentEncoder encoder(1);
  const std::string first = log_lines(1, 3000);
  const std::string second = noise(300'000, 7);
  std::string stored;
  for (const std::string* plain : {&first, &second}) {
    const auto frame = encoder.encode(io::as_bytes(*plain)).value();
    EXPECT_LE(frame.size(), frame_bound(plain->size()));
    stored += io::as_text(frame);
  }
  EXPECT_TRUE(decoded(stored).value() == first + second);
}

TEST(SegmentCodec, RefusesWhatIsCutOffDamagedOrNoFrame) {
  const std::string stored = encoded(log_lines(1, 5000), 1);
  EXPECT_EQ(decoded(stored.substr(0, stored.size() - 1)).error().code, Errc::corrupt);
  EXPECT_EQ(decoded("").error().code, Errc::corrupt);
  EXPECT_EQ(decoded(stored + "x").error().code, Errc::corrupt);
  EXPECT_EQ(decoded("entries as they were").error().code, Errc::corrupt);
  for (std::size_t at = 6; at < stored.size(); at += stored.size() / 50) {
    std::string damaged = stored;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
    EXPECT_FALSE(decoded(damaged).has_value()) << at;
  }
}

TEST(SegmentCodec, SaysWhenFewerBytesCameThanWereSaid) {
  SegmentEncoder encoder(1);
  const SegmentOutput output = [](io::ConstBytes) -> Result<void> { return success(); };
  encoder.begin(100);
  ASSERT_TRUE(encoder.add(io::as_bytes("short"), output).has_value());
  EXPECT_EQ(encoder.finish(output).error().code, Errc::internal);
}

TEST(SegmentCodec, KnowsCompressedContents) {
  for (const std::string tool : {"gzip", "zstd"}) {
    const TemporaryDirectory folder;
    put_file(folder / "x", "text");
    EXPECT_TRUE(looks_compressed(io::as_bytes(output_of(tool + " -c " + folder / "x")))) << tool;
  }
  for (const char* const magic : {"\xfd\x37zXZ", "BZh9"}) {
    EXPECT_TRUE(looks_compressed(io::as_bytes(std::string(magic) + std::string(8, '\0')))) << magic;
  }
  EXPECT_FALSE(looks_compressed(io::as_bytes(log_lines(1, 1))));
  EXPECT_FALSE(looks_compressed({}));
}

}  // namespace
}  // namespace slotkeeper::permanent
