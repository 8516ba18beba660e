// The form of a CMS signature beyond what OpenSSL asks for: DER to the last bit, and the few fields that no signature
// covers have the one value they can have. So a signature member has no byte that may be turned over unnoticed.
#include "engine/bundle/cms_form.hpp"

#include <openssl/err.h>

#include "engine/bundle/der_elements.hpp"
#include "engine/bundle/signature.hpp"

namespace slotkeeper::bundle {
namespace {

constexpr int kSignersMax = 16;

/// The versions follow from what is inside (RFC 5652, 5.1 and 5.3): 1, and 3 where a signer is named by its key.
bool versions_fit(CMS_ContentInfo* cms, std::string_view der) {
  auto signed_data = signed_data_in(der);
  if (!signed_data) return false;
  const int version = signed_data->next_number();
  std::optional<Elements> signers;
  while (!signed_data->empty()) {
    signers = signed_data->next();  // the last of them
    if (!signers) return false;
  }
  bool has_key_identifiers = false;
  STACK_OF(CMS_SignerInfo)* infos = CMS_get0_SignerInfos(cms);
  for (int i = 0; i < sk_CMS_SignerInfo_num(infos); ++i) {
    ASN1_OCTET_STRING* key_identifier = nullptr;
    CMS_SignerInfo_get0_signer_id(sk_CMS_SignerInfo_value(infos, i), &key_identifier, nullptr, nullptr);
    auto info = signers ? signers->next() : std::nullopt;
    if (!info || info->next_number() != (key_identifier != nullptr ? 3 : 1)) return false;
    has_key_identifiers = has_key_identifiers || key_identifier != nullptr;
  }
  return version == (has_key_identifiers ? 3 : 1);
}

/// Empty when it cannot be encoded.
std::string encode(const CMS_ContentInfo* cms) {
  unsigned char* bytes = nullptr;
  const int length = i2d_CMS_ContentInfo(cms, &bytes);
  const std::unique_ptr<unsigned char, FreeBy<[](unsigned char* each) { OPENSSL_free(each); }>> owner(bytes);
  return length > 0 ? std::string(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(length)) : "";
}

/// Why a CMS that was parsed from these bytes is not a detached signature in strict DER; empty when it is.
std::string form_problem(CMS_ContentInfo* cms, std::string_view der) {
  if (OBJ_obj2nid(CMS_get0_type(cms)) != NID_pkcs7_signed) return "the signature member is not signed data";
  if (CMS_is_detached(cms) != 1) return "the signature is not detached";
  if (OBJ_obj2nid(CMS_get0_eContentType(cms)) != NID_pkcs7_data) return "the signature is over another kind of content";
  if (encode(cms) != der) return "the signature member is not DER";
  if (!versions_fit(cms, der)) return "the signature member has a version that does not fit its contents";
  return "";
}

}  // namespace

Error broken_signature(const std::string& message) {
  const std::string why = take_openssl_errors();
  return make_error(Errc::signature, why.empty() ? message : message + " (" + why + ")");
}

Result<CmsPointer> parse_cms(std::string_view der) {
  if (der.size() > kSignatureMaxBytes) return broken_signature("the signature member is too long");
  const auto* bytes = reinterpret_cast<const unsigned char*>(der.data());
  const auto* end = bytes + der.size();
  ERR_clear_error();
  CmsPointer cms(d2i_CMS_ContentInfo(nullptr, &bytes, static_cast<long>(der.size())));
  if (!cms || bytes != end) return broken_signature("the signature member is not CMS in DER");
  if (const auto problem = form_problem(cms.get(), der); !problem.empty()) return broken_signature(problem);
  const int signers = sk_CMS_SignerInfo_num(CMS_get0_SignerInfos(cms.get()));
  if (signers < 1 || signers > kSignersMax) {
    return broken_signature("the signature member does not hold 1 to " + std::to_string(kSignersMax) + " signatures");
  }
  return cms;
}

Result<std::string> print_cms(const CMS_ContentInfo* cms) {
  std::string der = encode(cms);
  if (der.empty()) return make_error(Errc::config, "the signature cannot be encoded: " + take_openssl_errors());
  // What no device would read is not written.
  auto read = parse_cms(der);
  if (!read.has_value()) return std::move(read).assume_error().with_code(Errc::config);
  return der;
}

}  // namespace slotkeeper::bundle
