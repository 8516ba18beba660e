#include "engine/bundle/signature.hpp"

#include <algorithm>
#include <optional>

#include <openssl/err.h>

#include "engine/bundle/certificate_chain.hpp"
#include "engine/bundle/cms_form.hpp"
#include "engine/bundle/revocation.hpp"
#include "engine/bundle/signature_algorithms.hpp"
#include "engine/bundle/signer_info.hpp"
#include "engine/bundle/time_stamp.hpp"

namespace slotkeeper::bundle {
namespace {

/// Verifies one signature after another against one policy.
class Verifier {
 public:
  Verifier(const TrustPolicy& policy, ChainRules rules, ChainRules time_stamp_rules, CertificatesPointer bundled)
      : policy_(policy),
        rules_(std::move(rules)),
        time_stamp_rules_(std::move(time_stamp_rules)),
        bundled_(std::move(bundled)) {}

  /// Errors: signature, untrusted. A second signature by the same key or name is untrusted: it is nobody else's.
  Result<Signer> verify(CMS_SignerInfo* signer, BIO* content) {
    X509* certificate = find_certificate(signer, {bundled_.get(), rules_.anchors.get()});
    if (certificate == nullptr) return without_certificate();
    EVP_PKEY* key = X509_get0_pubkey(certificate);
    SK_TRY(check_signature(signer, certificate, key, content));
    SK_TRY_ASSIGN(const auto moment, moment_of(signer, certificate));
    SK_TRY(check_chain(certificate, bundled_.get(), rules_, moment));
    if (const auto problem = purpose_problem(certificate, rules_.purpose); !problem.empty()) {
      return distrusted(certificate, problem);
    }
    SK_TRY(count_once(certificate, key));
    return Signer{.subject = subject_of(certificate),
                  .algorithm = describe_key(key),
                  .not_after = text_of_time(X509_get0_notAfter(certificate)),
                  .judged_at = {.seconds = moment, .nanoseconds = 0}};
  }

 private:
  /// Whether the bytes fit comes before whether the algorithm may be used, so that damage is not taken for distrust.
  static Result<void> check_signature(CMS_SignerInfo* signer, X509* certificate, EVP_PKEY* key, BIO* content) {
    if (key == nullptr) {
      // Damage, or a curve that is not there: then it is not the bundle that is broken.
      if (const auto weakness = algorithm_weakness())
        return distrusted(certificate, "its key cannot be read; " + *weakness);
      return broken_signature("the key of certificate '" + subject_of(certificate) + "' cannot be read");
    }
    std::string problem = key_problem(key);
    if (problem.empty()) problem = algorithm_problem_of(signer, key);
    if (!is_rsa(key) && EVP_PKEY_get_base_id(key) != EVP_PKEY_EC) return distrusted(certificate, problem);
    SK_TRY(check_match(signer, certificate, content));
    if (!problem.empty()) return distrusted(certificate, problem);
    return success();
  }

  [[nodiscard]] Error without_certificate() const {
    if (sk_X509_num(bundled_.get()) > 0) {
      return broken_signature("the signature does not hold its signer's certificate");
    }
    return make_error(Errc::untrusted, "the signer's certificate is neither in the signature nor in " + policy_.origin);
  }

  Result<std::time_t> moment_of(CMS_SignerInfo* signer, const X509* certificate) const {
    switch (policy_.judged_at) {
      case JudgedAt::signing_time:
        return signing_time(signer, certificate);
      case JudgedAt::time_stamp:
        return stamped_time(signer, certificate, time_stamp_rules_);
      case JudgedAt::clock:
        break;
    }
    return static_cast<std::time_t>(policy_.now.seconds);
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
  ChainRules time_stamp_rules_;
  CertificatesPointer bundled_;
  std::vector<EVP_PKEY*> counted_keys_;  ///< of the good signatures; they belong to the certificates above
  std::vector<std::string> counted_names_;
};

Result<ChainRules> rules_for(Purpose purpose, const std::string& anchors_pem, const std::string& origin,
                             const TrustPolicy& policy) {
  ChainRules rules;
  rules.purpose = purpose;
  rules.anchors_origin = origin;
  rules.is_judged_later = policy.judged_at != JudgedAt::clock;
  SK_TRY_ASSIGN(rules.anchors, read_certificates(anchors_pem, origin));
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
  SK_TRY_ASSIGN(auto rules, rules_for(Purpose::code_signing, policy.anchors_pem, policy.origin, policy));
  ChainRules stamp_rules;
  if (policy.judged_at == JudgedAt::time_stamp) {
    const PemFile none{.pem = "", .origin = "trust.timestamp-anchors"};
    const PemFile& anchors = policy.time_stamp_anchors ? *policy.time_stamp_anchors : none;
    SK_TRY_ASSIGN(stamp_rules, rules_for(Purpose::time_stamping, anchors.pem, anchors.origin, policy));
  }
  SK_TRY_ASSIGN(const auto cms, parse_cms(cms_der));
  SK_TRY_ASSIGN(const auto digested, digest_content(cms.get(), manifest));
  Verifier verifier(policy, std::move(rules), std::move(stamp_rules), CertificatesPointer(CMS_get1_certs(cms.get())));
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
