// Getting time stamps: a request for an authority, and its answer put beside the signature it is for.
#include <array>

#include <openssl/err.h>

#include "engine/bundle/cms_form.hpp"
#include "engine/bundle/signature.hpp"
#include "engine/bundle/time_stamp.hpp"

namespace slotkeeper::bundle {
namespace {

using RequestPointer = std::unique_ptr<TS_REQ, FreeBy<TS_REQ_free>>;
using ResponsePointer = std::unique_ptr<TS_RESP, FreeBy<TS_RESP_free>>;
using ImprintPointer = std::unique_ptr<TS_MSG_IMPRINT, FreeBy<TS_MSG_IMPRINT_free>>;
using AlgorithmPointer = std::unique_ptr<X509_ALGOR, FreeBy<X509_ALGOR_free>>;

Error unusable(const std::string& message) {
  const std::string why = take_openssl_errors();
  return make_error(Errc::config, why.empty() ? message : message + " (" + why + ")");
}

bool has_stamp(const CMS_SignerInfo* signer) {
  return CMS_unsigned_get_attr_by_NID(signer, NID_id_smime_aa_timeStampToken, -1) >= 0;
}

/// With the digest that the signature itself is made with: the token is as strong as what it speaks of.
ImprintPointer imprint_of(CMS_SignerInfo* signer) {
  X509_ALGOR* used = nullptr;
  CMS_SignerInfo_get0_algs(signer, nullptr, nullptr, &used, nullptr);
  const ASN1_OBJECT* object = nullptr;
  X509_ALGOR_get0(&object, nullptr, nullptr, used);
  const ASN1_OCTET_STRING* value = CMS_SignerInfo_get0_signature(signer);
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int length = 0;
  ImprintPointer imprint(TS_MSG_IMPRINT_new());
  const AlgorithmPointer algorithm(X509_ALGOR_new());
  const bool is_made = imprint && algorithm &&
                       EVP_Digest(ASN1_STRING_get0_data(value), static_cast<std::size_t>(ASN1_STRING_length(value)),
                                  digest.data(), &length, EVP_get_digestbyobj(object), nullptr) == 1 &&
                       X509_ALGOR_set0(algorithm.get(), OBJ_nid2obj(OBJ_obj2nid(object)), V_ASN1_NULL, nullptr) == 1 &&
                       TS_MSG_IMPRINT_set_algo(imprint.get(), algorithm.get()) == 1 &&
                       TS_MSG_IMPRINT_set_msg(imprint.get(), digest.data(), static_cast<int>(length)) == 1;
  return is_made ? std::move(imprint) : nullptr;
}

/// Errors: config (no answer, or one that says no).
Result<ResponsePointer> read_response(std::string_view der) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(der.data());
  const auto* end = bytes + der.size();
  ERR_clear_error();
  ResponsePointer response(d2i_TS_RESP(nullptr, &bytes, static_cast<long>(der.size())));
  if (!response || bytes != end) return unusable("this is not the answer of a time stamp authority (RFC 3161, DER)");
  const long status = ASN1_INTEGER_get(TS_STATUS_INFO_get0_status(TS_RESP_get_status_info(response.get())));
  if ((status != TS_STATUS_GRANTED && status != TS_STATUS_GRANTED_WITH_MODS) ||
      TS_RESP_get_token(response.get()) == nullptr || TS_RESP_get_tst_info(response.get()) == nullptr) {
    return unusable("the time stamp authority refused the request (status " + std::to_string(status) + ")");
  }
  return response;
}

Result<void> attach(CMS_SignerInfo* signer, PKCS7* token) {
  unsigned char* der = nullptr;
  const int length = i2d_PKCS7(token, &der);
  const std::unique_ptr<unsigned char, FreeBy<[](unsigned char* each) { OPENSSL_free(each); }>> owner(der);
  if (length <= 0 ||
      CMS_unsigned_add1_attr_by_NID(signer, NID_id_smime_aa_timeStampToken, V_ASN1_SEQUENCE, der, length) != 1) {
    return unusable("the time stamp cannot be added");
  }
  return success();
}

}  // namespace

Result<std::optional<std::string>> time_stamp_request(std::string_view cms_der) {
  SK_TRY_ASSIGN(const auto cms, parse_cms(cms_der));
  STACK_OF(CMS_SignerInfo)* signers = CMS_get0_SignerInfos(cms.get());
  for (int i = 0; i < sk_CMS_SignerInfo_num(signers); ++i) {
    CMS_SignerInfo* signer = sk_CMS_SignerInfo_value(signers, i);
    if (has_stamp(signer)) continue;
    const auto imprint = imprint_of(signer);
    const RequestPointer request(TS_REQ_new());
    unsigned char* der = nullptr;
    // Without a nonce: the signature is asked about once, and the answer may come days later from another machine.
    if (!imprint || !request || TS_REQ_set_version(request.get(), 1) != 1 ||
        TS_REQ_set_msg_imprint(request.get(), imprint.get()) != 1 || TS_REQ_set_cert_req(request.get(), 1) != 1) {
      return unusable("the request for a time stamp cannot be made");
    }
    const int length = i2d_TS_REQ(request.get(), &der);
    if (length <= 0) return unusable("the request for a time stamp cannot be made");
    std::string text(reinterpret_cast<const char*>(der), static_cast<std::size_t>(length));
    OPENSSL_free(der);
    return std::optional(std::move(text));
  }
  return std::optional<std::string>{};
}

Result<std::string> add_time_stamp(std::string_view cms_der, std::string_view response_der) {
  SK_TRY_ASSIGN(const auto cms, parse_cms(cms_der));
  SK_TRY_ASSIGN(const auto response, read_response(response_der));
  STACK_OF(CMS_SignerInfo)* signers = CMS_get0_SignerInfos(cms.get());
  for (int i = 0; i < sk_CMS_SignerInfo_num(signers); ++i) {
    CMS_SignerInfo* signer = sk_CMS_SignerInfo_value(signers, i);
    if (!is_about(TS_RESP_get_tst_info(response.get()), CMS_SignerInfo_get0_signature(signer))) continue;
    if (has_stamp(signer)) return make_error(Errc::config, "this signature has a time stamp already");
    SK_TRY(attach(signer, TS_RESP_get_token(response.get())));
    return print_cms(cms.get());
  }
  return make_error(Errc::config, "the time stamp is for none of the bundle's signatures");
}

}  // namespace slotkeeper::bundle
