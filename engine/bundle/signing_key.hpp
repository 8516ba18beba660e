// Private keys: from a PEM text, or on a PKCS#11 token. Included only by the .cpp files of signatures and content keys.
#pragma once

#include <string>

#include "engine/bundle/openssl_pointers.hpp"

namespace slotkeeper::bundle {

/// A key, and what must outlive it: a token is logged in to as long as its key is used.
struct SigningKey {
  std::shared_ptr<void> keeper;
  KeyPointer key;  ///< goes before `keeper`
};

/// `what` it is, for messages. Errors: config (no private key, or one with a passphrase).
[[nodiscard]] Result<KeyPointer> read_pem_key(const std::string& pem, const std::string& what);

/// The key that a URI (RFC 7512) names. Errors: config (no such token or key, a wrong or missing PIN, a PIN in the URI
/// itself, no pkcs11 engine for this OpenSSL), not_supported_yet (built without).
[[nodiscard]] Result<SigningKey> open_token_key(const std::string& uri);

}  // namespace slotkeeper::bundle
