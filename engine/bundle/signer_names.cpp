// What a signer is called: the names in its certificate that `[trust] signers` is compared with.
#include <openssl/x509v3.h>

#include "engine/bundle/openssl_pointers.hpp"

namespace slotkeeper::bundle {
namespace {

using AlternativesPointer = std::unique_ptr<GENERAL_NAMES, FreeBy<GENERAL_NAMES_free>>;

/// In UTF-8, with every byte: a zero in the middle cuts nothing off.
std::string text_of(const ASN1_STRING* string) {
  unsigned char* text = nullptr;
  const int length = ASN1_STRING_to_UTF8(&text, string);
  if (length < 0) return "";
  std::string copy(reinterpret_cast<const char*>(text), static_cast<std::size_t>(length));
  OPENSSL_free(text);
  return copy;
}

void add_common_names(const X509* certificate, std::vector<std::string>& names) {
  const X509_NAME* subject = X509_get_subject_name(certificate);
  int at = -1;
  while ((at = X509_NAME_get_index_by_NID(subject, NID_commonName, at)) >= 0) {
    names.push_back(text_of(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at))));
  }
}

void add_alternatives(const X509* certificate, std::vector<std::string>& names) {
  const AlternativesPointer all(
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  for (int i = 0; i < sk_GENERAL_NAME_num(all.get()); ++i) {
    int kind = 0;
    const void* value = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(all.get(), i), &kind);
    if (kind == GEN_EMAIL || kind == GEN_DNS || kind == GEN_URI) {
      names.push_back(text_of(static_cast<const ASN1_STRING*>(value)));
    }
  }
}

}  // namespace

std::vector<std::string> names_of(const X509* certificate) {
  std::vector<std::string> names;
  add_common_names(certificate, names);
  add_alternatives(certificate, names);
  return names;
}

}  // namespace slotkeeper::bundle
