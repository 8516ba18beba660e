// The invariants of engine/DESIGN.md, asked of what is found on a device: by the simulation, by the rig on real
// filesystems, by the loopback tests. Plain data in, sentences out; an empty answer is a good one. Uses nothing of what
// it checks.
#pragma once

#include <string>
#include <vector>

#include "tests/support/tree_listing.hpp"

namespace slotkeeper::test {

/// Which invariant a sentence speaks of.
struct Violation {
  unsigned int invariant = 0;  ///< 1 to 9, as numbered in engine/transaction/states.hpp
  std::string what;
};
using Violations = std::vector<Violation>;
[[nodiscard]] std::string describe(const Violations& violations);

/// 1, 2: what a slot holds.
struct SlotFinding {
  char slot = 'A';
  bool was_started = false;   ///< the bootloader took it
  bool is_whole = false;      ///< it holds an image that was recorded for it, in full
  bool must_be_same = false;  ///< nothing may have written to it
  bool is_same = true;
};
[[nodiscard]] Violations check_slots(const std::vector<SlotFinding>& slots);

/// 3: every entry of `now` is as one of the sides has it, and those that all sides have are there.
[[nodiscard]] Violations check_complete(const std::vector<const TreeListing*>& sides, const TreeListing& now);

/// 3: each of these lines is there, once and in their order, in what all segments of a log hold together.
[[nodiscard]] Violations check_log(const std::vector<std::string>& lines, const std::string& log);

/// 4: the configuration is exactly this one.
[[nodiscard]] Violations check_exact(const TreeListing& wanted, const TreeListing& now);

}  // namespace slotkeeper::test
