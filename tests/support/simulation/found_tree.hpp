// A real directory as a FileTree, and back into a simulated machine: what the model is set up from, and what it is
// compared with. Looks with the C library alone, as tree_listing.hpp does.
#pragma once

#include <string>

#include "tests/support/simulation/simulated_storage.hpp"

namespace slotkeeper::test {

/// Everything below `root` that lies on its filesystem; the tree's root is `root`. Throws std::runtime_error.
[[nodiscard]] FileTree read_tree(const std::string& root);

/// Puts a filesystem with this in it into the machine, durable at once, with folders above it where there are none.
/// Room without end: whether there is any is for the real filesystem to say.
NodeNumber add_found_tree(SimulatedMachine& machine, const std::string& mount_point, const FileTree& found);

}  // namespace slotkeeper::test
