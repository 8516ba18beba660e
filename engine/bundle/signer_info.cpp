#include "engine/bundle/signer_info.hpp"

#include <algorithm>
#include <array>
#include <span>

#include <openssl/err.h>

#include "engine/bundle/cms_form.hpp"
#include "engine/bundle/signature.hpp"
#include "engine/bundle/signature_algorithms.hpp"

namespace slotkeeper::bundle {
namespace {

/// OpenSSL compares names without regard to case and blanks.
bool is_named_exactly(CMS_SignerInfo* signer, const X509* certificate) {
  X509_NAME* issuer = nullptr;
  CMS_SignerInfo_get0_signer_id(signer, nullptr, &issuer, nullptr);
  if (issuer == nullptr) return true;  // named by its key
  const unsigned char* named = nullptr;
  const unsigned char* found = nullptr;
  std::size_t named_bytes = 0;
  std::size_t found_bytes = 0;
  return X509_NAME_get0_der(issuer, &named, &named_bytes) == 1 &&
         X509_NAME_get0_der(X509_get_issuer_name(certificate), &found, &found_bytes) == 1 &&
         std::ranges::equal(std::span(named, named_bytes), std::span(found, found_bytes));
}

}  // namespace

Result<BioPointer> digest_content(CMS_ContentInfo* cms, std::string_view text) {
  BioPointer content = memory_bio(text);
  BioPointer chain(CMS_dataInit(cms, content.get()));
  if (!chain) return broken_signature("the signature member is not a detached signature");
  static_cast<void>(content.release());  // a part of the chain now, and freed with it
  std::array<char, 4096> buffer{};
  while (true) {
    const int got = BIO_read(chain.get(), buffer.data(), static_cast<int>(buffer.size()));
    if (got <= 0) break;
  }
  return chain;
}

X509* find_certificate(CMS_SignerInfo* signer, std::initializer_list<const STACK_OF(X509) *> stacks) {
  for (const STACK_OF(X509) * stack : stacks) {
    for (int i = 0; i < sk_X509_num(stack); ++i) {
      X509* certificate = sk_X509_value(stack, i);
      if (CMS_SignerInfo_cert_cmp(signer, certificate) == 0 && is_named_exactly(signer, certificate)) {
        return certificate;
      }
    }
  }
  return nullptr;
}

std::string algorithm_problem_of(CMS_SignerInfo* signer, EVP_PKEY* key) {
  X509_ALGOR* digest = nullptr;
  X509_ALGOR* signature = nullptr;
  CMS_SignerInfo_get0_algs(signer, nullptr, nullptr, &digest, &signature);
  return algorithm_problem(digest, signature, key);
}

Result<void> check_match(CMS_SignerInfo* signer, X509* certificate, BIO* content) {
  CMS_SignerInfo_set1_signer_cert(signer, certificate);
  // Without signed attributes a signature could be taken for one over something else.
  if (CMS_signed_get_attr_count(signer) <= 0) return broken_signature("the signature has no signed attributes");
  if (CMS_SignerInfo_verify(signer) != 1 || CMS_SignerInfo_verify_content(signer, content) != 1) {
    return broken_signature("the signature of '" + subject_of(certificate) + "' does not match the manifest");
  }
  return success();
}

Result<std::vector<std::string>> check_signatures_match(std::string_view manifest, std::string_view cms_der) {
  SK_TRY_ASSIGN(const auto cms, parse_cms(cms_der));
  SK_TRY_ASSIGN(const auto digested, digest_content(cms.get(), manifest));
  const CertificatesPointer bundled(CMS_get1_certs(cms.get()));
  std::vector<std::string> subjects;
  STACK_OF(CMS_SignerInfo)* signers = CMS_get0_SignerInfos(cms.get());
  for (int i = 0; i < sk_CMS_SignerInfo_num(signers); ++i) {
    CMS_SignerInfo* signer = sk_CMS_SignerInfo_value(signers, i);
    X509* certificate = find_certificate(signer, {bundled.get()});
    if (certificate == nullptr) return broken_signature("a signature does not hold its signer's certificate");
    SK_TRY(check_match(signer, certificate, digested.get()));
    subjects.push_back(subject_of(certificate));
  }
  ERR_clear_error();
  return subjects;
}

}  // namespace slotkeeper::bundle
