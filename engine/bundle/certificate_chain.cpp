#include "engine/bundle/certificate_chain.hpp"

#include <optional>

#include <openssl/err.h>

#include "engine/bundle/revocation.hpp"

namespace slotkeeper::bundle {
namespace {

bool is_unknown_issuer(int reason) {
  return reason == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT || reason == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY ||
         reason == X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE || reason == X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN ||
         reason == X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT;
}

/// What OpenSSL says of a chain, in words that tell what to do.
std::string describe_problem(X509_STORE_CTX* context, const ChainRules& rules) {
  const int reason = X509_STORE_CTX_get_error(context);
  const X509* at = X509_STORE_CTX_get_current_cert(context);
  const X509_CRL* list = X509_STORE_CTX_get0_current_crl(context);
  const std::string trusting = " (trust anchors: " + rules.anchors_origin + ")";
  const std::string revoking = " (revocation lists: " + rules.lists_origin + ")";
  if (at == nullptr) return X509_verify_cert_error_string(reason) + trusting;
  const std::string issuer = "'" + issuer_of(at) + "'";
  if (is_unknown_issuer(reason)) return "its issuer " + issuer + " is unknown" + trusting;
  switch (reason) {
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
      return "it was not signed by the " + issuer + " that is trusted here, or changed afterwards" + trusting;
    case X509_V_ERR_CERT_HAS_EXPIRED:
      return "it expired on " + text_of_time(X509_get0_notAfter(at)) +
             (rules.is_judged_later ? ", before the signature was made" : "") + trusting;
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return "it is valid only from " + text_of_time(X509_get0_notBefore(at)) +
             (rules.is_judged_later ? ", after the signature was made" : "; check the device's clock") + trusting;
    case X509_V_ERR_UNABLE_TO_GET_CRL:
      return "its issuer " + issuer + " has no revocation list here, which this device asks for" + revoking;
    case X509_V_ERR_CRL_HAS_EXPIRED:
      if (list == nullptr) break;
      return "the revocation list of its issuer " + issuer + " ended on " +
             text_of_time(X509_CRL_get0_nextUpdate(list)) + "; the device needs a newer one" + revoking;
    case X509_V_ERR_CRL_NOT_YET_VALID:
      if (list == nullptr) break;
      return "the revocation list of its issuer " + issuer + " is valid only from " +
             text_of_time(X509_CRL_get0_lastUpdate(list)) + "; check the device's clock" + revoking;
    default:
      break;
  }
  return X509_verify_cert_error_string(reason) + (list == nullptr ? trusting : revoking);
}

/// What OpenSSL's verification is given to take along.
struct Verification {
  const ChainRules& rules;
  std::optional<Error> problem = {};  ///< the first one that was not passed over
};

/// Called by OpenSSL for every problem; 1 passes it over. Only here it is known which list the problem is about.
int pass_over(int is_good, X509_STORE_CTX* context) {
  if (is_good == 1) return 1;
  auto& verification = *static_cast<Verification*>(X509_STORE_CTX_get_app_data(context));
  const int reason = X509_STORE_CTX_get_error(context);
  const int depth = X509_STORE_CTX_get_error_depth(context);
  const bool is_anchor = depth + 1 == sk_X509_num(X509_STORE_CTX_get0_chain(context));
  // An anchor is trusted for itself, so nobody's list has to speak of it; whoever distrusts it takes it away.
  const bool passes = (reason == X509_V_ERR_UNABLE_TO_GET_CRL && is_anchor) ||
                      (reason == X509_V_ERR_CRL_NOT_YET_VALID && verification.rules.is_judged_later);
  if (passes) {
    X509_STORE_CTX_set_error(context, X509_V_OK);
    return 1;
  }
  const X509* at = X509_STORE_CTX_get_current_cert(context);
  if (at == nullptr) at = X509_STORE_CTX_get0_cert(context);
  verification.problem = distrusted(at, describe_problem(context, verification.rules));
  return 0;
}

/// What OpenSSL does not ask of a chain, or only of some purposes.
Result<void> check_links(STACK_OF(X509) * chain, const ChainRules& rules) {
  const int count = sk_X509_num(chain);
  for (int i = 0; i < count; ++i) {
    X509* certificate = sk_X509_value(chain, i);
    if (const auto problem = key_problem(X509_get0_pubkey(certificate)); !problem.empty()) {
      return distrusted(certificate, problem);
    }
    if (const auto problem = i == 0 ? "" : authority_problem(certificate, rules.purpose); !problem.empty()) {
      return distrusted(certificate, problem);
    }
    // The last one is the anchor: it is trusted for itself and not for who signed it.
    if (i + 1 == count) break;
    if (const auto problem = certificate_signature_problem(certificate); !problem.empty()) {
      return distrusted(certificate, problem);
    }
    const auto revoked = revocation_problem(certificate, sk_X509_value(chain, i + 1), rules.lists.get());
    if (!revoked.empty()) return distrusted(certificate, revoked);
  }
  return success();
}

}  // namespace

Error distrusted(const X509* certificate, const std::string& why) {
  ERR_clear_error();
  return make_error(Errc::untrusted, "certificate '" + subject_of(certificate) + "': " + why);
}

Result<StorePointer> make_store(const ChainRules& rules) {
  StorePointer store(X509_STORE_new());
  for (int i = 0; i < sk_X509_num(rules.anchors.get()); ++i) {
    if (X509_STORE_add_cert(store.get(), sk_X509_value(rules.anchors.get(), i)) != 1) {
      return make_error(Errc::config, "a trust anchor of " + rules.anchors_origin + " cannot be used");
    }
  }
  for (int i = 0; i < sk_X509_CRL_num(rules.lists.get()); ++i) {
    if (X509_STORE_add_crl(store.get(), sk_X509_CRL_value(rules.lists.get(), i)) != 1) {
      return make_error(Errc::config, "a revocation list of " + rules.lists_origin + " cannot be used");
    }
  }
  return store;
}

Result<void> check_chain(X509* certificate, STACK_OF(X509) * more, const ChainRules& rules, std::time_t moment) {
  SK_TRY_ASSIGN(const auto store, make_store(rules));
  const StoreContextPointer context(X509_STORE_CTX_new());
  if (!context || X509_STORE_CTX_init(context.get(), store.get(), certificate, more) != 1) {
    return make_error(Errc::internal, "the certificate chain cannot be checked: " + take_openssl_errors());
  }
  Verification verification{rules};
  X509_STORE_CTX_set_app_data(context.get(), &verification);
  X509_STORE_CTX_set_verify_cb(context.get(), pass_over);
  X509_VERIFY_PARAM* parameters = X509_STORE_CTX_get0_param(context.get());
  // An anchor may be the signer's certificate itself, so a chain may end below a root.
  unsigned long flags = X509_V_FLAG_PARTIAL_CHAIN;
  if (rules.lists) flags |= X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL;
  if (!rules.looks_at_time) flags |= X509_V_FLAG_NO_CHECK_TIME;
  X509_VERIFY_PARAM_set_flags(parameters, flags);
  X509_VERIFY_PARAM_set_time(parameters, moment);
  // Strength is for `check_links`, whatever the system's configuration says.
  X509_VERIFY_PARAM_set_auth_level(parameters, 0);
  if (X509_VERIFY_PARAM_set_purpose(parameters, X509_PURPOSE_ANY) != 1) {
    return make_error(Errc::internal, "the certificate chain cannot be checked: " + take_openssl_errors());
  }
  const bool is_good = X509_verify_cert(context.get()) == 1;
  STACK_OF(X509)* chain = X509_STORE_CTX_get0_chain(context.get());
  if (!is_good) {
    // Of a revoked one it is known since when.
    if (X509_STORE_CTX_get_error(context.get()) == X509_V_ERR_CERT_REVOKED) SK_TRY(check_links(chain, rules));
    if (verification.problem) return std::move(*verification.problem);
    return distrusted(certificate, X509_verify_cert_error_string(X509_STORE_CTX_get_error(context.get())));
  }
  return check_links(chain, rules);
}

}  // namespace slotkeeper::bundle
