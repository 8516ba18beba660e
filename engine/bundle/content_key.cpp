#include "engine/bundle/content_key.hpp"

#include <algorithm>
#include <span>

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

#include "engine/bundle/openssl_pointers.hpp"
#include "engine/bundle/signing_key.hpp"
#include "partitions/io/types.hpp"

namespace slotkeeper::bundle {
namespace {

/// With OpenSSL's own words, which never hold key material.
Error error_of(Errc code, const std::string& message) {
  const std::string why = take_openssl_errors();
  return make_error(code, why.empty() ? message : message + " (" + why + ")");
}

bool is_rsa(const EVP_PKEY* key) { return EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA; }

/// Why nobody should encrypt for this certificate; empty when it does. Whether it has expired is not asked: the key of
/// a device does not change with the date of its certificate.
std::string recipient_problem(X509* certificate) {
  EVP_PKEY* key = X509_get0_pubkey(certificate);
  if (key == nullptr) return "its key cannot be read";
  if (auto problem = key_problem(key); !problem.empty()) return problem;
  if (!is_rsa(key) && EVP_PKEY_get_base_id(key) != EVP_PKEY_EC) return "its key is only for signatures";
  const bool is_limited = (X509_get_extension_flags(certificate) & EXFLAG_KUSAGE) != 0;
  const std::uint32_t needed = is_rsa(key) ? KU_KEY_ENCIPHERMENT : KU_KEY_AGREEMENT;
  if (!is_limited || (X509_get_key_usage(certificate) & needed) != 0) return "";
  return std::string("its keyUsage has no ") + (is_rsa(key) ? "keyEncipherment" : "keyAgreement");
}

/// What OpenSSL takes by itself is SHA-1 in both places.
bool set_parameters(CMS_RecipientInfo* recipient, EVP_PKEY* key) {
  EVP_PKEY_CTX* parameters = CMS_RecipientInfo_get0_pkey_ctx(recipient);
  if (parameters == nullptr) return false;
  if (is_rsa(key)) {
    return EVP_PKEY_CTX_set_rsa_padding(parameters, RSA_PKCS1_OAEP_PADDING) == 1 &&
           EVP_PKEY_CTX_set_rsa_oaep_md(parameters, EVP_sha256()) == 1 &&
           EVP_PKEY_CTX_set_rsa_mgf1_md(parameters, EVP_sha256()) == 1;
  }
  // The kind of derivation stays OpenSSL's (X9.63): it takes one that was set for an unknown one.
  return EVP_PKEY_CTX_set_ecdh_kdf_md(parameters, EVP_sha256()) == 1;
}

Result<void> add_recipient(CMS_ContentInfo* cms, X509* certificate) {
  const std::string name = "the recipient '" + subject_of(certificate) + "'";
  if (const auto problem = recipient_problem(certificate); !problem.empty()) {
    return make_error(Errc::config, name + " cannot be encrypted for: " + problem);
  }
  CMS_RecipientInfo* recipient = CMS_add1_recipient_cert(cms, certificate, CMS_KEY_PARAM);
  if (recipient == nullptr || !set_parameters(recipient, X509_get0_pubkey(certificate))) {
    return error_of(Errc::config, name + " cannot be encrypted for");
  }
  return success();
}

Result<std::string> encode(CMS_ContentInfo* cms) {
  unsigned char* der = nullptr;
  const int length = i2d_CMS_ContentInfo(cms, &der);
  if (length <= 0) return error_of(Errc::config, "the wrapped content key cannot be encoded");
  std::string text(reinterpret_cast<const char*>(der), static_cast<std::size_t>(length));
  OPENSSL_free(der);
  if (text.size() > kWrappedKeyMaxBytes) {
    return make_error(Errc::config, "the content key, wrapped for all recipients, has more than " +
                                        std::to_string(kWrappedKeyMaxBytes) + " bytes");
  }
  return text;
}

Result<CmsPointer> parse(std::string_view der) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(der.data());
  const auto* end = bytes + der.size();
  ERR_clear_error();
  CmsPointer cms;
  if (der.size() <= kWrappedKeyMaxBytes) {
    cms.reset(d2i_CMS_ContentInfo(nullptr, &bytes, static_cast<long>(der.size())));
  }
  if (!cms || bytes != end || OBJ_obj2nid(CMS_get0_type(cms.get())) != NID_pkcs7_enveloped) {
    return error_of(Errc::corrupt, "the wrapped content key is not CMS EnvelopedData in DER");
  }
  return cms;
}

std::string hex_of(const ASN1_STRING* text) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string hex;
  for (const unsigned byte :
       std::span(ASN1_STRING_get0_data(text), static_cast<std::size_t>(ASN1_STRING_length(text)))) {
    hex += {kDigits[byte >> 4], kDigits[byte & 0xf]};
  }
  return hex;
}

Recipient name_of(X509_NAME* issuer, const ASN1_INTEGER* serial, const ASN1_OCTET_STRING* key_id) {
  if (issuer == nullptr || serial == nullptr) return {.issuer = "", .serial = key_id ? hex_of(key_id) : ""};
  return {.issuer = text_of_name(issuer), .serial = hex_of(serial)};
}

/// One of those that the wrapped key is for; several of them may share a CMS RecipientInfo.
struct Addressee {
  Recipient name;
  bool is_wanted = false;
};

/// `wanted`: a certificate to compare with, or nothing.
Result<std::vector<Addressee>> addressees_of(CMS_ContentInfo* cms, X509* wanted) {
  std::vector<Addressee> all;
  STACK_OF(CMS_RecipientInfo)* infos = CMS_get0_RecipientInfos(cms);
  for (int i = 0; i < sk_CMS_RecipientInfo_num(infos); ++i) {
    CMS_RecipientInfo* info = sk_CMS_RecipientInfo_value(infos, i);
    ASN1_OCTET_STRING* key_id = nullptr;
    X509_NAME* issuer = nullptr;
    ASN1_INTEGER* serial = nullptr;
    if (CMS_RecipientInfo_type(info) == CMS_RECIPINFO_TRANS) {
      X509_ALGOR* algorithm = nullptr;
      if (CMS_RecipientInfo_ktri_get0_algs(info, nullptr, nullptr, &algorithm) != 1 || algorithm == nullptr ||
          OBJ_obj2nid(algorithm->algorithm) != NID_rsaesOaep) {
        return error_of(Errc::unsupported, "the content key is wrapped with RSA but not with OAEP");
      }
      if (CMS_RecipientInfo_ktri_get0_signer_id(info, &key_id, &issuer, &serial) != 1) {
        return error_of(Errc::corrupt, "a recipient of the content key has no name");
      }
      all.push_back({.name = name_of(issuer, serial, key_id),
                     .is_wanted = wanted != nullptr && CMS_RecipientInfo_ktri_cert_cmp(info, wanted) == 0});
    } else if (CMS_RecipientInfo_type(info) == CMS_RECIPINFO_AGREE) {
      STACK_OF(CMS_RecipientEncryptedKey)* keys = CMS_RecipientInfo_kari_get0_reks(info);
      for (int k = 0; k < sk_CMS_RecipientEncryptedKey_num(keys); ++k) {
        CMS_RecipientEncryptedKey* key = sk_CMS_RecipientEncryptedKey_value(keys, k);
        if (CMS_RecipientEncryptedKey_get0_id(key, &key_id, nullptr, nullptr, &issuer, &serial) != 1) {
          return error_of(Errc::corrupt, "a recipient of the content key has no name");
        }
        all.push_back({.name = name_of(issuer, serial, key_id),
                       .is_wanted = wanted != nullptr && CMS_RecipientEncryptedKey_cert_cmp(key, wanted) == 0});
      }
    } else {
      return make_error(Errc::unsupported, "the content key is wrapped in a way that this version does not know");
    }
  }
  return all;
}

}  // namespace

ContentKey::~ContentKey() { OPENSSL_cleanse(bytes.data(), bytes.size()); }
RecipientIdentity::~RecipientIdentity() { OPENSSL_cleanse(key_pem.data(), key_pem.size()); }

Result<ContentKeyPointer> make_content_key() {
  auto key = std::make_shared<ContentKey>();
  if (RAND_priv_bytes(reinterpret_cast<unsigned char*>(key->bytes.data()), static_cast<int>(key->bytes.size())) != 1) {
    return error_of(Errc::internal, "no random bytes for a content key");
  }
  return ContentKeyPointer(std::move(key));
}

Result<std::string> wrap_content_key(const ContentKey& key, const std::vector<std::string>& recipients_pem) {
  constexpr unsigned kFlags = CMS_BINARY | CMS_PARTIAL;
  const auto content = memory_bio(io::as_text(key.bytes));
  const CmsPointer cms(CMS_encrypt(nullptr, content.get(), EVP_aes_256_cbc(), kFlags));
  if (!cms) return error_of(Errc::internal, "the content key cannot be wrapped");
  std::vector<CertificatesPointer> certificates;
  for (const auto& pem : recipients_pem) {
    // Of a chain the first certificate is the recipient.
    SK_TRY_ASSIGN(auto chain, read_certificates(pem, "a recipient's certificate file"));
    X509* certificate = sk_X509_value(chain.get(), 0);
    for (const auto& other : certificates) {
      if (X509_cmp(sk_X509_value(other.get(), 0), certificate) == 0) {
        return make_error(Errc::config, "the recipient '" + subject_of(certificate) + "' stands twice");
      }
    }
    SK_TRY(add_recipient(cms.get(), certificate));
    certificates.push_back(std::move(chain));
  }
  if (certificates.empty() || certificates.size() > static_cast<std::size_t>(kRecipientsMax)) {
    return make_error(Errc::config, "a bundle is encrypted for 1 to " + std::to_string(kRecipientsMax) + " recipients");
  }
  if (CMS_final(cms.get(), content.get(), nullptr, kFlags) != 1) {
    return error_of(Errc::config, "the content key cannot be wrapped for these recipients");
  }
  return encode(cms.get());
}

Result<ContentKeyPointer> unwrap_content_key(std::string_view der, const RecipientIdentity& identity) {
  SK_TRY_ASSIGN(const auto certificates, read_certificates(identity.certificate_pem, identity.origin));
  X509* certificate = sk_X509_value(certificates.get(), 0);
  SK_TRY_ASSIGN(const auto private_key, read_pem_key(identity.key_pem, "the decryption key of " + identity.origin));
  if (X509_check_private_key(certificate, private_key.get()) != 1) {
    return error_of(Errc::config,
                    "the decryption key and the certificate of " + identity.origin + " do not belong together");
  }
  SK_TRY_ASSIGN(const auto cms, parse(der));
  SK_TRY_ASSIGN(const auto addressees, addressees_of(cms.get(), certificate));
  if (std::ranges::none_of(addressees, &Addressee::is_wanted)) {
    return make_error(Errc::incompatible, "it is encrypted, and not for '" + subject_of(certificate) + "' (" +
                                              identity.origin +
                                              "); 'slotkeeper bundle info' names those it is encrypted for");
  }
  const BioPointer content(BIO_new(BIO_s_mem()));  // wiped by OpenSSL when it is freed
  if (!content || CMS_decrypt(cms.get(), private_key.get(), certificate, nullptr, content.get(), 0) != 1) {
    return error_of(Errc::corrupt, "the wrapped content key cannot be decrypted");
  }
  auto key = std::make_shared<ContentKey>();
  const auto wanted = static_cast<int>(key->bytes.size());
  if (BIO_pending(content.get()) != wanted || BIO_read(content.get(), key->bytes.data(), wanted) != wanted) {
    return make_error(Errc::corrupt, "the wrapped content key has another length");
  }
  return ContentKeyPointer(std::move(key));
}

Result<std::vector<Recipient>> recipients_of(std::string_view der) {
  SK_TRY_ASSIGN(const auto cms, parse(der));
  SK_TRY_ASSIGN(auto addressees, addressees_of(cms.get(), nullptr));
  std::vector<Recipient> recipients;
  for (auto& addressee : addressees) recipients.push_back(std::move(addressee.name));
  return recipients;
}

}  // namespace slotkeeper::bundle
