#include "engine/bundle/frame_cipher.hpp"

#include <gtest/gtest.h>

#include "partitions/io/aligned_buffer.hpp"

namespace slotkeeper::bundle {
namespace {

const std::string kPlain = "a frame, or an index";

ImageKey some_key(std::uint32_t image = 3, const std::string& volume = "rootfs") {
  static const ContentKeyPointer key = make_content_key().value();
  return {.content_key = key, .image = image, .volume = volume};
}

std::string opened(const ImageKey& key, std::uint64_t position, std::vector<std::byte> sealed) {
  const auto plain = FrameCipher(key).open(position, sealed);
  return plain.has_value() ? std::string(io::as_text(plain.value())) : std::string(info(plain.error().code).name);
}

TEST(FrameCipher, OpensWhatItSealed) {
  FrameCipher cipher(some_key());
  for (const std::string& plain : {kPlain, std::string(), std::string(1 << 20, 'x')}) {
    const auto sealed = cipher.seal(7, io::as_bytes(plain));
    EXPECT_EQ(sealed.size(), plain.size() + kTagBytes);
    EXPECT_EQ(opened(some_key(), 7, sealed), plain);
  }
}

TEST(FrameCipher, RefusesEveryFlippedBit) {
  const auto good = FrameCipher(some_key()).seal(7, io::as_bytes(kPlain));
  for (std::size_t bit = 0; bit < 8 * good.size(); ++bit) {
    auto bad = good;
    bad[bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
    EXPECT_EQ(opened(some_key(), 7, bad), "corrupt") << bit;
  }
}

TEST(FrameCipher, RefusesEveryOtherLength) {
  const auto good = FrameCipher(some_key()).seal(7, io::as_bytes(kPlain));
  for (std::size_t length = 0; length < good.size(); ++length) {
    EXPECT_EQ(opened(some_key(), 7, {good.begin(), good.begin() + static_cast<std::ptrdiff_t>(length)}), "corrupt");
  }
  auto longer = good;
  longer.push_back(std::byte{0});
  EXPECT_EQ(opened(some_key(), 7, longer), "corrupt");
}

TEST(FrameCipher, RefusesWhatBelongsElsewhere) {
  const auto sealed = FrameCipher(some_key()).seal(7, io::as_bytes(kPlain));
  EXPECT_EQ(opened(some_key(), 8, sealed), "corrupt");
  EXPECT_EQ(opened(some_key(), kIndexPosition, sealed), "corrupt");
  EXPECT_EQ(opened(some_key(4), 7, sealed), "corrupt");
  EXPECT_EQ(opened(some_key(3, "boot-fs"), 7, sealed), "corrupt");
  EXPECT_EQ(opened({.content_key = make_content_key().value(), .image = 3, .volume = "rootfs"}, 7, sealed), "corrupt");
  EXPECT_EQ(opened(some_key(), 7, sealed), kPlain);
}

TEST(FrameCipher, LeavesNothingOfWhatDoesNotOpen) {
  auto sealed = FrameCipher(some_key()).seal(7, io::as_bytes(kPlain));
  sealed.back() ^= std::byte{1};
  ASSERT_FALSE(FrameCipher(some_key()).open(7, sealed).has_value());
  EXPECT_TRUE(io::is_all_zero(io::ConstBytes(sealed).first(kPlain.size())));
}

/// The form is part of the format.
TEST(FrameCipher, NonceIsTheImageAndThePosition) {
  const Nonce nonce = nonce_of(0x01020304, 0x1112131415161718);
  const std::vector<unsigned> wanted = {4, 3, 2, 1, 0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11};
  for (std::size_t i = 0; i < nonce.size(); ++i) EXPECT_EQ(std::to_integer<unsigned>(nonce[i]), wanted[i]);
}

}  // namespace
}  // namespace slotkeeper::bundle
