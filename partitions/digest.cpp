#include "partitions/digest.hpp"

#include <algorithm>
#include <utility>
#include <xxhash.h>
#include <zlib.h>

#include <openssl/evp.h>

#include "partitions/io/aligned_buffer.hpp"
#include "partitions/io/result.hpp"

namespace slotkeeper {
namespace {

std::optional<unsigned> hex_digit(char digit) {
  if (digit >= '0' && digit <= '9') return static_cast<unsigned>(digit - '0');
  if (digit >= 'a' && digit <= 'f') return static_cast<unsigned>(digit - 'a' + 10);
  return std::nullopt;
}

}  // namespace

std::string Sha256::hex() const {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const std::byte byte : bytes) {
    text += kDigits[std::to_integer<std::size_t>(byte >> 4)];
    text += kDigits[std::to_integer<std::size_t>(byte & std::byte{15})];
  }
  return text;
}

std::optional<Sha256> Sha256::from_hex(std::string_view text) {
  Sha256 digest;
  if (text.size() != digest.bytes.size() * 2) return std::nullopt;
  for (std::size_t i = 0; i < digest.bytes.size(); ++i) {
    const auto high = hex_digit(text[2 * i]);
    const auto low = hex_digit(text[2 * i + 1]);
    if (!high || !low) return std::nullopt;
    digest.bytes[i] = static_cast<std::byte>(*high << 4 | *low);
  }
  return digest;
}

struct Sha256Stream::Context {
  struct Free {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  };
  std::unique_ptr<EVP_MD_CTX, Free> openssl{EVP_MD_CTX_new()};

  // An OpenSSL without SHA-256 can verify nothing; there is no state in which going on would be right.
  void start() { SK_INVARIANT(openssl != nullptr && EVP_DigestInit_ex(openssl.get(), EVP_sha256(), nullptr) == 1); }
};

Sha256Stream::Sha256Stream() : context_(std::make_unique<Context>()) { context_->start(); }
Sha256Stream::Sha256Stream(Sha256Stream&&) noexcept = default;
Sha256Stream& Sha256Stream::operator=(Sha256Stream&&) noexcept = default;
Sha256Stream::~Sha256Stream() = default;

void Sha256Stream::update(io::ConstBytes data) {
  SK_INVARIANT(EVP_DigestUpdate(context_->openssl.get(), data.data(), data.size()) == 1);
}

Sha256 Sha256Stream::finish() {
  Sha256 digest;
  unsigned length = 0;
  SK_INVARIANT(EVP_DigestFinal_ex(context_->openssl.get(), reinterpret_cast<unsigned char*>(digest.bytes.data()),
                                  &length) == 1 &&
               length == digest.bytes.size());
  context_->start();
  return digest;
}

Sha256 sha256(io::ConstBytes data) {
  Sha256Stream stream;
  stream.update(data);
  return stream.finish();
}

Sha256 combine_pieces(const std::vector<Sha256>& pieces) {
  Sha256Stream stream;
  for (const Sha256& piece : pieces) stream.update(piece.bytes);
  return stream.finish();
}

Sha256 hash_piece(io::ConstBytes piece) {
  if (piece.size() != kHashPieceBytes || !io::is_all_zero(piece)) return sha256(piece);
  static const Sha256 kOfZeros = sha256(std::vector<std::byte>(kHashPieceBytes));
  return kOfZeros;
}

void PiecesStream::update(io::ConstBytes data) {
  while (!data.empty()) {
    const std::size_t part = std::min(data.size(), kHashPieceBytes - filled_bytes_);
    piece_.update(data.first(part));
    data = data.subspan(part);
    filled_bytes_ += part;
    if (filled_bytes_ < kHashPieceBytes) continue;
    pieces_.push_back(piece_.finish());
    filled_bytes_ = 0;
  }
}

Sha256 PiecesStream::finish() {
  if (filled_bytes_ > 0) pieces_.push_back(piece_.finish());
  filled_bytes_ = 0;
  return combine_pieces(std::exchange(pieces_, {}));
}

struct FastHashStream::State {
  struct Free {
    void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
  };
  std::unique_ptr<XXH3_state_t, Free> xxh{XXH3_createState()};

  void start() { SK_INVARIANT(xxh != nullptr && XXH3_64bits_reset(xxh.get()) == XXH_OK); }
};

FastHashStream::FastHashStream() : state_(std::make_unique<State>()) { state_->start(); }
FastHashStream::FastHashStream(FastHashStream&&) noexcept = default;
FastHashStream& FastHashStream::operator=(FastHashStream&&) noexcept = default;
FastHashStream::~FastHashStream() = default;

void FastHashStream::update(io::ConstBytes data) {
  SK_INVARIANT(XXH3_64bits_update(state_->xxh.get(), data.data(), data.size()) == XXH_OK);
}

std::uint64_t FastHashStream::finish() {
  const std::uint64_t hash = XXH3_64bits_digest(state_->xxh.get());
  state_->start();
  return hash;
}

std::uint64_t fast_hash(io::ConstBytes data) { return XXH3_64bits(data.data(), data.size()); }

std::uint32_t crc32(io::ConstBytes data) {
  return static_cast<std::uint32_t>(::crc32_z(0, reinterpret_cast<const Bytef*>(data.data()), data.size()));
}

}  // namespace slotkeeper
