#include "engine/bundle/openssl_abilities.hpp"

#include <gtest/gtest.h>
#include <openssl/provider.h>

#include "engine/bundle/signature.hpp"

namespace slotkeeper::bundle {
namespace {

using LibraryPointer = std::unique_ptr<OSSL_LIB_CTX, FreeBy<OSSL_LIB_CTX_free>>;

TEST(OpensslAbilities, AreAllThereOnDebian) {
  EXPECT_EQ(missing_algorithms(nullptr), std::vector<std::string>());
  EXPECT_EQ(algorithm_weakness(), std::nullopt);
}

/// An OpenSSL whose only provider has nothing.
TEST(OpensslAbilities, AreNamedOneByOneWhereNoneIsThere) {
  const LibraryPointer library(OSSL_LIB_CTX_new());
  OSSL_PROVIDER* none = OSSL_PROVIDER_load(library.get(), "null");
  ASSERT_NE(none, nullptr);
  EXPECT_EQ(missing_algorithms(library.get()),
            (std::vector<std::string>{"SHA256", "SHA384", "SHA512", "ECDSA", "RSA", "prime256v1", "secp384r1",
                                      "brainpoolP256r1", "brainpoolP384r1"}));
  EXPECT_EQ(OSSL_PROVIDER_unload(none), 1);
}

}  // namespace
}  // namespace slotkeeper::bundle
