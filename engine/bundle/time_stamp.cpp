#include "engine/bundle/time_stamp.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <span>

#include <openssl/err.h>

#include "engine/bundle/cms_form.hpp"
#include "engine/bundle/signature_algorithms.hpp"

namespace slotkeeper::bundle {
namespace {

constexpr int kTheOnlyOne = -3;  // OpenSSL: one attribute of this kind, with one value

using VerifyPointer = std::unique_ptr<TS_VERIFY_CTX, FreeBy<TS_VERIFY_CTX_free>>;

std::optional<std::time_t> seconds_of(const ASN1_TIME* time) {
  std::tm parts{};
  if (time == nullptr || ASN1_TIME_to_tm(time, &parts) != 1) return std::nullopt;
  return ::timegm(&parts);
}

std::optional<std::span<const unsigned char>> digest_of(const ASN1_OCTET_STRING* bytes, const EVP_MD* digest,
                                                        std::span<unsigned char> into) {
  unsigned int length = 0;
  if (EVP_Digest(ASN1_STRING_get0_data(bytes), static_cast<std::size_t>(ASN1_STRING_length(bytes)), into.data(),
                 &length, digest, nullptr) != 1) {
    return std::nullopt;
  }
  return std::span<const unsigned char>(into.data(), length);
}

Error bad_stamp(const X509* certificate, Errc code, const std::string& why) {
  const std::string reason = take_openssl_errors();
  return make_error(code, "the time stamp of the signature of '" + subject_of(certificate) + "': " + why +
                              (reason.empty() ? "" : " (" + reason + ")"));
}

/// Errors: untrusted (none, or more than one), signature.
Result<TokenPointer> find_token(CMS_SignerInfo* signer, const X509* certificate) {
  ASN1_OBJECT* kind = OBJ_nid2obj(NID_id_smime_aa_timeStampToken);
  if (CMS_unsigned_get_attr_by_OBJ(signer, kind, -1) < 0) {
    return distrusted(certificate, "its signature has no time stamp, which this device asks for");
  }
  const auto* der =
      static_cast<const ASN1_STRING*>(CMS_unsigned_get0_data_by_OBJ(signer, kind, kTheOnlyOne, V_ASN1_SEQUENCE));
  if (der == nullptr) return bad_stamp(certificate, Errc::signature, "there is more than one");
  const unsigned char* bytes = ASN1_STRING_get0_data(der);
  const unsigned char* end = bytes + ASN1_STRING_length(der);
  TokenPointer token(d2i_PKCS7(nullptr, &bytes, ASN1_STRING_length(der)));
  if (!token || bytes != end) return bad_stamp(certificate, Errc::signature, "it cannot be read");
  return token;
}

/// OpenSSL's own verification: the token is by the certificate that it names (RFC 5035), which is for time stamps and
/// nothing else, and about this signature.
Result<void> check_token(PKCS7* token, TS_TST_INFO* info, CMS_SignerInfo* signer, const X509* certificate,
                         const ChainRules& rules, std::time_t moment) {
  if (!is_about(info, CMS_SignerInfo_get0_signature(signer))) {
    return bad_stamp(certificate, Errc::signature, "it is for another signature, or with a weak digest");
  }
  const VerifyPointer context(TS_VERIFY_CTX_new());
  SK_TRY_ASSIGN(auto store, make_store(rules));
  X509_STORE_set_flags(store.get(), X509_V_FLAG_PARTIAL_CHAIN);
  X509_VERIFY_PARAM_set_time(X509_STORE_get0_param(store.get()), moment);
  TS_VERIFY_CTX_set_flags(context.get(), TS_VFY_VERSION | TS_VFY_SIGNATURE);
  TS_VERIFY_CTX_set_store(context.get(), store.release());  // freed with it
  if (TS_RESP_verify_token(context.get(), token) != 1) {
    return bad_stamp(
        certificate, Errc::untrusted,
        "it is not by an authority that this device trusts (time stamp anchors: " + rules.anchors_origin + ")");
  }
  return success();
}

/// What OpenSSL does not ask: our algorithms, our rules for chains, revocation.
Result<void> check_authority(PKCS7* token, const X509* certificate, const ChainRules& rules, std::time_t moment) {
  const std::unique_ptr<STACK_OF(X509), FreeBy<[](STACK_OF(X509) * stack) { sk_X509_free(stack); }>> signers(
      PKCS7_get0_signers(token, nullptr, 0));
  STACK_OF(PKCS7_SIGNER_INFO)* infos = PKCS7_get_signer_info(token);
  if (sk_X509_num(signers.get()) != 1 || sk_PKCS7_SIGNER_INFO_num(infos) != 1) {
    return bad_stamp(certificate, Errc::signature, "it does not have one signer");
  }
  X509* authority = sk_X509_value(signers.get(), 0);
  X509_ALGOR* digest = nullptr;
  X509_ALGOR* signature = nullptr;
  PKCS7_SIGNER_INFO_get0_algs(sk_PKCS7_SIGNER_INFO_value(infos, 0), nullptr, &digest, &signature);
  const auto check = [&]() -> Result<void> {
    const auto problem = algorithm_problem(digest, signature, X509_get0_pubkey(authority));
    if (!problem.empty()) return distrusted(authority, problem);
    SK_TRY(check_chain(authority, token->d.sign->cert, rules, moment));
    const auto purpose = purpose_problem(authority, rules.purpose);
    if (!purpose.empty()) return distrusted(authority, purpose);
    return success();
  };
  return with_context(check(), "time stamp of the signature of '" + subject_of(certificate) + "'");
}

}  // namespace

bool is_about(TS_TST_INFO* token, const ASN1_OCTET_STRING* signature) {
  TS_MSG_IMPRINT* imprint = TS_TST_INFO_get_msg_imprint(token);
  const ASN1_OBJECT* object = nullptr;
  X509_ALGOR_get0(&object, nullptr, nullptr, TS_MSG_IMPRINT_get_algo(imprint));
  if (!is_allowed_digest(OBJ_obj2nid(object))) return false;
  std::array<unsigned char, EVP_MAX_MD_SIZE> buffer{};
  const auto digest = digest_of(signature, EVP_get_digestbyobj(object), buffer);
  const ASN1_OCTET_STRING* found = TS_MSG_IMPRINT_get_msg(imprint);
  return digest && std::ranges::equal(*digest, std::span(ASN1_STRING_get0_data(found),
                                                         static_cast<std::size_t>(ASN1_STRING_length(found))));
}

Result<std::time_t> signing_time(CMS_SignerInfo* signer, const X509* certificate) {
  ASN1_OBJECT* kind = OBJ_nid2obj(NID_pkcs9_signingTime);
  for (const int type : {V_ASN1_UTCTIME, V_ASN1_GENERALIZEDTIME}) {
    const auto* time = static_cast<const ASN1_TIME*>(CMS_signed_get0_data_by_OBJ(signer, kind, kTheOnlyOne, type));
    if (const auto seconds = seconds_of(time)) return *seconds;
  }
  return distrusted(certificate, "its signature has no signing time, which this device asks for");
}

Result<std::time_t> stamped_time(CMS_SignerInfo* signer, const X509* certificate, const ChainRules& rules) {
  SK_TRY_ASSIGN(const auto token, find_token(signer, certificate));
  const TokenInfoPointer info(PKCS7_to_TS_TST_INFO(token.get()));
  if (!info) return bad_stamp(certificate, Errc::signature, "it cannot be read");
  // Not trusted yet: it only says when the authority had to be valid for what it signed to count at all.
  const auto moment = seconds_of(TS_TST_INFO_get_time(info.get()));
  if (!moment) return bad_stamp(certificate, Errc::signature, "its time cannot be read");
  SK_TRY(check_token(token.get(), info.get(), signer, certificate, rules, *moment));
  SK_TRY(check_authority(token.get(), certificate, rules, *moment));
  ERR_clear_error();
  return *moment;
}

}  // namespace slotkeeper::bundle
