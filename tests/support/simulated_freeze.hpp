// A freeze that holds nobody up: what is frozen is written down, and a storage of the tests refuses what would wait for
// ever in the real world.
#pragma once

#include <memory>
#include <set>
#include <string>

#include "partitions/io/freeze.hpp"

namespace slotkeeper::test {

/// Directories whose filesystem is frozen. A set that outlives its freezes.
using FrozenPaths = std::set<std::string>;

/// Errors: io_error with EBUSY when it is frozen already.
[[nodiscard]] Result<std::unique_ptr<io::Freeze>> simulate_freeze(FrozenPaths& frozen, const std::string& path);

}  // namespace slotkeeper::test
