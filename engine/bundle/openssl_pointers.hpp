// Owners for OpenSSL's objects. Included only by the .cpp files of the signature and of the content key.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <openssl/bio.h>
#include <openssl/cms.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>

#include "partitions/io/result.hpp"

namespace slotkeeper::bundle {

template <auto Free>
struct FreeBy {
  template <class Object>
  void operator()(Object* object) const {
    Free(object);
  }
};
struct FreeLists {
  void operator()(STACK_OF(X509_CRL) * stack) const { sk_X509_CRL_pop_free(stack, X509_CRL_free); }
};
struct FreeCertificates {
  void operator()(STACK_OF(X509) * stack) const { sk_X509_pop_free(stack, X509_free); }
};

using BioPointer = std::unique_ptr<BIO, FreeBy<BIO_free_all>>;
using CmsPointer = std::unique_ptr<CMS_ContentInfo, FreeBy<CMS_ContentInfo_free>>;
using KeyPointer = std::unique_ptr<EVP_PKEY, FreeBy<EVP_PKEY_free>>;
using CertificatePointer = std::unique_ptr<X509, FreeBy<X509_free>>;
using CertificatesPointer = std::unique_ptr<STACK_OF(X509), FreeCertificates>;
using ListPointer = std::unique_ptr<X509_CRL, FreeBy<X509_CRL_free>>;
using ListsPointer = std::unique_ptr<STACK_OF(X509_CRL), FreeLists>;
using StorePointer = std::unique_ptr<X509_STORE, FreeBy<X509_STORE_free>>;
using StoreContextPointer = std::unique_ptr<X509_STORE_CTX, FreeBy<X509_STORE_CTX_free>>;

[[nodiscard]] BioPointer memory_bio(std::string_view text);

/// Takes OpenSSL's queue of errors as text and empties it.
[[nodiscard]] std::string take_openssl_errors();

/// Calls `read_next`, which is true when it took another `thing` from the text, until nothing is left. Errors: config
/// (none of them, or something that is none).
[[nodiscard]] Result<void> read_pem(std::string_view pem, const std::string& origin, const std::string& thing,
                                    const std::function<Result<bool>(BIO*)>& read_next);

/// Certificates of a PEM text, in their order. Errors: config.
[[nodiscard]] Result<CertificatesPointer> read_certificates(std::string_view pem, const std::string& origin);

[[nodiscard]] std::string text_of_name(const X509_NAME* name);  ///< RFC 2253
[[nodiscard]] std::string subject_of(const X509* certificate);
[[nodiscard]] std::string issuer_of(const X509* certificate);
/// Common names of the subject, then mail addresses, host names and URIs of subjectAltName, as they are written.
[[nodiscard]] std::vector<std::string> names_of(const X509* certificate);
[[nodiscard]] std::string text_of_time(const ASN1_TIME* time);

/// "RSA 3072", "brainpoolP256r1"
[[nodiscard]] std::string describe_key(EVP_PKEY* key);

/// The curves that keys may be on, as OpenSSL calls them.
inline constexpr std::array<std::string_view, 4> kCurves = {"prime256v1", "secp384r1", "brainpoolP256r1",
                                                            "brainpoolP384r1"};

/// Why a key may not be used; empty when it may. RSA from 3072 bits; P-256, P-384, brainpoolP256r1, brainpoolP384r1 by
/// name only.
[[nodiscard]] std::string key_problem(EVP_PKEY* key);

/// What the certificate at the lower end of a chain is for.
enum class Purpose : std::uint8_t { code_signing, time_stamping };

/// Why a certificate may not sign for this purpose; empty when it may.
[[nodiscard]] std::string purpose_problem(X509* certificate, Purpose purpose);

/// Why a certificate may not have issued one for this purpose; empty when it may.
[[nodiscard]] std::string authority_problem(X509* certificate, Purpose purpose);

/// Why the signature on a certificate does not count; empty when it does.
[[nodiscard]] std::string certificate_signature_problem(X509* certificate);

}  // namespace slotkeeper::bundle
