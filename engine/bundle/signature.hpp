// Detached CMS signatures over a manifest: the one door to OpenSSL's CMS and X.509.
#pragma once

#include <optional>
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
  std::string key_uri = {};  ///< pkcs11:..., in place of `key_pem`
};

/// A PEM text and the path it came from, for messages.
struct PemFile {
  std::string pem;
  std::string origin;
};

/// The moment at which the certificates of a signature have to be valid.
enum class JudgedAt : std::uint8_t {
  clock,         ///< now, by the device's clock
  signing_time,  ///< when the signer says that it signed
  time_stamp,    ///< when an authority saw the signature (RFC 3161)
  any_time,      ///< it was good once, and is only proven again
};

struct TrustPolicy {
  std::string anchors_pem;  ///< CA certificates, or signer certificates themselves
  std::string origin;       ///< path of the anchors, for messages
  std::uint32_t signatures_required = 1;
  io::TimeStamp now = {};
  /// Revocation lists: then every authority of a chain needs a valid one. Nothing: revocation is not asked for.
  std::optional<PemFile> revocation_lists = {};
  /// Names that signers must have, see `names_of`; each counts once. Empty: whoever the anchors vouch for.
  std::vector<std::string> signers = {};
  JudgedAt judged_at = JudgedAt::clock;
  std::optional<PemFile> time_stamp_anchors = {};  ///< with JudgedAt::time_stamp
};

struct Signer {
  std::string subject;  ///< RFC 2253
  std::string algorithm;
  std::string not_after;
  io::TimeStamp judged_at = {};
};

/// What the OpenSSL of this machine lacks of the allowed algorithms, as a sentence; nothing when it has them all.
[[nodiscard]] std::optional<std::string> algorithm_weakness();

/// The CMS bytes (DER). Errors: config (key, token or certificate unusable, they do not belong together, a certificate
/// that devices would refuse, an algorithm that they do).
[[nodiscard]] Result<std::string> sign_manifest(std::string_view manifest, const SigningIdentity& identity);

/// `cms` with one more signature beside those in it, which are kept byte for byte. Errors: as sign_manifest; config
/// (this key has signed already, more signatures than a device reads); signature (`cms` is malformed, or a signature in
/// it does not match the bytes: nobody should sign what somebody else did not).
[[nodiscard]] Result<std::string> add_signature(std::string_view manifest, std::string_view cms,
                                                const SigningIdentity& identity);

/// The subjects of all who signed, after a look at whether the signatures match the bytes; who may is not looked at.
/// Errors: signature (malformed, a signature that does not match or lacks its certificate).
[[nodiscard]] Result<std::vector<std::string>> check_signatures_match(std::string_view manifest, std::string_view cms);

/// A request (RFC 3161, DER) for a time stamp over the first signature that has none; nothing when all have one.
/// Errors: signature, config.
[[nodiscard]] Result<std::optional<std::string>> time_stamp_request(std::string_view cms);

/// `cms` with the answer of the authority beside the signature that it is for. Who the authority is, is not looked at.
/// Errors: signature; config (no answer, a refusal, for none of the signatures, for one that has a time stamp already).
[[nodiscard]] Result<std::string> add_time_stamp(std::string_view cms, std::string_view response);

/// Every signer that is good by the policy; at least `signatures_required` of them.
/// Errors: signature (malformed CMS, does not match the bytes), untrusted (unknown, revoked or expired signer, wrong
/// name or purpose, weak algorithm, missing keyUsage, too few of them), config (anchors or lists unusable).
[[nodiscard]] Result<std::vector<Signer>> verify_manifest_signature(std::string_view manifest, std::string_view cms,
                                                                    const TrustPolicy& policy);

}  // namespace slotkeeper::bundle
