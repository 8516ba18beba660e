#include "engine/bundle/signature.hpp"

#include <algorithm>
#include <array>
#include <ctime>
#include <optional>
#include <span>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include "engine/bundle/openssl_pointers.hpp"

namespace slotkeeper::bundle {
namespace {

constexpr unsigned kSignFlags = CMS_BINARY | CMS_DETACHED | CMS_NOSMIMECAP;
constexpr int kSignersMax = 16;

Error config_error(const std::string& message) {
  const std::string why = take_openssl_errors();
  return make_error(Errc::config, why.empty() ? message : message + " (" + why + ")");
}

Error broken(const std::string& message) {
  const std::string why = take_openssl_errors();
  return make_error(Errc::signature, why.empty() ? message : message + " (" + why + ")");
}

Error distrusted(X509* certificate, const std::string& why) {
  ERR_clear_error();
  return make_error(Errc::untrusted, "certificate '" + subject_of(certificate) + "': " + why);
}

bool is_rsa(EVP_PKEY* key) {
  const int kind = EVP_PKEY_get_base_id(key);
  return kind == EVP_PKEY_RSA || kind == EVP_PKEY_RSA_PSS;
}

const EVP_MD* digest_for(EVP_PKEY* key) {
  return !is_rsa(key) && EVP_PKEY_get_bits(key) > 256 ? EVP_sha384() : EVP_sha256();
}

bool is_allowed_digest(int nid) { return nid == NID_sha256 || nid == NID_sha384 || nid == NID_sha512; }

int name_of(const X509_ALGOR* algorithm) {
  const ASN1_OBJECT* object = nullptr;
  X509_ALGOR_get0(&object, nullptr, nullptr, algorithm);
  return OBJ_obj2nid(object);
}

/// Like name_of for an algorithm without parameters: they are absent or NULL, else it is NID_undef.
int plain_name_of(const X509_ALGOR* algorithm) {
  int kind = 0;
  X509_ALGOR_get0(nullptr, &kind, nullptr, algorithm);
  return kind == V_ASN1_UNDEF || kind == V_ASN1_NULL ? name_of(algorithm) : NID_undef;
}

using AlgorithmPointer = std::unique_ptr<X509_ALGOR, FreeBy<X509_ALGOR_free>>;
using PssPointer = std::unique_ptr<RSA_PSS_PARAMS, FreeBy<RSA_PSS_PARAMS_free>>;

/// Whether RSA-PSS parameters say: this digest, also in the mask, and a salt not shorter than it. What is absent stands
/// for SHA-1 (RFC 4055) and does not fit.
bool pss_fits(const X509_ALGOR* algorithm, int digest) {
  int kind = 0;
  const void* value = nullptr;
  X509_ALGOR_get0(nullptr, &kind, &value, algorithm);
  if (kind != V_ASN1_SEQUENCE) return false;
  const PssPointer pss(static_cast<RSA_PSS_PARAMS*>(
      ASN1_item_unpack(static_cast<const ASN1_STRING*>(value), ASN1_ITEM_rptr(RSA_PSS_PARAMS))));
  if (!pss || pss->hashAlgorithm == nullptr || pss->maskGenAlgorithm == nullptr || pss->saltLength == nullptr) {
    return false;
  }
  const ASN1_OBJECT* mask = nullptr;
  X509_ALGOR_get0(&mask, &kind, &value, pss->maskGenAlgorithm);
  if (OBJ_obj2nid(mask) != NID_mgf1 || kind != V_ASN1_SEQUENCE) return false;
  const AlgorithmPointer mask_digest(
      static_cast<X509_ALGOR*>(ASN1_item_unpack(static_cast<const ASN1_STRING*>(value), ASN1_ITEM_rptr(X509_ALGOR))));
  const int digest_bytes = EVP_MD_get_size(EVP_get_digestbynid(digest));
  return mask_digest && plain_name_of(mask_digest.get()) == digest && plain_name_of(pss->hashAlgorithm) == digest &&
         ASN1_INTEGER_get(pss->saltLength) >= digest_bytes;
}

/// Why a signature of this algorithm by this key does not count; empty when it does.
std::string algorithm_problem(CMS_SignerInfo* signer, EVP_PKEY* key) {
  X509_ALGOR* digest_algorithm = nullptr;
  X509_ALGOR* signature_algorithm = nullptr;
  CMS_SignerInfo_get0_algs(signer, nullptr, nullptr, &digest_algorithm, &signature_algorithm);
  const int digest = plain_name_of(digest_algorithm);
  if (!is_allowed_digest(digest)) return "the digest is none of SHA-256, SHA-384 and SHA-512";
  const int signature = name_of(signature_algorithm);
  if (is_rsa(key)) {
    if (signature != NID_rsassaPss) return "RSA with PKCS#1 v1.5 padding is not allowed, only RSA-PSS";
    return pss_fits(signature_algorithm, digest) ? "" : "the RSA-PSS parameters are weaker than the digest";
  }
  if (plain_name_of(signature_algorithm) == NID_undef) return "the signature algorithm has parameters";
  const bool is_ecdsa = (digest == NID_sha256 && signature == NID_ecdsa_with_SHA256) ||
                        (digest == NID_sha384 && signature == NID_ecdsa_with_SHA384) ||
                        (digest == NID_sha512 && signature == NID_ecdsa_with_SHA512);
  return is_ecdsa ? "" : "the signature algorithm does not fit the digest or is not allowed";
}

Result<KeyPointer> read_key(const std::string& pem) {
  const auto bio = memory_bio(pem);
  // No prompt: a key with a passphrase is an error, not a program that waits.
  KeyPointer key(PEM_read_bio_PrivateKey(
      bio.get(), nullptr, [](char*, int, int, void*) { return -1; }, nullptr));
  if (!key) return config_error("the signing key is not a private key in PEM form without a passphrase");
  return key;
}

/// What devices would refuse is not signed in the first place; the clock and the anchors are theirs alone.
Result<void> check_signer(X509* certificate, EVP_PKEY* key) {
  const std::string name = "certificate '" + subject_of(certificate) + "'";
  if (X509_check_private_key(certificate, key) != 1) {
    return config_error("the signing key does not belong to the " + name);
  }
  for (const auto& problem :
       {key_problem(key), purpose_problem(certificate), certificate_signature_problem(certificate)}) {
    if (!problem.empty()) return config_error(std::string("devices would refuse the ").append(name) + ": " + problem);
  }
  return success();
}

Result<void> add_intermediates(STACK_OF(X509) * all, STACK_OF(X509) * more, int first) {
  for (int i = first; i < sk_X509_num(more); ++i) {
    X509* certificate = sk_X509_value(more, i);
    for (const auto& problem : {key_problem(X509_get0_pubkey(certificate)), authority_problem(certificate)}) {
      if (!problem.empty()) {
        return config_error("devices would refuse the intermediate certificate '" + subject_of(certificate) +
                            "': " + problem);
      }
    }
    if (X509_up_ref(certificate) != 1) return config_error("out of memory");
    if (sk_X509_push(all, certificate) <= 0) {
      X509_free(certificate);
      return config_error("out of memory");
    }
  }
  return success();
}

/// Reads the manifest through the digests that the signatures speak of. The result holds them, and the text at its end.
Result<BioPointer> digest_content(CMS_ContentInfo* cms, std::string_view text) {
  BioPointer content = memory_bio(text);
  BioPointer chain(CMS_dataInit(cms, content.get()));
  if (!chain) return broken("the signature member is not a detached signature");
  static_cast<void>(content.release());  // a part of the chain now, and freed with it
  std::array<char, 4096> buffer{};
  while (true) {
    const int got = BIO_read(chain.get(), buffer.data(), static_cast<int>(buffer.size()));
    if (got <= 0) break;
  }
  return chain;
}

Result<CmsPointer> parse_cms(std::string_view der) {
  if (der.size() > kSignatureMaxBytes) return broken("the signature member is too long");
  const auto* bytes = reinterpret_cast<const unsigned char*>(der.data());
  const auto* end = bytes + der.size();
  ERR_clear_error();
  CmsPointer cms(d2i_CMS_ContentInfo(nullptr, &bytes, static_cast<long>(der.size())));
  if (!cms || bytes != end) return broken("the signature member is not CMS in DER");
  if (const auto problem = form_problem(cms.get(), der); !problem.empty()) return broken(problem);
  const int signers = sk_CMS_SignerInfo_num(CMS_get0_SignerInfos(cms.get()));
  if (signers < 1 || signers > kSignersMax) return broken("the signature member holds no signature");
  return cms;
}

/// Verifies one signature after another against one policy.
class Verifier {
 public:
  Verifier(const TrustPolicy& policy, CertificatesPointer anchors, CertificatesPointer bundled)
      : policy_(policy), anchors_(std::move(anchors)), bundled_(std::move(bundled)) {}

  /// Errors: signature, untrusted. A second signature by the same key is untrusted: it is nobody else's.
  Result<Signer> verify(CMS_SignerInfo* signer, BIO* content) {
    X509* certificate = find_certificate(signer);
    if (certificate == nullptr) return without_certificate();
    EVP_PKEY* key = X509_get0_pubkey(certificate);
    SK_TRY(check_signature(signer, certificate, key, content));
    SK_TRY(check_chain(certificate));
    if (const auto problem = purpose_problem(certificate); !problem.empty()) return distrusted(certificate, problem);
    for (EVP_PKEY* other : counted_) {
      if (EVP_PKEY_eq(other, key) == 1) return distrusted(certificate, "it has signed more than once");
    }
    counted_.push_back(key);
    return Signer{.subject = subject_of(certificate),
                  .algorithm = describe_key(key),
                  .not_after = text_of_time(X509_get0_notAfter(certificate))};
  }

 private:
  /// Whether the bytes fit comes before whether the algorithm may be used, so that damage is not taken for distrust.
  static Result<void> check_signature(CMS_SignerInfo* signer, X509* certificate, EVP_PKEY* key, BIO* content) {
    if (key == nullptr) return broken("the key of certificate '" + subject_of(certificate) + "' cannot be read");
    std::string problem = key_problem(key);
    if (problem.empty()) problem = algorithm_problem(signer, key);
    if (!is_rsa(key) && EVP_PKEY_get_base_id(key) != EVP_PKEY_EC) return distrusted(certificate, problem);
    CMS_SignerInfo_set1_signer_cert(signer, certificate);
    // Without signed attributes a signature could be taken for one over something else.
    if (CMS_signed_get_attr_count(signer) <= 0) return broken("the signature has no signed attributes");
    if (CMS_SignerInfo_verify(signer) != 1 || CMS_SignerInfo_verify_content(signer, content) != 1) {
      return broken("the signature of '" + subject_of(certificate) + "' does not match the manifest");
    }
    if (!problem.empty()) return distrusted(certificate, problem);
    return success();
  }

  [[nodiscard]] Error without_certificate() const {
    if (sk_X509_num(bundled_.get()) > 0) return broken("the signature does not hold its signer's certificate");
    return make_error(Errc::untrusted, "the signer's certificate is neither in the signature nor in " + policy_.origin);
  }

  X509* find_certificate(CMS_SignerInfo* signer) const {
    for (STACK_OF(X509) * stack : {bundled_.get(), anchors_.get()}) {
      for (int i = 0; stack != nullptr && i < sk_X509_num(stack); ++i) {
        X509* certificate = sk_X509_value(stack, i);
        if (CMS_SignerInfo_cert_cmp(signer, certificate) == 0 && is_named_exactly(signer, certificate)) {
          return certificate;
        }
      }
    }
    return nullptr;
  }

  /// OpenSSL compares names without regard to case and blanks.
  static bool is_named_exactly(CMS_SignerInfo* signer, X509* certificate) {
    X509_NAME* issuer = nullptr;
    CMS_SignerInfo_get0_signer_id(signer, nullptr, &issuer, nullptr);
    if (issuer == nullptr) return true;  // named by its key
    const unsigned char* named = nullptr;
    const unsigned char* found = nullptr;
    std::size_t named_bytes = 0;
    std::size_t found_bytes = 0;
    return X509_NAME_get0_der(issuer, &named, &named_bytes) == 1 &&
           X509_NAME_get0_der(X509_get_issuer_name(certificate), &found, &found_bytes) == 1 &&
           std::ranges::equal(std::span(named, named_bytes), std::span(found, found_bytes));
  }

  Result<void> check_chain(X509* certificate) const {
    const StorePointer store(X509_STORE_new());
    for (int i = 0; i < sk_X509_num(anchors_.get()); ++i) {
      if (X509_STORE_add_cert(store.get(), sk_X509_value(anchors_.get(), i)) != 1) {
        return config_error("a trust anchor of " + policy_.origin + " cannot be used");
      }
    }
    const StoreContextPointer context(X509_STORE_CTX_new());
    if (!context || X509_STORE_CTX_init(context.get(), store.get(), certificate, bundled_.get()) != 1) {
      return make_error(Errc::internal, "the certificate chain cannot be checked: " + take_openssl_errors());
    }
    X509_VERIFY_PARAM* rules = X509_STORE_CTX_get0_param(context.get());
    // An anchor may be the signer's certificate itself, so a chain may end below a root.
    X509_VERIFY_PARAM_set_flags(rules, X509_V_FLAG_PARTIAL_CHAIN);
    if (policy_.check_time) {
      X509_VERIFY_PARAM_set_time(rules, static_cast<std::time_t>(policy_.now.seconds));
    } else {
      X509_VERIFY_PARAM_set_flags(rules, X509_V_FLAG_NO_CHECK_TIME);
    }
    // Strength is for `check_links`, whatever the system's configuration says.
    X509_VERIFY_PARAM_set_auth_level(rules, 0);
    if (X509_VERIFY_PARAM_set_purpose(rules, X509_PURPOSE_ANY) != 1) {
      return make_error(Errc::internal, "the certificate chain cannot be checked: " + take_openssl_errors());
    }
    if (X509_verify_cert(context.get()) != 1) {
      const int reason = X509_STORE_CTX_get_error(context.get());
      X509* at = X509_STORE_CTX_get_current_cert(context.get());
      std::string why = X509_verify_cert_error_string(reason);
      if (at != nullptr && is_unknown_issuer(reason)) {
        why = "its issuer '" + issuer_of(at) + "' is unknown";
      } else if (at != nullptr && reason == X509_V_ERR_CERT_SIGNATURE_FAILURE) {
        why = "it was not signed by the '" + issuer_of(at) + "' that is trusted here, or changed afterwards";
      } else if (at != nullptr && reason == X509_V_ERR_CERT_HAS_EXPIRED) {
        why = "it expired on " + text_of_time(X509_get0_notAfter(at));
      } else if (at != nullptr && reason == X509_V_ERR_CERT_NOT_YET_VALID) {
        why = "it is valid only from " + text_of_time(X509_get0_notBefore(at)) + "; check the device's clock";
      }
      return distrusted(at == nullptr ? certificate : at, why + " (trust anchors: " + policy_.origin + ")");
    }
    return check_links(X509_STORE_CTX_get0_chain(context.get()));
  }

  static bool is_unknown_issuer(int reason) {
    return reason == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT || reason == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY ||
           reason == X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE || reason == X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN ||
           reason == X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT;
  }

  /// What OpenSSL does not ask of a chain, or only of some purposes.
  static Result<void> check_links(STACK_OF(X509) * chain) {
    const int count = sk_X509_num(chain);
    for (int i = 0; i < count; ++i) {
      X509* certificate = sk_X509_value(chain, i);
      if (const auto problem = key_problem(X509_get0_pubkey(certificate)); !problem.empty()) {
        return distrusted(certificate, problem);
      }
      if (const auto problem = i == 0 ? "" : authority_problem(certificate); !problem.empty()) {
        return distrusted(certificate, problem);
      }
      // The last one is the anchor: it is trusted for itself and not for who signed it.
      if (i + 1 == count) break;
      if (const auto problem = certificate_signature_problem(certificate); !problem.empty()) {
        return distrusted(certificate, problem);
      }
    }
    return success();
  }

  const TrustPolicy& policy_;
  CertificatesPointer anchors_;
  CertificatesPointer bundled_;
  std::vector<EVP_PKEY*> counted_;  ///< of the good signatures; they belong to the certificates above
};

}  // namespace

Result<std::string> sign_manifest(std::string_view manifest, const SigningIdentity& identity) {
  SK_TRY_ASSIGN(const auto certificates, read_certificates(identity.certificate_pem, "the signer's certificate file"));
  X509* certificate = sk_X509_value(certificates.get(), 0);
  SK_TRY_ASSIGN(const auto key, read_key(identity.key_pem));
  SK_TRY(check_signer(certificate, key.get()));
  const CertificatesPointer extra(sk_X509_new_null());
  SK_TRY(add_intermediates(extra.get(), certificates.get(), 1));
  for (const auto& pem : identity.intermediates_pem) {
    SK_TRY_ASSIGN(const auto more, read_certificates(pem, "an intermediate certificate file"));
    SK_TRY(add_intermediates(extra.get(), more.get(), 0));
  }
  const auto content = memory_bio(manifest);
  const CmsPointer cms(CMS_sign(nullptr, nullptr, extra.get(), content.get(), kSignFlags | CMS_PARTIAL));
  if (!cms) return config_error("the signature cannot be made");
  CMS_SignerInfo* signer =
      CMS_add1_signer(cms.get(), certificate, key.get(), digest_for(key.get()), kSignFlags | CMS_KEY_PARAM);
  if (signer == nullptr) return config_error("the signature cannot be made");
  if (is_rsa(key.get())) {
    EVP_PKEY_CTX* parameters = CMS_SignerInfo_get0_pkey_ctx(signer);
    if (EVP_PKEY_CTX_set_rsa_padding(parameters, RSA_PKCS1_PSS_PADDING) != 1 ||
        EVP_PKEY_CTX_set_rsa_pss_saltlen(parameters, RSA_PSS_SALTLEN_DIGEST) != 1) {
      return config_error("the RSA key cannot sign with PSS");
    }
  }
  if (CMS_final(cms.get(), content.get(), nullptr, kSignFlags) != 1) return config_error("signing failed");
  unsigned char* der = nullptr;
  const int length = i2d_CMS_ContentInfo(cms.get(), &der);
  if (length <= 0) return config_error("the signature cannot be encoded");
  std::string text(reinterpret_cast<const char*>(der), static_cast<std::size_t>(length));
  OPENSSL_free(der);
  return text;
}

Result<std::vector<Signer>> verify_manifest_signature(std::string_view manifest, std::string_view cms_der,
                                                      const TrustPolicy& policy) {
  SK_TRY_ASSIGN(auto anchors, read_certificates(policy.anchors_pem, policy.origin));
  SK_TRY_ASSIGN(const auto cms, parse_cms(cms_der));
  SK_TRY_ASSIGN(const auto digested, digest_content(cms.get(), manifest));
  Verifier verifier(policy, std::move(anchors), CertificatesPointer(CMS_get1_certs(cms.get())));
  std::vector<Signer> good;
  std::optional<Error> first_problem;
  STACK_OF(CMS_SignerInfo)* signers = CMS_get0_SignerInfos(cms.get());
  for (int i = 0; i < sk_CMS_SignerInfo_num(signers); ++i) {
    auto verified = verifier.verify(sk_CMS_SignerInfo_value(signers, i), digested.get());
    if (verified.has_value()) {
      good.push_back(std::move(verified).assume_value());
      continue;
    }
    // A signature that is broken says more than one by a stranger.
    const bool says_more =
        !first_problem || (first_problem->code == Errc::untrusted && verified.assume_error().code == Errc::signature);
    if (says_more) first_problem = std::move(verified).assume_error();
  }
  ERR_clear_error();
  if (good.size() >= policy.signatures_required) return good;
  if (first_problem) return std::move(*first_problem);
  return make_error(Errc::untrusted, "the bundle has " + std::to_string(good.size()) + " good signatures, " +
                                         std::to_string(policy.signatures_required) + " are required");
}

}  // namespace slotkeeper::bundle
