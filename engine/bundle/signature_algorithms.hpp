// Which digests, paddings and combinations of them a signature may have. Compiled in; nothing in a bundle widens them.
#pragma once

#include <string>

#include "engine/bundle/openssl_pointers.hpp"

namespace slotkeeper::bundle {

[[nodiscard]] bool is_rsa(EVP_PKEY* key);

/// What we sign with: SHA-256, and SHA-384 on curves of more than 256 bits.
[[nodiscard]] const EVP_MD* digest_for(EVP_PKEY* key);

/// SHA-256, SHA-384 and SHA-512.
[[nodiscard]] bool is_allowed_digest(int nid);

/// Why a signature with these two algorithms by this key does not count; empty when it does.
[[nodiscard]] std::string algorithm_problem(const X509_ALGOR* digest, const X509_ALGOR* signature, EVP_PKEY* key);

/// The digest that a signature algorithm includes; NID_undef when it is unknown.
[[nodiscard]] int digest_of_signature(const X509_ALGOR* signature);

}  // namespace slotkeeper::bundle
