#include "engine/bundle/frame_cipher.hpp"

#include <algorithm>

#include <openssl/err.h>
#include <openssl/evp.h>

namespace slotkeeper::bundle {
namespace {

unsigned char* as_openssl(std::byte* bytes) { return reinterpret_cast<unsigned char*>(bytes); }
const unsigned char* as_openssl(const std::byte* bytes) { return reinterpret_cast<const unsigned char*>(bytes); }

}  // namespace

Nonce nonce_of(std::uint32_t image, std::uint64_t position) {
  Nonce nonce;
  for (std::size_t i = 0; i < 4; ++i) nonce[i] = static_cast<std::byte>(image >> (8 * i) & 0xff);
  for (std::size_t i = 0; i < 8; ++i) nonce[4 + i] = static_cast<std::byte>(position >> (8 * i) & 0xff);
  return nonce;
}

struct FrameCipher::State {
  enum class Direction : int { decrypt = 0, encrypt = 1 };

  explicit State(const ImageKey& image_key) : key(image_key), context(EVP_CIPHER_CTX_new()) {
    SK_INVARIANT(key.content_key != nullptr && context != nullptr);
    SK_INVARIANT(EVP_CipherInit_ex(context, EVP_aes_256_gcm(), nullptr, nullptr, nullptr, 0) == 1);
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() { EVP_CIPHER_CTX_free(context); }  // wipes the key schedule

  /// The volume's name is authenticated with every piece: the number in the nonce is only its place in a list.
  void begin(Direction direction, std::uint64_t position) {
    const Nonce nonce = nonce_of(key.image, position);
    int ignored = 0;
    SK_INVARIANT(EVP_CipherInit_ex(context, nullptr, nullptr, as_openssl(key.content_key->bytes.data()),
                                   as_openssl(nonce.data()), static_cast<int>(direction)) == 1);
    SK_INVARIANT(EVP_CipherUpdate(context, nullptr, &ignored, as_openssl(io::as_bytes(key.volume).data()),
                                  static_cast<int>(key.volume.size())) == 1);
  }

  ImageKey key;
  EVP_CIPHER_CTX* context;
};

FrameCipher::FrameCipher(const ImageKey& key) : state_(std::make_unique<State>(key)) {}
FrameCipher::FrameCipher(FrameCipher&&) noexcept = default;
FrameCipher::~FrameCipher() = default;

std::vector<std::byte> FrameCipher::seal(std::uint64_t position, io::ConstBytes plain) {
  std::vector<std::byte> sealed(plain.size() + kTagBytes);
  int length = 0;
  int rest = 0;
  state_->begin(State::Direction::encrypt, position);
  SK_INVARIANT(EVP_CipherUpdate(state_->context, as_openssl(sealed.data()), &length, as_openssl(plain.data()),
                                static_cast<int>(plain.size())) == 1);
  SK_INVARIANT(EVP_CipherFinal_ex(state_->context, as_openssl(sealed.data()) + length, &rest) == 1);
  SK_INVARIANT(static_cast<std::size_t>(length + rest) == plain.size());
  SK_INVARIANT(EVP_CIPHER_CTX_ctrl(state_->context, EVP_CTRL_AEAD_GET_TAG, static_cast<int>(kTagBytes),
                                   sealed.data() + plain.size()) == 1);
  return sealed;
}

Result<io::Bytes> FrameCipher::open(std::uint64_t position, io::Bytes sealed) {
  if (sealed.size() < kTagBytes) return make_error(Errc::corrupt, "encrypted bytes without a tag");
  const io::Bytes plain = sealed.first(sealed.size() - kTagBytes);
  int length = 0;
  int rest = 0;
  state_->begin(State::Direction::decrypt, position);
  SK_INVARIANT(EVP_CipherUpdate(state_->context, as_openssl(plain.data()), &length, as_openssl(plain.data()),
                                static_cast<int>(plain.size())) == 1);
  SK_INVARIANT(EVP_CIPHER_CTX_ctrl(state_->context, EVP_CTRL_AEAD_SET_TAG, static_cast<int>(kTagBytes),
                                   sealed.data() + plain.size()) == 1);
  if (EVP_CipherFinal_ex(state_->context, as_openssl(plain.data()) + length, &rest) == 1) return plain;
  ERR_clear_error();
  // Nobody gets to see what the tag does not vouch for.
  std::ranges::fill(plain, std::byte{0});
  return make_error(Errc::corrupt, "it does not decrypt with the key of this bundle");
}

}  // namespace slotkeeper::bundle
