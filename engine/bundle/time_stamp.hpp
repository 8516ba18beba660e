// Time stamps (RFC 3161) and signing times: when a signature was made. Included only by the signature's own .cpp files.
#pragma once

#include <ctime>

#include <openssl/ts.h>

#include "engine/bundle/certificate_chain.hpp"

namespace slotkeeper::bundle {

using TokenPointer = std::unique_ptr<PKCS7, FreeBy<PKCS7_free>>;
using TokenInfoPointer = std::unique_ptr<TS_TST_INFO, FreeBy<TS_TST_INFO_free>>;

/// What the signer says when it signed: nobody else has seen it. Errors: untrusted (it says nothing).
[[nodiscard]] Result<std::time_t> signing_time(CMS_SignerInfo* signer, const X509* certificate);

/// When an authority saw the signature, by the one token in its unsigned attributes (RFC 3161, appendix A). The token's
/// own certificates are judged at that moment, too. `certificate` is the signer's, for messages.
/// Errors: untrusted (no token, not by an authority of `rules`, weak), signature (it is for another signature,
/// damaged).
[[nodiscard]] Result<std::time_t> stamped_time(CMS_SignerInfo* signer, const X509* certificate,
                                               const ChainRules& rules);

/// Whether a token speaks of these bytes: the value of a signature.
[[nodiscard]] bool is_about(TS_TST_INFO* token, const ASN1_OCTET_STRING* signature);

}  // namespace slotkeeper::bundle
