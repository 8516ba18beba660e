#include "partitions/digest.hpp"

#include <gtest/gtest.h>

namespace slotkeeper {
namespace {

using io::as_bytes;

TEST(Digest, Sha256OfKnownTexts) {
  // FIPS 180-2, appendix B.
  EXPECT_EQ(sha256(as_bytes("abc")).hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256({}).hex(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

TEST(Digest, StreamHashesInPiecesAndStartsOver) {
  Sha256Stream stream;
  stream.update(as_bytes("a"));
  stream.update(as_bytes("bc"));
  EXPECT_EQ(stream.finish(), sha256(as_bytes("abc")));
  EXPECT_EQ(stream.finish(), sha256({}));
  stream.update(as_bytes("abc"));
  Sha256Stream moved = std::move(stream);
  EXPECT_EQ(moved.finish(), sha256(as_bytes("abc")));
}

TEST(Digest, HexIsReadBackAndNothingElseIs) {
  const Sha256 digest = sha256(as_bytes("abc"));
  EXPECT_EQ(Sha256::from_hex(digest.hex()), digest);
  std::string text = digest.hex();
  EXPECT_FALSE(Sha256::from_hex(text.substr(1)));
  EXPECT_FALSE(Sha256::from_hex(text + "0"));
  text[5] = 'A';
  EXPECT_FALSE(Sha256::from_hex(text)) << "upper case";
  text[5] = 'g';
  EXPECT_FALSE(Sha256::from_hex(text));
}

TEST(Digest, Crc32IsThatOfZlib) {
  EXPECT_EQ(crc32(as_bytes("123456789")), 0xCBF43926u);  // the check value of CRC-32/ISO-HDLC
  EXPECT_EQ(crc32({}), 0u);
}

TEST(Digest, FastHashTellsOneBit) {
  EXPECT_EQ(fast_hash(as_bytes("slot")), fast_hash(as_bytes("slot")));
  EXPECT_NE(fast_hash(as_bytes("slot")), fast_hash(as_bytes("slou")));
}

}  // namespace
}  // namespace slotkeeper
