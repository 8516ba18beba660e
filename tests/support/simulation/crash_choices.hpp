// Which states a power cut may leave of what was not synced: all of them up to a bound, beyond it those that go wrong
// in practice, and random ones.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/support/simulation/volatile_tree.hpp"

namespace slotkeeper::test {

struct CrashChoice {
  std::string name;  ///< "kept", "subset-3", "torn-2", "trashed-1"; for messages
  std::vector<Fate> fates;
  std::uint64_t garbage_seed = 1;
};

struct CrashChoiceOptions {
  std::size_t exhaustive_changes_max = 4;  ///< up to so many pending changes: every subset
  std::size_t singles_max = 4;             ///< above: so many of "this alone survives" and "this alone is lost"
  std::size_t random_subsets = 4;          ///< and so many more
  std::size_t torn = 3;                    ///< random tears; each change survives, is lost or is torn
  std::size_t trashed = 1;                 ///< the same, where sectors in flight hold anything
};

/// In an order that depends on nothing but the arguments. "kept" and "lost" come first.
[[nodiscard]] std::vector<CrashChoice> crash_choices(const std::vector<Change>& pending,
                                                     const CrashChoiceOptions& options, std::uint64_t seed);

}  // namespace slotkeeper::test
