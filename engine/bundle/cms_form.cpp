// The form of a CMS signature beyond what OpenSSL asks for: DER to the last bit, and the few fields that no signature
// covers have the one value they can have. So a signature member has no byte that may be turned over unnoticed.
#include <optional>

#include "engine/bundle/openssl_pointers.hpp"

namespace slotkeeper::bundle {
namespace {

/// What is left of the elements of one constructed value.
struct Elements {
  const unsigned char* at;
  const unsigned char* end;

  [[nodiscard]] bool empty() const { return at == end; }
  /// Steps over the next element and returns its contents.
  std::optional<Elements> next() {
    const unsigned char* inside = at;
    long length = 0;
    int tag = 0;
    int kind = 0;
    if ((ASN1_get_object(&inside, &length, &tag, &kind, end - at) & 0x81) != 0 || length > end - inside) return {};
    at = inside + length;
    return Elements{inside, at};
  }
  /// Steps over the next element, a number of one byte; -1 when it is none.
  int next_number() {
    const auto number = next();
    return number && number->end - number->at == 1 ? *number->at : -1;
  }
};

/// The versions follow from what is inside (RFC 5652, 5.1 and 5.3): 1, and 3 where a signer is named by its key.
bool versions_fit(CMS_ContentInfo* cms, std::string_view der) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(der.data());
  Elements all{bytes, bytes + der.size()};
  auto content_info = all.next();
  if (!content_info || !content_info->next()) return false;  // the content's type
  auto wrapped = content_info->next();
  auto signed_data = wrapped ? wrapped->next() : std::nullopt;
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

bool is_der(CMS_ContentInfo* cms, std::string_view der) {
  unsigned char* again = nullptr;
  const int length = i2d_CMS_ContentInfo(cms, &again);
  const std::unique_ptr<unsigned char, FreeBy<[](unsigned char* bytes) { OPENSSL_free(bytes); }>> owner(again);
  return length > 0 && std::string_view(reinterpret_cast<const char*>(again), static_cast<std::size_t>(length)) == der;
}

}  // namespace

std::string form_problem(CMS_ContentInfo* cms, std::string_view der) {
  if (OBJ_obj2nid(CMS_get0_type(cms)) != NID_pkcs7_signed) return "the signature member is not signed data";
  if (CMS_is_detached(cms) != 1) return "the signature is not detached";
  if (OBJ_obj2nid(CMS_get0_eContentType(cms)) != NID_pkcs7_data) return "the signature is over another kind of content";
  if (!is_der(cms, der)) return "the signature member is not DER";
  if (!versions_fit(cms, der)) return "the signature member has a version that does not fit its contents";
  return "";
}

}  // namespace slotkeeper::bundle
