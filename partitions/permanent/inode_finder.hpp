// Where a file is now that somebody may have renamed: a walk over the whole partition by inode. For what an interrupted
// run has to find again; anything else goes by path.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>

#include "partitions/io/directory.hpp"

namespace slotkeeper::permanent {

/// One path for each of these inodes that is a regular file of the root's filesystem, kOwnDirectory left out. What
/// disappears meanwhile is passed over. Errors: io_error.
[[nodiscard]] Result<std::map<std::uint64_t, std::string>> find_inodes(io::Directory& root,
                                                                       const std::set<std::uint64_t>& inodes);

}  // namespace slotkeeper::permanent
