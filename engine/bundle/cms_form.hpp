// Between the bytes of manifest.cms and OpenSSL's object. Included only by the signature's own .cpp files.
#pragma once

#include "engine/bundle/openssl_pointers.hpp"

namespace slotkeeper::bundle {

/// A detached signature in strict DER with 1 to 16 signers, or a refusal. Errors: signature.
[[nodiscard]] Result<CmsPointer> parse_cms(std::string_view der);

/// The bytes that parse_cms takes. Errors: config (longer than a device reads).
[[nodiscard]] Result<std::string> print_cms(const CMS_ContentInfo* cms);

/// One CMS with the signers, certificates and lists of both, each once; both were parsed before and are over the same
/// text. Errors: config (more than a device reads), signature.
[[nodiscard]] Result<std::string> merge_cms(std::string_view one, std::string_view other);

/// `signature`: what does not fit, and why by OpenSSL's queue.
[[nodiscard]] Error broken_signature(const std::string& message);

}  // namespace slotkeeper::bundle
