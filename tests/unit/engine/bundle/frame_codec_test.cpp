#include "engine/bundle/frame_codec.hpp"

#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace slotkeeper::bundle {
namespace {

using Bytes = std::vector<std::byte>;

Bytes bytes_of(std::string_view text) {
  const auto view = io::as_bytes(text);
  return {view.begin(), view.end()};
}

Bytes encode(std::string_view text) { return FrameEncoder(3).encode(io::as_bytes(text)).value(); }

void expect_refused(const Bytes& frame, std::size_t plain_bytes) {
  // Room behind the chunk, so that a write beyond its end would show.
  Bytes room(plain_bytes + 64, std::byte{0x5a});
  const auto decoded = FrameDecoder().decode(frame, io::Bytes(room).first(plain_bytes));
  ASSERT_FALSE(decoded.has_value());
  EXPECT_EQ(decoded.error().code, Errc::corrupt);
  for (std::size_t i = plain_bytes; i < room.size(); ++i) ASSERT_EQ(room[i], std::byte{0x5a});
}

const std::string kText = [] {
  std::string text;
  for (int i = 0; i < 1000; ++i) text += "line " + std::to_string(i * i) + "\n";
  return text;
}();

TEST(FrameCodec, DecodesWhatItEncoded) {
  FrameEncoder encoder(12);
  FrameDecoder decoder;
  for (const std::string& text : {kText, std::string("x"), std::string(4 << 20, '\0')}) {
    const auto frame = encoder.encode(io::as_bytes(text));
    ASSERT_TRUE(frame.has_value());
    Bytes plain(text.size());
    const auto decoded = decoder.decode(frame.value(), plain);
    ASSERT_TRUE(decoded.has_value()) << decoded.error().message;
    EXPECT_EQ(io::as_text(plain), text);
  }
}

TEST(FrameCodec, RefersToAPrefixFromItsFirstByteOn) {
  std::string prefix(1 << 20, '\0');
  std::uint64_t state = 1;
  for (char& c : prefix) c = static_cast<char>((state = state * 6364136223846793005U + 1442695040888963407U) >> 56U);
  const std::string text = prefix.substr(0, 300000) + "new" + prefix.substr(700000);
  FrameEncoder encoder(19);
  FrameDecoder decoder;
  const auto frame = encoder.encode(io::as_bytes(text), io::as_bytes(prefix)).value();
  EXPECT_LT(frame.size(), 100u);
  Bytes plain(text.size());
  ASSERT_TRUE(decoder.decode(frame, plain, io::as_bytes(prefix)).has_value());
  EXPECT_EQ(io::as_text(plain), text);
  // It holds for one frame only.
  EXPECT_FALSE(decoder.decode(frame, plain).has_value());
  EXPECT_EQ(encoder.encode(io::as_bytes(kText)).value(), FrameEncoder(19).encode(io::as_bytes(kText)).value());
}

TEST(FrameCodec, EncodesTheSameWhateverCameBefore) {
  FrameEncoder used(12);
  ASSERT_TRUE(used.encode(io::as_bytes(std::string(100000, 'z'))).has_value());
  EXPECT_EQ(used.encode(io::as_bytes(kText)).value(), FrameEncoder(12).encode(io::as_bytes(kText)).value());
}

TEST(FrameCodec, RefusesAFrameOfAnotherLength) {
  const auto frame = encode(kText);
  expect_refused(frame, kText.size() - 1);
  expect_refused(frame, kText.size() + 1);
  expect_refused(frame, 1);
}

/// A frame of some hundred bytes that unpacks to a gigabyte never gets more room than the index allows.
TEST(FrameCodec, RefusesABomb) {
  const auto bomb = encode(std::string(64 << 20, '\0'));
  ASSERT_LT(bomb.size(), 16384u);
  expect_refused(bomb, 4096);
}

/// The same, with a header that lies about the content's length: byte 5 on hold it, little-endian.
TEST(FrameCodec, RefusesABombThatLiesAboutItsLength) {
  auto bomb = encode(std::string(1 << 20, '\0'));
  ASSERT_EQ(std::to_integer<int>(bomb[4]) & 0xe0, 0xa0);  // single segment, content size of 4 bytes
  bomb[5] = std::byte{0x00};
  bomb[6] = std::byte{0x10};
  bomb[7] = std::byte{0x00};
  expect_refused(bomb, 4096);
}

TEST(FrameCodec, RefusesBytesBehindTheFrame) {
  auto frame = encode(kText);
  frame.push_back(std::byte{0});
  expect_refused(frame, kText.size());
}

TEST(FrameCodec, RefusesTwoFramesForOneChunk) {
  auto frame = encode(kText);
  const auto second = encode(kText);
  frame.insert(frame.end(), second.begin(), second.end());
  expect_refused(frame, kText.size());
  expect_refused(frame, 2 * kText.size());
}

TEST(FrameCodec, RefusesASkippableFrame) {
  auto frame = bytes_of(std::string_view("\x50\x2a\x4d\x18\x04\x00\x00\x00skip", 12));
  expect_refused(frame, 4);
  const auto real = encode(kText);
  frame.insert(frame.end(), real.begin(), real.end());
  expect_refused(frame, kText.size());
}

/// A frame with one raw block of three bytes; what comes before differs.
Bytes raw_frame(std::string_view header) {
  return bytes_of(std::string("\x28\xb5\x2f\xfd", 4) + std::string(header) +
                  std::string("\x19\x00\x00"
                              "abc",
                              6));
}

TEST(FrameCodec, RefusesAFrameThatNeedsADictionary) {
  Bytes plain(3);
  ASSERT_TRUE(FrameDecoder().decode(raw_frame(std::string_view("\x20\x03", 2)), plain).has_value());
  expect_refused(raw_frame(std::string_view("\x21\x07\x03", 3)), 3);  // dictionary 7
}

TEST(FrameCodec, RefusesAFrameThatDoesNotSayItsLength) {
  expect_refused(raw_frame(std::string_view("\x00\x00", 2)), 3);
}

TEST(FrameCodec, RefusesAWindowAbove8MiB) {
  // Content size in 4 bytes, no single segment: a window descriptor comes first.
  const auto with_window = [](char descriptor) {
    return raw_frame(std::string("\x80", 1) + descriptor + std::string("\x03\x00\x00\x00", 4));
  };
  Bytes plain(3);
  EXPECT_TRUE(FrameDecoder().decode(with_window(0x68), plain).has_value());  // 2^23
  expect_refused(with_window(0x69), 3);
  expect_refused(with_window(0x70), 3);
  expect_refused(with_window(static_cast<char>(0xff)), 3);
}

TEST(FrameCodec, SurvivesEveryCutAndEveryTurnedByte) {
  const auto frame = encode(kText);
  for (std::size_t length = 0; length < frame.size(); ++length) {
    expect_refused(Bytes(frame.begin(), frame.begin() + static_cast<std::ptrdiff_t>(length)), kText.size());
  }
  Bytes plain(kText.size());
  FrameDecoder decoder;
  for (std::size_t i = 0; i < frame.size(); ++i) {
    auto turned = frame;
    turned[i] ^= std::byte{0x41};
    // Some turned bytes unpack to something else of the same length: that is what the hashes are for.
    const auto decoded = decoder.decode(turned, plain);
    if (!decoded.has_value()) {
      EXPECT_EQ(decoded.error().code, Errc::corrupt);
    }
  }
}

}  // namespace
}  // namespace slotkeeper::bundle
