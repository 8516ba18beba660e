// Whether a tree that was found after a power cut, on a real filesystem, is one that the model allows: whether each
// piece of it is the durable one or one that a pending change makes. See volatile_tree.hpp for what is promised.
//
// Not looked at: times of access, which any read changes; numbers of links, which are counted from the names; blocks
// without contents. What sectors in flight hold is taken strictly: a real filesystem shows no garbage ("trashed").
#pragma once

#include <limits>
#include <string>
#include <vector>

#include "tests/support/simulation/volatile_tree.hpp"

namespace slotkeeper::test {

struct ModelCheckOptions {
  NodeNumber top = kRootNode;  ///< what the found tree's root is in the model
  /// Times from here on were set by the two clocks, not by a program: they match when they lie near each other.
  io::TimeStamp clock_from = {.seconds = std::numeric_limits<std::int64_t>::max(), .nanoseconds = 0};
};
inline constexpr std::int64_t kClockSlackSeconds = 2;

/// In sentences; empty: the model allows it.
[[nodiscard]] std::vector<std::string> not_allowed(const VolatileTree& model, const FileTree& found,
                                                   const ModelCheckOptions& options = {});
/// The same of one file or device alone: its size and every sector.
[[nodiscard]] std::vector<std::string> contents_not_allowed(const VolatileTree& model, NodeNumber node,
                                                            const PagedBytes& found, const std::string& name);

}  // namespace slotkeeper::test
