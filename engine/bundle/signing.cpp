// Makes signatures over a manifest: the first one, and one more beside others.
#include <openssl/rsa.h>

#include "engine/bundle/cms_form.hpp"
#include "engine/bundle/signature.hpp"
#include "engine/bundle/signature_algorithms.hpp"
#include "engine/bundle/signer_info.hpp"
#include "engine/bundle/signing_key.hpp"

namespace slotkeeper::bundle {
namespace {

constexpr unsigned kSignFlags = CMS_BINARY | CMS_DETACHED | CMS_NOSMIMECAP;

Error config_error(const std::string& message) {
  const std::string why = take_openssl_errors();
  return make_error(Errc::config, why.empty() ? message : message + " (" + why + ")");
}

/// Errors: config, not_supported_yet.
Result<SigningKey> find_key(const SigningIdentity& identity) {
  if (!identity.key_uri.empty()) return open_token_key(identity.key_uri);
  SK_TRY_ASSIGN(auto key, read_pem_key(identity.key_pem, "the signing key"));
  return SigningKey{.keeper = nullptr, .key = std::move(key)};
}

/// What devices would refuse is not signed in the first place; the clock and the anchors are theirs alone.
Result<void> check_signer(X509* certificate, EVP_PKEY* key) {
  const std::string name = "certificate '" + subject_of(certificate) + "'";
  if (X509_check_private_key(certificate, key) != 1) {
    return config_error("the signing key does not belong to the " + name);
  }
  for (const auto& problem : {key_problem(key), purpose_problem(certificate, Purpose::code_signing),
                              certificate_signature_problem(certificate)}) {
    if (!problem.empty()) return config_error(std::string("devices would refuse the ").append(name) + ": " + problem);
  }
  return success();
}

Result<void> add_intermediates(STACK_OF(X509) * all, STACK_OF(X509) * more, int first) {
  for (int i = first; i < sk_X509_num(more); ++i) {
    X509* certificate = sk_X509_value(more, i);
    for (const auto& problem :
         {key_problem(X509_get0_pubkey(certificate)), authority_problem(certificate, Purpose::code_signing)}) {
      if (!problem.empty()) {
        return config_error("devices would refuse the intermediate certificate '" + subject_of(certificate) +
                            "': " + problem);
      }
    }
    if (X509_add_cert(all, certificate, X509_ADD_FLAG_UP_REF | X509_ADD_FLAG_NO_DUP) != 1) {
      return config_error("out of memory");
    }
  }
  return success();
}

Result<void> choose_padding(CMS_SignerInfo* signer) {
  EVP_PKEY_CTX* parameters = CMS_SignerInfo_get0_pkey_ctx(signer);
  if (EVP_PKEY_CTX_set_rsa_padding(parameters, RSA_PKCS1_PSS_PADDING) != 1 ||
      EVP_PKEY_CTX_set_rsa_pss_saltlen(parameters, RSA_PSS_SALTLEN_DIGEST) != 1) {
    return config_error("the RSA key cannot sign with PSS");
  }
  return success();
}

/// Whether the key of the certificate is that of a signature in `cms`.
bool has_signed(CMS_ContentInfo* cms, const X509* certificate) {
  const CertificatesPointer bundled(CMS_get1_certs(cms));
  STACK_OF(CMS_SignerInfo)* signers = CMS_get0_SignerInfos(cms);
  for (int i = 0; i < sk_CMS_SignerInfo_num(signers); ++i) {
    const X509* other = find_certificate(sk_CMS_SignerInfo_value(signers, i), {bundled.get()});
    if (other != nullptr && EVP_PKEY_eq(X509_get0_pubkey(other), X509_get0_pubkey(certificate)) == 1) return true;
  }
  return false;
}

}  // namespace

Result<std::string> sign_manifest(std::string_view manifest, const SigningIdentity& identity) {
  SK_TRY_ASSIGN(const auto certificates, read_certificates(identity.certificate_pem, "the signer's certificate file"));
  X509* certificate = sk_X509_value(certificates.get(), 0);
  SK_TRY_ASSIGN(const auto signing_key, find_key(identity));
  EVP_PKEY* key = signing_key.key.get();
  SK_TRY(check_signer(certificate, key));
  const CertificatesPointer extra(sk_X509_new_null());
  SK_TRY(add_intermediates(extra.get(), certificates.get(), 1));
  for (const auto& pem : identity.intermediates_pem) {
    SK_TRY_ASSIGN(const auto more, read_certificates(pem, "an intermediate certificate file"));
    SK_TRY(add_intermediates(extra.get(), more.get(), 0));
  }
  const auto content = memory_bio(manifest);
  const CmsPointer cms(CMS_sign(nullptr, nullptr, extra.get(), content.get(), kSignFlags | CMS_PARTIAL));
  if (!cms) return config_error("the signature cannot be made");
  CMS_SignerInfo* signer = CMS_add1_signer(cms.get(), certificate, key, digest_for(key), kSignFlags | CMS_KEY_PARAM);
  if (signer == nullptr) return config_error("the signature cannot be made");
  if (is_rsa(key)) SK_TRY(choose_padding(signer));
  // It adds the signing time, too.
  if (CMS_final(cms.get(), content.get(), nullptr, kSignFlags) != 1) return config_error("signing failed");
  return print_cms(cms.get());
}

Result<std::string> add_signature(std::string_view manifest, std::string_view cms_der,
                                  const SigningIdentity& identity) {
  SK_TRY(check_signatures_match(manifest, cms_der));
  SK_TRY_ASSIGN(const auto cms, parse_cms(cms_der));
  SK_TRY_ASSIGN(const auto certificates, read_certificates(identity.certificate_pem, "the signer's certificate file"));
  const X509* certificate = sk_X509_value(certificates.get(), 0);
  // A device counts it once, so a second signature would only look like more.
  if (has_signed(cms.get(), certificate)) {
    return make_error(Errc::config, "the key of '" + subject_of(certificate) + "' has signed this bundle already");
  }
  SK_TRY_ASSIGN(const auto one_more, sign_manifest(manifest, identity));
  return merge_cms(cms_der, one_more);
}

}  // namespace slotkeeper::bundle
