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

TEST(Digest, ByPiecesItIsTheHashOfTheHashes) {
  std::string text(2 * kHashPieceBytes + 5, '\0');
  text[kHashPieceBytes + 7] = 'x';
  const io::ConstBytes bytes = as_bytes(text);
  const std::vector<Sha256> pieces = {sha256(bytes.first(kHashPieceBytes)),
                                      sha256(bytes.subspan(kHashPieceBytes, kHashPieceBytes)),
                                      sha256(bytes.subspan(2 * kHashPieceBytes))};
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const std::size_t length = std::min(kHashPieceBytes, bytes.size() - i * kHashPieceBytes);
    EXPECT_EQ(hash_piece(bytes.subspan(i * kHashPieceBytes, length)), pieces[i]) << i;
  }
  std::string joined;
  for (const Sha256& piece : pieces) joined += io::as_text(piece.bytes);
  const Sha256 whole = sha256(as_bytes(joined));
  EXPECT_EQ(combine_pieces(pieces), whole);
  PiecesStream stream;
  for (std::size_t at = 0, step = 1; at < bytes.size(); at += step, step = step * 3 % 700'001) {
    stream.update(bytes.subspan(at, std::min(step, bytes.size() - at)));
  }
  EXPECT_EQ(stream.finish(), whole);
  EXPECT_EQ(stream.finish(), sha256({})) << "it starts over";
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
