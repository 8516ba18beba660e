// From a certificate up to a trust anchor. Included only by the signature's own .cpp files.
#pragma once

#include <ctime>

#include "engine/bundle/openssl_pointers.hpp"

namespace slotkeeper::bundle {

/// What the device knows of whom to trust for one purpose.
struct ChainRules {
  Purpose purpose = Purpose::code_signing;
  CertificatesPointer anchors;  ///< each trusted for itself, whoever signed it
  std::string anchors_origin;
  ListsPointer lists;  ///< nothing: nobody asks for revocation; else every authority of a chain needs a valid one
  std::string lists_origin;
  /// The chain is judged at a moment of the past: a list that was issued since then knows more and counts.
  bool is_judged_later = false;
  bool looks_at_time = true;
};

/// Anchors and lists in OpenSSL's form. Errors: config (one of them cannot be used).
[[nodiscard]] Result<StorePointer> make_store(const ChainRules& rules);

/// `untrusted`, with the certificate's name in front.
[[nodiscard]] Error distrusted(const X509* certificate, const std::string& why);

/// Whether the certificate may do what `rules` are for, at that moment: a chain over `more` to an anchor, every key and
/// signature of it strong enough, nobody in it revoked, every issuer an authority for the purpose.
/// Errors: untrusted; config (an anchor cannot be used).
[[nodiscard]] Result<void> check_chain(X509* certificate, STACK_OF(X509) * more, const ChainRules& rules,
                                       std::time_t moment);

}  // namespace slotkeeper::bundle
