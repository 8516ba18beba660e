#include "engine/bundle/openssl_abilities.hpp"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>

#include "engine/bundle/signature.hpp"

namespace slotkeeper::bundle {
namespace {

using ContextPointer = std::unique_ptr<EVP_PKEY_CTX, FreeBy<EVP_PKEY_CTX_free>>;
using DigestPointer = std::unique_ptr<EVP_MD, FreeBy<EVP_MD_free>>;
using AlgorithmPointer = std::unique_ptr<EVP_SIGNATURE, FreeBy<EVP_SIGNATURE_free>>;

bool has_digest(OSSL_LIB_CTX* library, const char* name) {
  return DigestPointer(EVP_MD_fetch(library, name, nullptr)) != nullptr;
}

bool has_signature(OSSL_LIB_CTX* library, const char* name) {
  return AlgorithmPointer(EVP_SIGNATURE_fetch(library, name, nullptr)) != nullptr;
}

bool has_curve(OSSL_LIB_CTX* library, const std::string& name) {
  const ContextPointer context(EVP_PKEY_CTX_new_from_name(library, "EC", nullptr));
  EVP_PKEY* parameters = nullptr;
  const bool has = context && EVP_PKEY_paramgen_init(context.get()) == 1 &&
                   EVP_PKEY_CTX_set_group_name(context.get(), name.c_str()) == 1 &&
                   EVP_PKEY_paramgen(context.get(), &parameters) == 1;
  const KeyPointer owner(parameters);
  return has;
}

}  // namespace

std::vector<std::string> missing_algorithms(OSSL_LIB_CTX* library) {
  std::vector<std::string> missing;
  for (const char* digest : {"SHA256", "SHA384", "SHA512"}) {
    if (!has_digest(library, digest)) missing.emplace_back(digest);
  }
  // PSS is a way to pad of the one, not a name of its own.
  for (const char* signature : {"ECDSA", "RSA"}) {
    if (!has_signature(library, signature)) missing.emplace_back(signature);
  }
  for (const auto curve : kCurves) {
    if (!has_curve(library, std::string(curve))) missing.emplace_back(curve);
  }
  ERR_clear_error();
  return missing;
}

std::optional<std::string> algorithm_weakness() {
  std::string names;
  for (const auto& name : missing_algorithms(nullptr)) names += (names.empty() ? "" : ", ") + name;
  if (names.empty()) return std::nullopt;
  return "the OpenSSL of this machine lacks " + names + ": it can neither make nor accept signatures with it";
}

}  // namespace slotkeeper::bundle
