// Owners for OpenSSL's objects. Included only by the .cpp files of the signature and of the content key.
#pragma once

#include <memory>
#include <string>

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
struct FreeCertificates {
  void operator()(STACK_OF(X509) * stack) const { sk_X509_pop_free(stack, X509_free); }
};

using BioPointer = std::unique_ptr<BIO, FreeBy<BIO_free_all>>;
using CmsPointer = std::unique_ptr<CMS_ContentInfo, FreeBy<CMS_ContentInfo_free>>;
using KeyPointer = std::unique_ptr<EVP_PKEY, FreeBy<EVP_PKEY_free>>;
using CertificatePointer = std::unique_ptr<X509, FreeBy<X509_free>>;
using CertificatesPointer = std::unique_ptr<STACK_OF(X509), FreeCertificates>;
using StorePointer = std::unique_ptr<X509_STORE, FreeBy<X509_STORE_free>>;
using StoreContextPointer = std::unique_ptr<X509_STORE_CTX, FreeBy<X509_STORE_CTX_free>>;

[[nodiscard]] BioPointer memory_bio(std::string_view text);

/// Why a CMS that was parsed from these bytes is not a detached signature in strict DER; empty when it is.
[[nodiscard]] std::string form_problem(CMS_ContentInfo* cms, std::string_view der);

/// Takes OpenSSL's queue of errors as text and empties it.
[[nodiscard]] std::string take_openssl_errors();

/// Certificates of a PEM text, in their order. Errors: config.
[[nodiscard]] Result<CertificatesPointer> read_certificates(std::string_view pem, const std::string& origin);

[[nodiscard]] std::string text_of_name(const X509_NAME* name);  ///< RFC 2253
[[nodiscard]] std::string subject_of(const X509* certificate);
[[nodiscard]] std::string issuer_of(const X509* certificate);
[[nodiscard]] std::string text_of_time(const ASN1_TIME* time);

/// "RSA 3072", "brainpoolP256r1"
[[nodiscard]] std::string describe_key(EVP_PKEY* key);

/// Why a key may not be used; empty when it may. RSA from 3072 bits; P-256, P-384, brainpoolP256r1, brainpoolP384r1 by
/// name only.
[[nodiscard]] std::string key_problem(EVP_PKEY* key);

/// Why a certificate may not sign firmware; empty when it may.
[[nodiscard]] std::string purpose_problem(X509* certificate);

/// Why a certificate may not have issued the certificate of a signer; empty when it may.
[[nodiscard]] std::string authority_problem(X509* certificate);

/// Why the signature on a certificate does not count; empty when it does.
[[nodiscard]] std::string certificate_signature_problem(X509* certificate);

}  // namespace slotkeeper::bundle
