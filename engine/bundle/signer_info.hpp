// One signature of several in a CMS: whose it is and whether it fits, without any trust. Included only by the
// signature's own .cpp files.
#pragma once

#include <initializer_list>

#include "engine/bundle/openssl_pointers.hpp"

namespace slotkeeper::bundle {

/// Reads a text through the digests that the signatures speak of. The result holds them, and the text at its end.
/// Errors: signature.
[[nodiscard]] Result<BioPointer> digest_content(CMS_ContentInfo* cms, std::string_view text);

/// The certificate that the signature names; nothing when it is in none of the stacks, each of which may be nothing.
[[nodiscard]] X509* find_certificate(CMS_SignerInfo* signer, std::initializer_list<const STACK_OF(X509) *> stacks);

/// Why a signature with these algorithms by this key does not count; empty when it does.
[[nodiscard]] std::string algorithm_problem_of(CMS_SignerInfo* signer, EVP_PKEY* key);

/// Whether the signature was made with the certificate's key over what `content` holds. Errors: signature.
[[nodiscard]] Result<void> check_match(CMS_SignerInfo* signer, X509* certificate, BIO* content);

}  // namespace slotkeeper::bundle
