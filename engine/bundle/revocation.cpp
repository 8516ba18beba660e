#include "engine/bundle/revocation.hpp"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "engine/bundle/signature_algorithms.hpp"

namespace slotkeeper::bundle {
namespace {

/// A list comes over the network like a bundle: whoever can forge its signature takes a name out of it.
Result<void> check_strength(const X509_CRL* list, const std::string& origin) {
  const X509_ALGOR* algorithm = nullptr;
  X509_CRL_get0_signature(list, nullptr, &algorithm);
  const int digest = digest_of_signature(algorithm);
  if (is_allowed_digest(digest)) return success();
  return make_error(Errc::config, origin + ": the revocation list of '" + text_of_name(X509_CRL_get_issuer(list)) +
                                      "' is signed with " +
                                      (digest == NID_undef ? "an unknown algorithm" : OBJ_nid2sn(digest)));
}

bool is_by(X509_CRL* list, X509* issuer) {
  EVP_PKEY* key = X509_get0_pubkey(issuer);
  return X509_NAME_cmp(X509_CRL_get_issuer(list), X509_get_subject_name(issuer)) == 0 && key != nullptr &&
         X509_CRL_verify(list, key) == 1;
}

std::string text_of_reason(const X509_REVOKED* entry) {
  int found = 0;
  using ReasonPointer = std::unique_ptr<ASN1_ENUMERATED, FreeBy<ASN1_ENUMERATED_free>>;
  const ReasonPointer reason(
      static_cast<ASN1_ENUMERATED*>(X509_REVOKED_get_ext_d2i(entry, NID_crl_reason, &found, nullptr)));
  const long number = reason ? ASN1_ENUMERATED_get(reason.get()) : CRL_REASON_NONE;
  return number == CRL_REASON_KEY_COMPROMISE ? " because its key is in other hands" : "";
}

}  // namespace

Result<ListsPointer> read_revocation_lists(std::string_view pem, const std::string& origin) {
  ListsPointer lists(sk_X509_CRL_new_null());
  const auto read_next = [&](BIO* bio) -> Result<bool> {
    ListPointer list(PEM_read_bio_X509_CRL(bio, nullptr, nullptr, nullptr));
    if (!list) return false;
    SK_TRY(check_strength(list.get(), origin));
    if (sk_X509_CRL_push(lists.get(), list.get()) <= 0) return make_error(Errc::internal, "out of memory");
    static_cast<void>(list.release());  // the stack owns it now
    return true;
  };
  SK_TRY(read_pem(pem, origin, "revocation list", read_next));
  return lists;
}

std::string revocation_problem(X509* certificate, X509* issuer, STACK_OF(X509_CRL) * lists) {
  for (int i = 0; i < sk_X509_CRL_num(lists); ++i) {
    X509_CRL* list = sk_X509_CRL_value(lists, i);
    X509_REVOKED* entry = nullptr;
    // 2: taken back by an entry of a delta list, which is not used here.
    if (X509_CRL_get0_by_cert(list, &entry, certificate) != 1 || !is_by(list, issuer)) continue;
    return "it was revoked on " + text_of_time(X509_REVOKED_get0_revocationDate(entry)) + text_of_reason(entry);
  }
  ERR_clear_error();
  return "";
}

}  // namespace slotkeeper::bundle
