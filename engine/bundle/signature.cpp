#include "engine/bundle/signature.hpp"

#include <algorithm>
#include <array>
#include <span>

#include <openssl/err.h>

#include "engine/bundle/certificate_chain.hpp"
#include "engine/bundle/cms_form.hpp"
#include "engine/bundle/revocation.hpp"
#include "engine/bundle/signature_algorithms.hpp"

namespace slotkeeper::bundle {
namespace {

/// Reads the manifest through the digests that the signatures speak of. The result holds them, and the text at its end.
Result<BioPointer> digest_content(CMS_ContentInfo* cms, std::string_view text) {
  BioPointer content = memory_bio(text);
  BioPointer chain(CMS_dataInit(cms, content.get()));
  if (!chain) return broken_signature("the signature member is not a detached signature");
  static_cast<void>(content.release());  // a part of the chain now, and freed with it
  std::array<char, 4096> buffer{};
  while (true) {
    const int got = BIO_read(chain.get(), buffer.data(), static_cast<int>(buffer.size()));
    if (got <= 0) break;
  }
  return chain;
}

/// Why a signature with these algorithms by this key does not count; empty when it does.
std::string algorithm_problem_of(CMS_SignerInfo* signer, EVP_PKEY* key) {
  X509_ALGOR* digest = nullptr;
  X509_ALGOR* signature = nullptr;
  CMS_SignerInfo_get0_algs(signer, nullptr, nullptr, &digest, &signature);
  return algorithm_problem(digest, signature, key);
}

/// Verifies one signature after another against one policy.
class Verifier {
 public:
  Verifier(const TrustPolicy& policy, ChainRules rules, CertificatesPointer bundled)
      : policy_(policy), rules_(std::move(rules)), bundled_(std::move(bundled)) {}

  /// Errors: signature, untrusted. A second signature by the same key or name is untrusted: it is nobody else's.
  Result<Signer> verify(CMS_SignerInfo* signer, BIO* content) {
    X509* certificate = find_certificate(signer);
    if (certificate == nullptr) return without_certificate();
    EVP_PKEY* key = X509_get0_pubkey(certificate);
    SK_TRY(check_signature(signer, certificate, key, content));
    SK_TRY(check_chain(certificate, bundled_.get(), rules_, static_cast<std::time_t>(policy_.now.seconds)));
    if (const auto problem = purpose_problem(certificate, rules_.purpose); !problem.empty()) {
      return distrusted(certificate, problem);
    }
    SK_TRY(count_once(certificate, key));
    return Signer{.subject = subject_of(certificate),
                  .algorithm = describe_key(key),
                  .not_after = text_of_time(X509_get0_notAfter(certificate))};
  }

 private:
  /// Whether the bytes fit comes before whether the algorithm may be used, so that damage is not taken for distrust.
  static Result<void> check_signature(CMS_SignerInfo* signer, X509* certificate, EVP_PKEY* key, BIO* content) {
    if (key == nullptr) {
      return broken_signature("the key of certificate '" + subject_of(certificate) + "' cannot be read");
    }
    std::string problem = key_problem(key);
    if (problem.empty()) problem = algorithm_problem_of(signer, key);
    if (!is_rsa(key) && EVP_PKEY_get_base_id(key) != EVP_PKEY_EC) return distrusted(certificate, problem);
    CMS_SignerInfo_set1_signer_cert(signer, certificate);
    // Without signed attributes a signature could be taken for one over something else.
    if (CMS_signed_get_attr_count(signer) <= 0) return broken_signature("the signature has no signed attributes");
    if (CMS_SignerInfo_verify(signer) != 1 || CMS_SignerInfo_verify_content(signer, content) != 1) {
      return broken_signature("the signature of '" + subject_of(certificate) + "' does not match the manifest");
    }
    if (!problem.empty()) return distrusted(certificate, problem);
    return success();
  }

  [[nodiscard]] Error without_certificate() const {
    if (sk_X509_num(bundled_.get()) > 0) {
      return broken_signature("the signature does not hold its signer's certificate");
    }
    return make_error(Errc::untrusted, "the signer's certificate is neither in the signature nor in " + policy_.origin);
  }

  X509* find_certificate(CMS_SignerInfo* signer) const {
    for (STACK_OF(X509) * stack : {bundled_.get(), rules_.anchors.get()}) {
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

  /// One person is one signer: neither a key nor, where names are asked for, a name counts twice, as it would for
  /// somebody with an old and a renewed certificate.
  Result<void> count_once(X509* certificate, EVP_PKEY* key) {
    for (EVP_PKEY* other : counted_keys_) {
      if (EVP_PKEY_eq(other, key) == 1) return distrusted(certificate, "it has signed more than once");
    }
    if (!policy_.signers.empty()) {
      const auto names = names_of(certificate);
      const auto allowed = std::ranges::find_first_of(policy_.signers, names);
      if (allowed == policy_.signers.end()) {
        return distrusted(certificate, "none of its names is among those that may sign for this device");
      }
      if (std::ranges::find(counted_names_, *allowed) != counted_names_.end()) {
        return distrusted(certificate, "'" + *allowed + "' has signed more than once");
      }
      counted_names_.push_back(*allowed);
    }
    counted_keys_.push_back(key);
    return success();
  }

  const TrustPolicy& policy_;
  ChainRules rules_;
  CertificatesPointer bundled_;
  std::vector<EVP_PKEY*> counted_keys_;  ///< of the good signatures; they belong to the certificates above
  std::vector<std::string> counted_names_;
};

Result<ChainRules> rules_of(const TrustPolicy& policy) {
  ChainRules rules;
  rules.anchors_origin = policy.origin;
  SK_TRY_ASSIGN(rules.anchors, read_certificates(policy.anchors_pem, policy.origin));
  if (policy.revocation_lists) {
    rules.lists_origin = policy.revocation_lists->origin;
    SK_TRY_ASSIGN(rules.lists, read_revocation_lists(policy.revocation_lists->pem, rules.lists_origin));
  }
  return rules;
}

Error too_few(std::size_t good, const TrustPolicy& policy, std::optional<Error> first_problem) {
  if (first_problem && policy.signatures_required == 1) return std::move(*first_problem);
  std::string count = "the bundle has " + std::to_string(good) + " good signature" + (good == 1 ? "" : "s") + ", " +
                      std::to_string(policy.signatures_required) + " are required";
  if (first_problem) return std::move(*first_problem).with_context(count);
  return make_error(Errc::untrusted, std::move(count));
}

}  // namespace

Result<std::vector<Signer>> verify_manifest_signature(std::string_view manifest, std::string_view cms_der,
                                                      const TrustPolicy& policy) {
  SK_TRY_ASSIGN(auto rules, rules_of(policy));
  SK_TRY_ASSIGN(const auto cms, parse_cms(cms_der));
  SK_TRY_ASSIGN(const auto digested, digest_content(cms.get(), manifest));
  Verifier verifier(policy, std::move(rules), CertificatesPointer(CMS_get1_certs(cms.get())));
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
  return too_few(good.size(), policy, std::move(first_problem));
}

}  // namespace slotkeeper::bundle
