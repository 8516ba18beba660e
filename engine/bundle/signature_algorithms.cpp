#include "engine/bundle/signature_algorithms.hpp"

#include <openssl/rsa.h>

namespace slotkeeper::bundle {
namespace {

using AlgorithmPointer = std::unique_ptr<X509_ALGOR, FreeBy<X509_ALGOR_free>>;
using PssPointer = std::unique_ptr<RSA_PSS_PARAMS, FreeBy<RSA_PSS_PARAMS_free>>;

int name_of(const X509_ALGOR* algorithm) {
  const ASN1_OBJECT* object = nullptr;
  X509_ALGOR_get0(&object, nullptr, nullptr, algorithm);
  return OBJ_obj2nid(object);
}

/// Like name_of for an algorithm without parameters: they are absent or NULL, else it is NID_undef.
int plain_name_of(const X509_ALGOR* algorithm) {
  int kind = 0;
  X509_ALGOR_get0(nullptr, &kind, nullptr, algorithm);
  return kind == V_ASN1_UNDEF || kind == V_ASN1_NULL ? name_of(algorithm) : NID_undef;
}

/// Nothing where the parameters are not those of RSA-PSS.
PssPointer pss_of(const X509_ALGOR* algorithm) {
  int kind = 0;
  const void* value = nullptr;
  X509_ALGOR_get0(nullptr, &kind, &value, algorithm);
  if (kind != V_ASN1_SEQUENCE) return nullptr;
  return PssPointer(static_cast<RSA_PSS_PARAMS*>(
      ASN1_item_unpack(static_cast<const ASN1_STRING*>(value), ASN1_ITEM_rptr(RSA_PSS_PARAMS))));
}

/// Whether RSA-PSS parameters say: this digest, also in the mask, and a salt not shorter than it. What is absent stands
/// for SHA-1 (RFC 4055) and does not fit.
bool pss_fits(const X509_ALGOR* algorithm, int digest) {
  const PssPointer pss = pss_of(algorithm);
  if (!pss || pss->hashAlgorithm == nullptr || pss->maskGenAlgorithm == nullptr || pss->saltLength == nullptr) {
    return false;
  }
  int kind = 0;
  const void* value = nullptr;
  const ASN1_OBJECT* mask = nullptr;
  X509_ALGOR_get0(&mask, &kind, &value, pss->maskGenAlgorithm);
  if (OBJ_obj2nid(mask) != NID_mgf1 || kind != V_ASN1_SEQUENCE) return false;
  const AlgorithmPointer mask_digest(
      static_cast<X509_ALGOR*>(ASN1_item_unpack(static_cast<const ASN1_STRING*>(value), ASN1_ITEM_rptr(X509_ALGOR))));
  const int digest_bytes = EVP_MD_get_size(EVP_get_digestbynid(digest));
  return mask_digest && plain_name_of(mask_digest.get()) == digest && plain_name_of(pss->hashAlgorithm) == digest &&
         ASN1_INTEGER_get(pss->saltLength) >= digest_bytes;
}

}  // namespace

bool is_rsa(EVP_PKEY* key) {
  const int kind = EVP_PKEY_get_base_id(key);
  return kind == EVP_PKEY_RSA || kind == EVP_PKEY_RSA_PSS;
}

const EVP_MD* digest_for(EVP_PKEY* key) {
  return !is_rsa(key) && EVP_PKEY_get_bits(key) > 256 ? EVP_sha384() : EVP_sha256();
}

bool is_allowed_digest(int nid) { return nid == NID_sha256 || nid == NID_sha384 || nid == NID_sha512; }

std::string algorithm_problem(const X509_ALGOR* digest_algorithm, const X509_ALGOR* signature_algorithm,
                              EVP_PKEY* key) {
  const int digest = plain_name_of(digest_algorithm);
  if (!is_allowed_digest(digest)) return "the digest is none of SHA-256, SHA-384 and SHA-512";
  const int signature = name_of(signature_algorithm);
  if (is_rsa(key)) {
    if (signature != NID_rsassaPss) return "RSA with PKCS#1 v1.5 padding is not allowed, only RSA-PSS";
    return pss_fits(signature_algorithm, digest) ? "" : "the RSA-PSS parameters are weaker than the digest";
  }
  if (plain_name_of(signature_algorithm) == NID_undef) return "the signature algorithm has parameters";
  const bool is_ecdsa = (digest == NID_sha256 && signature == NID_ecdsa_with_SHA256) ||
                        (digest == NID_sha384 && signature == NID_ecdsa_with_SHA384) ||
                        (digest == NID_sha512 && signature == NID_ecdsa_with_SHA512);
  return is_ecdsa ? "" : "the signature algorithm does not fit the digest or is not allowed";
}

int digest_of_signature(const X509_ALGOR* signature) {
  if (name_of(signature) == NID_rsassaPss) {
    const PssPointer pss = pss_of(signature);
    return pss && pss->hashAlgorithm != nullptr ? plain_name_of(pss->hashAlgorithm) : NID_undef;
  }
  int digest = NID_undef;
  return OBJ_find_sigid_algs(name_of(signature), &digest, nullptr) == 1 ? digest : NID_undef;
}

}  // namespace slotkeeper::bundle
