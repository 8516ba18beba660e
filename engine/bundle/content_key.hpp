// The key that the images of a bundle are encrypted with, and its wrapped form for one or more recipients: CMS
// EnvelopedData. One of the doors to OpenSSL's CMS; the other is signature.hpp.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "partitions/io/result.hpp"

namespace slotkeeper::bundle {

inline constexpr std::size_t kContentKeyBytes = 32;
inline constexpr std::size_t kWrappedKeyMaxBytes = std::size_t{64} * 1024;
inline constexpr int kRecipientsMax = 64;

/// Random bytes, wiped when nobody needs them any more. Never printed, logged or stored.
struct ContentKey {
  std::array<std::byte, kContentKeyBytes> bytes{};
  ContentKey() = default;
  ContentKey(const ContentKey&) = delete;
  ContentKey& operator=(const ContentKey&) = delete;
  ~ContentKey();
};
using ContentKeyPointer = std::shared_ptr<const ContentKey>;

/// Who opens a bundle: a certificate that it was encrypted for, and the private key, which is wiped.
struct RecipientIdentity {
  std::string certificate_pem;
  std::string key_pem;
  std::string origin;  ///< where they are from, for messages
  RecipientIdentity() = default;
  RecipientIdentity(RecipientIdentity&&) noexcept = default;
  RecipientIdentity& operator=(RecipientIdentity&&) = delete;  // what it had would not be wiped
  ~RecipientIdentity();
};

/// How the wrapped form names a recipient.
struct Recipient {
  std::string issuer;  ///< RFC 2253; empty where it is named by its key
  std::string serial;  ///< hexadecimal digits; of one named by its key the subject key identifier
  bool operator==(const Recipient&) const = default;
};

/// Errors: internal (no random bytes can be had).
[[nodiscard]] Result<ContentKeyPointer> make_content_key();

/// CMS EnvelopedData in DER whose content is the key: AES-256-CBC under a key that each recipient has by RSA-OAEP
/// (SHA-256) or by ECDH with an AES-256 key wrap. Nothing authenticates it but the signed hash in the manifest.
/// Errors: config (no certificate, one whose key or keyUsage does not do or that stands twice, too many of them).
[[nodiscard]] Result<std::string> wrap_content_key(const ContentKey& key,
                                                   const std::vector<std::string>& recipients_pem);

/// Requires: `der` is covered by a signature that was verified.
/// Errors: incompatible (not for this recipient), config (key or certificate unusable, they do not belong together),
/// corrupt (not of this form, or it does not hold a key), unsupported (a way of wrapping that is not ours).
[[nodiscard]] Result<ContentKeyPointer> unwrap_content_key(std::string_view der, const RecipientIdentity& identity);

/// Requires: as above. Errors: corrupt, unsupported.
[[nodiscard]] Result<std::vector<Recipient>> recipients_of(std::string_view der);

}  // namespace slotkeeper::bundle
