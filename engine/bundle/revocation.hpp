// Revocation lists (RFC 5280) of a file on the device. Included only by the signature's own .cpp files.
#pragma once

#include "engine/bundle/openssl_pointers.hpp"

namespace slotkeeper::bundle {

/// All lists of a PEM text. Errors: config (none, something that is none, signed with a weak digest).
[[nodiscard]] Result<ListsPointer> read_revocation_lists(std::string_view pem, const std::string& origin);

/// When and why a list that `issuer` signed names the certificate; empty when none does. Any of them counts, also one
/// with a newer beside it and whatever the point in time: what OpenSSL takes is only the list that fits best.
[[nodiscard]] std::string revocation_problem(X509* certificate, X509* issuer, STACK_OF(X509_CRL) * lists);

}  // namespace slotkeeper::bundle
