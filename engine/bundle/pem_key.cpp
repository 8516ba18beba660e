#include <openssl/pem.h>

#include "engine/bundle/signing_key.hpp"

namespace slotkeeper::bundle {

Result<SigningKey> read_pem_key(const std::string& pem) {
  const auto bio = memory_bio(pem);
  // No prompt: a key with a passphrase is an error, not a program that waits.
  KeyPointer key(PEM_read_bio_PrivateKey(
      bio.get(), nullptr, [](char*, int, int, void*) { return -1; }, nullptr));
  if (!key) {
    const std::string why = take_openssl_errors();
    return make_error(Errc::config,
                      "the signing key is not a private key in PEM form without a passphrase (" + why + ")");
  }
  return SigningKey{.keeper = nullptr, .key = std::move(key)};
}

}  // namespace slotkeeper::bundle
