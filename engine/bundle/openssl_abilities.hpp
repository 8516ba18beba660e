// What the OpenSSL of this machine cannot do of what signatures may need: some distributions strip the brainpool
// curves, a FIPS provider has none of them.
#pragma once

#include <string>
#include <vector>

#include "engine/bundle/openssl_pointers.hpp"

namespace slotkeeper::bundle {

/// Names of curves, digests and paddings that `library` (nothing: the one the engine uses) does not have, in the order
/// of DESIGN.md. Cheap: no key is made.
[[nodiscard]] std::vector<std::string> missing_algorithms(OSSL_LIB_CTX* library);

}  // namespace slotkeeper::bundle
