// Cuts the power of a simulated device at every call of a command, in every state that the cut may leave, recovers with
// the real engine and asserts the invariants; and again at every call of the recovery, up to a depth.
//
// A case is a forward run to a cut, one distinct state on disk (by hash), the recovery by the real code until the
// device is at rest, and a full check after each step. A state that was met before is counted apart and not run again.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <ostream>
#include <set>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "engine/transaction/record.hpp"
#include "engine/transaction/states.hpp"
#include "tests/crash/world.hpp"
#include "tests/support/device_checker.hpp"
#include "tests/support/simulation/crash_choices.hpp"

namespace slotkeeper::test {

/// What the firmware on trial does.
enum class Ending : std::uint8_t {
  confirms,     ///< is healthy
  unhealthy,    ///< its health checks fail
  dies,         ///< starts, runs `recover` and is never heard of again
  dies_at_once  ///< does not get as far as `recover`
};

/// A situation, the command that is cut in it, and how it goes on.
struct Scene {
  std::string name = {};
  SlotId slot = SlotId::a;                          ///< that runs the command
  std::function<TreeListing(World&)> prepare = {};  ///< returns the configuration that a rollback has to bring back
  std::function<CommandResult(World&)> command = {};
  Ending ending = Ending::confirms;
  BootloaderKind bootloader = BootloaderKind::ours;
  SlotId original = SlotId::a;
  bool writers = false;          ///< live services write meanwhile
  bool clock_jumps = false;      ///< with every boot
  bool newer_differs = false;    ///< the firmware in slot B is configured otherwise
  bool is_repeated = false;      ///< what a cut leaves half done is done by giving the command again
  bool changes_nothing = false;  ///< the command must not write a byte, whatever happens to it
  bool original_runs = true;  ///< the original firmware runs the command: what it leaves is what a rollback brings back
  bool migrates = false;      ///< the trial rewrites the configuration in place, which may be half done
  /// What is wrong with the configuration of a firmware that was confirmed; none: not looked at.
  std::function<std::string(const World&)> confirmed_problem = {};
  int original_version = 1;
  int target_version = 2;
  int replaced_version = 0;  ///< what the target held before; 0: nothing that starts
};

/// So that a test that is run by name says which.
inline void PrintTo(const Scene& scene, std::ostream* out) { *out << scene.name; }

struct ExplorerOptions {
  std::uint64_t seed = 1;
  int depth = 3;  ///< cuts on one path
  /// Of one scene, spread over the calls of its command: what is left out are cuts of recoveries, never first cuts.
  std::uint64_t cases_max = 1'000'000;
  /// One in so many cases is cut again during its recovery, at one in so many calls.
  std::uint64_t again_one_in = 2;
  std::uint64_t again_call_one_in = 3;
  CrashChoiceOptions first{
      .exhaustive_changes_max = 6, .singles_max = 8, .random_subsets = 16, .torn = 24, .trashed = 6};
  CrashChoiceOptions again{.exhaustive_changes_max = 3, .singles_max = 2, .random_subsets = 2, .torn = 5, .trashed = 2};
  bool damages_environment = true;  ///< at rest, to see what the bootloader takes then
  std::string replay;               ///< the path of one case, as a violation prints it
};

struct ExplorerCounts {
  std::uint64_t cuts = 0;
  std::uint64_t cases = 0;
  std::uint64_t duplicates = 0;
  std::uint64_t violations = 0;
  std::map<int, std::uint64_t> cases_by_depth;
  std::uint64_t engine_runs = 0;
  std::set<std::pair<State, Event>> rows;      ///< of the transition table that recovery took
  std::set<std::pair<State, State>> recorded;  ///< changes of state that were written down
};

/// The transaction that the state store of this device speaks of.
[[nodiscard]] std::optional<TransactionRecord> recorded_transaction(World& world);
[[nodiscard]] std::optional<DeviceFacts> recorded_facts(World& world);

class Explorer {
 public:
  Explorer(const Scene& scene, const ExplorerOptions& options) : scene_(scene), options_(options) {}

  /// Runs it all; stops at the first violation. Returns the counts; `story` tells what went wrong.
  ExplorerCounts run();
  [[nodiscard]] const std::string& story() const { return story_; }

  /// What must hold from here on.
  struct Expectation {
    TreeListing original;                ///< that a rollback brings back
    std::vector<TreeListing> or_one_of;  ///< what else may lie there in the end
    std::vector<TreeListing> sides;      ///< each file is as one of these has it
    std::vector<std::string> log;        ///< entries that are there
    std::uint64_t original_slot = 0;     ///< hash of its contents
  };
  /// Where the exploration stands: what `replay` names.
  struct Position {
    std::string path;
    int depth = 1;  ///< 0: no cuts any more
  };

  /// Leaves the world at the instant before the command.
  Expectation prepare(World& world) const;
  /// Boots and recovers until nothing is left to do, with a check after each step. False when something is wrong.
  bool settle(World& world, Expectation expected, const Position& at);
  [[nodiscard]] const ExplorerCounts& counts() const { return counts_; }
  /// Remembers which row of the transition table a recovery takes now.
  void note_row(World& world, SlotId booted);
  /// Remembers a change of state that was just written to the state store.
  void note_recorded_state(const VolatileTree& tree, std::optional<State>& before);
  /// Reports violations; true when there are none.
  bool check(Violations violations, const Position& at);

 private:
  void watch(World& world, const Expectation& expected, const Position& at, std::uint64_t call_one_in);
  void consider(World& world, const Expectation& expected, const Position& at);
  static void tell(const World& world, const CrashChoice& choice, const Position& at);
  void try_state(const World& world, const CrashChoice& choice, const Expectation& before, const Position& at);
  Violations check_armed(const World& world) const;
  Violations check_rest(const World& world, SlotId resting) const;
  Violations check_log_of(const World& world, const Expectation& expected);
  bool recover_and_check(World& world, const BootedSlot& booted, const Expectation& expected, const Position& at);
  [[nodiscard]] bool is_wanted(const std::string& path) const;

  const Scene& scene_;
  ExplorerOptions options_;
  ExplorerCounts counts_;
  std::uint64_t allowed_ = 0;  ///< cases up to this call of the command
  std::uint64_t calls_ = 1;    ///< of the command
  std::unordered_set<std::uint64_t> met_;
  std::unordered_set<std::uint64_t> sound_logs_;    ///< logs that hold everything, with what they have to hold
  std::unordered_set<std::uint64_t> fixed_points_;  ///< states that a recovery was shown not to change
  std::unordered_set<std::uint64_t> at_rest_;       ///< states from which everything was shown to end well
  std::string story_;
};

}  // namespace slotkeeper::test
