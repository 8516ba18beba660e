// Walks over DER without knowing what it says. Included only by the signature's own .cpp files.
#pragma once

#include <optional>
#include <string_view>

#include <openssl/asn1.h>

namespace slotkeeper::bundle {

/// What is left of the elements of one constructed value.
struct Elements {
  const unsigned char* at;
  const unsigned char* end;

  [[nodiscard]] static Elements of(std::string_view der) {
    const auto* bytes = reinterpret_cast<const unsigned char*>(der.data());
    return {bytes, bytes + der.size()};
  }
  [[nodiscard]] bool empty() const { return at == end; }
  /// The first byte of the next element; 0 when there is none.
  [[nodiscard]] unsigned char tag() const { return empty() ? 0 : *at; }
  /// Steps over the next element and returns its contents.
  std::optional<Elements> next() {
    const unsigned char* inside = at;
    long length = 0;
    int tag_number = 0;
    int tag_class = 0;
    if ((ASN1_get_object(&inside, &length, &tag_number, &tag_class, end - at) & 0x81) != 0 || length > end - inside) {
      return {};
    }
    at = inside + length;
    return Elements{inside, at};
  }
  /// Steps over the next element and returns all of it, tag and length included; empty when there is none.
  std::string_view next_whole() {
    const unsigned char* begin = at;
    if (!next()) return {};
    return {reinterpret_cast<const char*>(begin), static_cast<std::size_t>(at - begin)};
  }
  /// Steps over the next element, a number of one byte; -1 when it is none.
  int next_number() {
    const auto number = next();
    return number && number->end - number->at == 1 ? *number->at : -1;
  }
};

/// Steps from a ContentInfo into its SignedData (RFC 5652, 3).
[[nodiscard]] inline std::optional<Elements> signed_data_in(std::string_view der) {
  auto content_info = Elements::of(der).next();
  if (!content_info || !content_info->next()) return {};  // the content's type
  auto wrapped = content_info->next();
  return wrapped ? wrapped->next() : std::nullopt;
}

}  // namespace slotkeeper::bundle
