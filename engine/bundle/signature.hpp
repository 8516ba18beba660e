// Detached CMS signatures over a manifest: the one door to OpenSSL's CMS and X.509.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "partitions/io/result.hpp"
#include "partitions/io/types.hpp"

namespace slotkeeper::bundle {

inline constexpr std::size_t kSignatureMaxBytes = std::size_t{256} * 1024;

struct SigningIdentity {
  std::string certificate_pem;
  std::string key_pem;
  std::vector<std::string> intermediates_pem;
};

struct TrustPolicy {
  std::string anchors_pem;  ///< CA certificates, or signer certificates themselves
  std::string origin;       ///< path of the anchors, for messages
  std::uint32_t signatures_required = 1;
  io::TimeStamp now;
  bool check_time = true;  ///< false: certificates may have expired since
};

struct Signer {
  std::string subject;  ///< RFC 2253
  std::string algorithm;
  std::string not_after;
};

/// The CMS bytes (DER). Errors: config (key or certificate unusable, they do not belong together, a certificate that
/// devices would refuse), unsupported algorithm as `config`, not_supported_yet (pkcs11: keys are refused by the
/// caller).
[[nodiscard]] Result<std::string> sign_manifest(std::string_view manifest, const SigningIdentity& identity);

/// Every signer that is good by the policy; at least `signatures_required` of them.
/// Errors: signature (malformed CMS, does not match the bytes), untrusted (unknown or expired signer, wrong purpose,
/// weak algorithm, missing keyUsage), config (anchors unusable).
[[nodiscard]] Result<std::vector<Signer>> verify_manifest_signature(std::string_view manifest, std::string_view cms,
                                                                    const TrustPolicy& policy);

}  // namespace slotkeeper::bundle
