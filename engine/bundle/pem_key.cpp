#include <openssl/pem.h>

#include "engine/bundle/signing_key.hpp"

namespace slotkeeper::bundle {

Result<KeyPointer> read_pem_key(const std::string& pem, const std::string& what) {
  const auto bio = memory_bio(pem);
  // No prompt: a key with a passphrase is an error, not a program that waits.
  KeyPointer key(PEM_read_bio_PrivateKey(
      bio.get(), nullptr, [](char*, int, int, void*) { return -1; }, nullptr));
  if (!key) {
    const std::string why = take_openssl_errors();
    return make_error(Errc::config, what + " is not a private key in PEM form without a passphrase (" + why + ")");
  }
  return key;
}

}  // namespace slotkeeper::bundle
