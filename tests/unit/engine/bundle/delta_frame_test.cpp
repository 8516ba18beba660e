#include "engine/bundle/delta_frame.hpp"

#include <algorithm>
#include <string>

#include <gtest/gtest.h>

namespace slotkeeper::bundle {
namespace {

using Bytes = std::vector<std::byte>;

constexpr std::uint64_t kOldBytes = 1000ull * kOldBlockBytes;

Bytes printed(std::vector<OldPart> parts) { return print_delta_frame(parts, io::as_bytes("frame")); }

/// A list as only a broken or hostile writer would make it.
Bytes listed(const std::vector<std::uint32_t>& numbers, std::uint32_t list_bytes, std::uint32_t magic = 0x184d2a50) {
  Bytes bytes;
  const auto append = [&](std::uint32_t number) {
    for (unsigned shift = 0; shift < 32; shift += 8) bytes.push_back(static_cast<std::byte>(number >> shift & 0xff));
  };
  append(magic);
  append(list_bytes);
  for (const std::uint32_t number : numbers) append(number);
  return bytes;
}

void expect_refused(const Bytes& stored, std::string_view gist) {
  const auto parsed = parse_delta_frame(stored, kOldBytes);
  ASSERT_FALSE(parsed.has_value()) << gist;
  EXPECT_EQ(parsed.error().code, Errc::corrupt);
  EXPECT_NE(parsed.error().message.find(gist), std::string::npos) << parsed.error().message;
}

TEST(DeltaFrame, ComesBackAsPrinted) {
  const std::vector<OldPart> parts = {{.first_block = 7, .blocks = 1}, {.first_block = 0, .blocks = 200}};
  const Bytes stored = printed(parts);
  EXPECT_EQ(stored.size(), 8 + 2 * 8 + 5u);
  const auto parsed = parse_delta_frame(stored, kOldBytes);
  ASSERT_TRUE(parsed.has_value()) << parsed.error().message;
  EXPECT_EQ(parsed.value().parts, parts);
  EXPECT_EQ(parsed.value().prefix_bytes(), 201 * kOldBlockBytes);
  EXPECT_EQ(io::as_text(parsed.value().frame), "frame");
}

/// The worked example of engine/DESIGN.md.
TEST(DeltaFrame, HasTheBytesOfTheDocumentedExample) {
  constexpr unsigned char kExample[] = {0x50, 0x2a, 0x4d, 0x18, 0x10, 0, 0, 0, 7, 0, 0,    0,    1,    0,
                                        0,    0,    0x2c, 1,    0,    0, 2, 0, 0, 0, 0x28, 0xb5, 0x2f, 0xfd};
  const auto bytes = std::as_bytes(std::span(kExample));
  EXPECT_TRUE(std::ranges::equal(print_delta_frame(std::vector<OldPart>{{7, 1}, {300, 2}}, bytes.last(4)), bytes));
}

TEST(DeltaFrame, TakesPartsUpToTheLimitAndToTheEndOfTheOldImage) {
  EXPECT_TRUE(parse_delta_frame(printed({{0, kOldPartsMaxBlocks}}), kOldBytes).has_value());
  EXPECT_TRUE(parse_delta_frame(printed({{999, 1}}), kOldBytes).has_value());
  // Of a last block that is not whole nothing is taken.
  expect_refused(printed({{1000, 1}}), "does not have");
  EXPECT_FALSE(parse_delta_frame(printed({{999, 1}}), kOldBytes - 512).has_value());
}

TEST(DeltaFrame, RefusesImpossibleLists) {
  expect_refused(listed({7, 1}, 8, 0xfd2fb528), "missing");
  expect_refused(listed({}, 0), "impossible length");
  expect_refused(listed({7, 1}, 4), "impossible length");
  expect_refused(listed({7, 1}, 16), "impossible length");
  expect_refused(listed({7, 1}, 0xfffffff8), "impossible length");
  expect_refused(listed({7, 0}, 8), "without blocks");
  expect_refused(listed({7, 994}, 8), "does not have");
  expect_refused(listed({0xffffffff, 0xffffffff}, 8), "does not have");
  expect_refused(listed({0, 200, 0, 57}, 16), "more than 256 blocks");
}

TEST(DeltaFrame, RefusesMorePartsThanBlocks) {
  std::vector<std::uint32_t> numbers;
  for (std::uint32_t i = 0; i <= kOldPartsMaxBlocks; ++i) numbers.insert(numbers.end(), {i, 1});
  expect_refused(listed(numbers, static_cast<std::uint32_t>(numbers.size() * 4)), "impossible length");
}

TEST(DeltaFrame, RefusesEveryTruncatedList) {
  const Bytes stored = printed({{7, 1}, {9, 3}});
  for (std::size_t length = 0; length < 24; ++length) {
    EXPECT_FALSE(parse_delta_frame(io::ConstBytes(stored).first(length), kOldBytes).has_value()) << length;
  }
}

}  // namespace
}  // namespace slotkeeper::bundle
