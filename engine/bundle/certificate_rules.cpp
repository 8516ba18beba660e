// What keys and certificates may be: the algorithms are compiled in and nothing in a bundle can widen them.
#include <algorithm>
#include <array>

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "engine/bundle/openssl_pointers.hpp"

namespace slotkeeper::bundle {
namespace {

constexpr int kRsaBitsMin = 3072;
constexpr std::array<std::string_view, 4> kCurves = {"prime256v1", "secp384r1", "brainpoolP256r1", "brainpoolP384r1"};

std::string text_from(BIO* bio) {
  char* data = nullptr;
  const long length = BIO_get_mem_data(bio, &data);
  return length > 0 ? std::string(data, static_cast<std::size_t>(length)) : std::string();
}

std::string curve_of(EVP_PKEY* key) {
  std::array<char, 64> name{};
  std::size_t length = 0;
  if (EVP_PKEY_get_group_name(key, name.data(), name.size(), &length) != 1) return "";
  return {name.data(), length};
}

bool has_explicit_parameters(EVP_PKEY* key) {
  int decoded_from_explicit = 0;
  if (EVP_PKEY_get_int_param(key, OSSL_PKEY_PARAM_EC_DECODED_FROM_EXPLICIT_PARAMS, &decoded_from_explicit) == 1 &&
      decoded_from_explicit != 0) {
    return true;
  }
  std::array<char, 32> encoding{};
  std::size_t length = 0;
  return EVP_PKEY_get_utf8_string_param(key, OSSL_PKEY_PARAM_EC_ENCODING, encoding.data(), encoding.size(), &length) ==
             1 &&
         std::string_view(encoding.data(), length) != OSSL_PKEY_EC_ENCODING_GROUP;
}

}  // namespace

BioPointer memory_bio(std::string_view text) {
  return BioPointer(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

std::string take_openssl_errors() {
  std::string text;
  while (const unsigned long code = ERR_get_error()) {
    std::array<char, 256> line{};
    ERR_error_string_n(code, line.data(), line.size());
    if (text.empty()) text = line.data();  // the first one is the cause, the others follow from it
  }
  return text;
}

Result<CertificatesPointer> read_certificates(std::string_view pem, const std::string& origin) {
  CertificatesPointer certificates(sk_X509_new_null());
  const auto bio = memory_bio(pem);
  ERR_clear_error();
  while (true) {
    CertificatePointer certificate(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
    if (!certificate) break;
    if (sk_X509_push(certificates.get(), certificate.get()) <= 0) return make_error(Errc::internal, "out of memory");
    static_cast<void>(certificate.release());  // the stack owns it now
  }
  const unsigned long last = ERR_peek_last_error();
  const bool at_end = ERR_GET_LIB(last) == ERR_LIB_PEM && ERR_GET_REASON(last) == PEM_R_NO_START_LINE;
  const std::string why = take_openssl_errors();
  if (!at_end) return make_error(Errc::config, origin + " holds something that is not a certificate: " + why);
  if (sk_X509_num(certificates.get()) == 0) return make_error(Errc::config, origin + " holds no certificate (PEM)");
  return certificates;
}

std::string text_of_name(const X509_NAME* name) {
  const BioPointer bio(BIO_new(BIO_s_mem()));
  X509_NAME_print_ex(bio.get(), name, 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB);
  return text_from(bio.get());
}

std::string subject_of(const X509* certificate) { return text_of_name(X509_get_subject_name(certificate)); }
std::string issuer_of(const X509* certificate) { return text_of_name(X509_get_issuer_name(certificate)); }

std::string text_of_time(const ASN1_TIME* time) {
  const BioPointer bio(BIO_new(BIO_s_mem()));
  ASN1_TIME_print(bio.get(), time);
  return text_from(bio.get());
}

std::string describe_key(EVP_PKEY* key) {
  const int kind = EVP_PKEY_get_base_id(key);
  if (kind == EVP_PKEY_EC) return curve_of(key);
  const char* name = EVP_PKEY_get0_type_name(key);
  return std::string(name == nullptr ? "unknown" : name) + " " + std::to_string(EVP_PKEY_get_bits(key));
}

std::string key_problem(EVP_PKEY* key) {
  if (key == nullptr) return "a key that cannot be read";
  const int kind = EVP_PKEY_get_base_id(key);
  if (kind == EVP_PKEY_RSA || kind == EVP_PKEY_RSA_PSS) {
    if (EVP_PKEY_get_bits(key) >= kRsaBitsMin) return "";
    return "the RSA key has only " + std::to_string(EVP_PKEY_get_bits(key)) + " bits, at least 3072 are needed";
  }
  if (kind != EVP_PKEY_EC) return "the key algorithm " + describe_key(key) + " is not allowed";
  if (has_explicit_parameters(key)) return "the key has explicit curve parameters";
  const std::string curve = curve_of(key);
  if (std::ranges::find(kCurves, curve) != kCurves.end()) return "";
  return "the curve " + curve + " is not allowed";
}

std::string purpose_problem(X509* certificate) {
  // 3.0 has no purpose for code signing: the extensions are looked at here.
  if ((X509_get_extension_flags(certificate) & EXFLAG_INVALID) != 0) return "its extensions are malformed";
  const std::uint32_t usage = X509_get_key_usage(certificate);
  if ((X509_get_extension_flags(certificate) & EXFLAG_KUSAGE) == 0 || (usage & KU_DIGITAL_SIGNATURE) == 0) {
    return "its keyUsage does not have digitalSignature";
  }
  if ((X509_get_extension_flags(certificate) & EXFLAG_XKUSAGE) == 0 ||
      (X509_get_extended_key_usage(certificate) & XKU_CODE_SIGN) == 0) {
    return "its extendedKeyUsage does not have codeSigning";
  }
  return "";
}

std::string authority_problem(X509* certificate) {
  const std::uint32_t flags = X509_get_extension_flags(certificate);
  if ((flags & EXFLAG_INVALID) != 0) return "its extensions are malformed";
  if ((flags & EXFLAG_CA) == 0) return "it is no certificate authority (basicConstraints)";
  if ((flags & EXFLAG_KUSAGE) != 0 && (X509_get_key_usage(certificate) & KU_KEY_CERT_SIGN) == 0) {
    return "its keyUsage does not have keyCertSign";
  }
  // An authority whose purposes are named may issue for these only.
  if ((flags & EXFLAG_XKUSAGE) != 0 && (X509_get_extended_key_usage(certificate) & (XKU_CODE_SIGN | XKU_ANYEKU)) == 0) {
    return "its extendedKeyUsage does not have codeSigning";
  }
  return "";
}

std::string certificate_signature_problem(X509* certificate) {
  int digest = 0;
  int algorithm = 0;
  if (X509_get_signature_info(certificate, &digest, &algorithm, nullptr, nullptr) != 1) {
    return "it is signed with an unknown algorithm";
  }
  if (digest == NID_sha256 || digest == NID_sha384 || digest == NID_sha512) return "";
  const char* name = OBJ_nid2sn(digest);
  return "it is signed with " + std::string(name == nullptr ? "an unknown digest" : name);
}

}  // namespace slotkeeper::bundle
