// Several signatures in one CMS. OpenSSL can only add a signer while it signs for all of them, so what stands in sets
// of a SignedData (RFC 5652, 5.1) is put together here: nobody's signature covers the sets themselves.
#include <algorithm>
#include <set>

#include "engine/bundle/cms_form.hpp"
#include "engine/bundle/der_elements.hpp"

namespace slotkeeper::bundle {
namespace {

constexpr unsigned char kSet = V_ASN1_CONSTRUCTED | V_ASN1_SET;
constexpr unsigned char kSequence = V_ASN1_CONSTRUCTED | V_ASN1_SEQUENCE;
constexpr unsigned char kCertificates = V_ASN1_CONTEXT_SPECIFIC | V_ASN1_CONSTRUCTED | 0;
constexpr unsigned char kLists = V_ASN1_CONTEXT_SPECIFIC | V_ASN1_CONSTRUCTED | 1;

/// DER orders a set by the bytes of its elements; equal ones are one.
using Members = std::set<std::string>;

struct Parts {
  int version = 0;
  Members digests;
  std::string content;
  Members certificates;
  Members lists;
  Members signers;
};

void add_members(Elements set, Members& members) {
  while (!set.empty()) {
    const std::string_view member = set.next_whole();
    if (member.empty()) return;
    members.emplace(member);
  }
}

/// Adds what stands in `der`, which parse_cms has taken. False where it is built otherwise.
bool add_parts(std::string_view der, Parts& parts) {
  auto data = signed_data_in(der);
  if (!data) return false;
  parts.version = std::max(parts.version, data->next_number());
  if (data->tag() != kSet) return false;
  add_members(*data->next(), parts.digests);
  parts.content = data->next_whole();
  for (const auto& [tag, members] : {std::pair(kCertificates, &parts.certificates), std::pair(kLists, &parts.lists),
                                     std::pair(kSet, &parts.signers)}) {
    if (data->tag() == tag) add_members(*data->next(), *members);
  }
  return data->empty();
}

std::string element(unsigned char tag, const std::string& contents) {
  std::array<unsigned char, 16> head{};
  unsigned char* end = head.data();
  ASN1_put_object(&end, 1, static_cast<int>(contents.size()), tag & 0x1f, tag & 0xc0);
  return std::string(reinterpret_cast<const char*>(head.data()), static_cast<std::size_t>(end - head.data())) +
         contents;
}

std::string set_of(unsigned char tag, const Members& members) {
  std::string contents;
  for (const auto& member : members) contents += member;
  return element(tag, contents);
}

}  // namespace

Result<std::string> merge_cms(std::string_view one, std::string_view other) {
  Parts parts;
  if (!add_parts(one, parts) || !add_parts(other, parts)) {
    return broken_signature("the signature member is not built as RFC 5652 says");
  }
  std::string data{V_ASN1_INTEGER, 1, static_cast<char>(parts.version)};
  data += set_of(kSet, parts.digests) + parts.content;
  if (!parts.certificates.empty()) data += set_of(kCertificates, parts.certificates);
  if (!parts.lists.empty()) data += set_of(kLists, parts.lists);
  data += set_of(kSet, parts.signers);
  auto type = Elements::of(one).next();
  std::string der =
      element(kSequence, std::string(type->next_whole()) + element(kCertificates, element(kSequence, data)));
  // What no device would read is not written: too many signers, too long.
  auto read = parse_cms(der);
  if (!read.has_value()) return std::move(read).assume_error().with_code(Errc::config);
  return der;
}

}  // namespace slotkeeper::bundle
