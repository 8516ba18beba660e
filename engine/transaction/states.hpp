// The states of a transaction and the one table that moves it, forward and in recovery.
//
// Invariants (engine/DESIGN.md has them in full; the tests assert them after every injected fault):
//   1 Bootable            at every instant the bootloader comes up with a slot that matches what was recorded for it
//   2 Original untouched  no byte of the booted slot is ever written
//   3 Nothing lost        every configuration file is complete at every instant; no log entry disappears
//   4 Exact rollback      configuration as of the last instant at which the original firmware could write it
//   5 Commit last         the switch comes after everything was read back, the fallback slot included
//   6 One verdict         an error before the switch ends in a rollback with a named cause
//   7 No surprise         what a rollback needs on the permanent partition exists before the switch
//   8 Unverified bytes    go nowhere
//   9 Bounded             recovery ends from every state
//
//   (none) --begin--> begun --permanent_secured--> secured --withheld--> staging --image_complete--> staged
//                       |                            |                     |                           | checked
//                       | failed                     | failed              | failed          failed    v
//                       v                            v                     |        +------------- arming
//                  rolled_back <---------------------+                     |        |                | switched
//                       ^                                                  v        v                v
//                       +---------- withdrawn ------------------------- withdrawing <------------- armed
//                       |                                               |     ^  rollback_requested  | target booted
//                       |                          withdrawn_after_trial|     |                      v
//                       +---------- restored ------- restoring <--------+     +------------------- trial
//                                                                   unhealthy, rollback_requested,   | healthy
//                                                                   trial_exhausted, original booted v
//                               confirmed <------------------ finished --------------------- confirming
//
// Facts that hold in each state, once its record is durable:
//   begun        no slot and no boot variable was touched; the permanent partition may be partly compacted
//   secured      snapshot (first generation) sealed and read back; reserve complete
//   staging      the target is out of the boot order, its heads are zero or about to be; a part of the image is written
//   staged       the target's volumes hold the image, read back; the target is still out of the boot order
//   arming       everything was checked; the boot environment says the old or the new order, whole
//   armed        the boot environment names the target first, with all its tries, mark `:trial`
//   trial        the target was booted; the second snapshot generation is taken or known to be needless, or about to be
//   confirming   health checks passed; the boot environment says `:trial` or `:good`
//   withdrawing  the original is to be first again; the boot environment says so or not yet
//   restoring    the original is first; the permanent partition is partly restored
//   confirmed    over: the target is the confirmed slot
//   rolled_back  over: the original is the confirmed slot
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace slotkeeper {

enum class State : std::uint8_t {
  begun,
  secured,
  staging,
  staged,
  arming,
  armed,
  trial,
  confirming,
  withdrawing,
  restoring,
  confirmed,
  rolled_back,
};
inline constexpr std::size_t kStates = 12;
[[nodiscard]] std::string_view name_of(State state);  ///< as recorded: "rolled-back"
[[nodiscard]] std::optional<State> state_from_name(std::string_view name);
[[nodiscard]] constexpr bool is_over(State state) { return state == State::confirmed || state == State::rolled_back; }

/// What moves a transaction. The first group comes from the steps, the second from looking at the device (recovery).
enum class Event : std::uint8_t {
  permanent_secured,
  withheld,
  image_complete,
  checked,
  switched,
  healthy,
  finished,
  failed,
  rollback_requested,
  unhealthy,
  trial_exhausted,
  withdrawn,
  withdrawn_after_trial,
  restored,
  revert_requested,
  // boot events: which slot runs, and what the boot environment says of this transaction
  original_unmarked,  ///< the original runs; the environment does not speak of this transaction
  original_untried,   ///< the original runs; armed, no try used and no trial seen
  original_tried,     ///< the original runs; armed, but tries were used or a trial was seen
  original_good,      ///< the original runs although the environment says that the target was confirmed
  target_unmarked,    ///< the target runs; the environment does not speak of this transaction
  target_trial,       ///< the target runs on trial
  target_good,        ///< the target runs; the environment says that it was confirmed
};
[[nodiscard]] std::string_view name_of(Event event);
inline constexpr std::array kBootEvents = {
    Event::original_unmarked, Event::original_untried, Event::original_tried, Event::original_good,
    Event::target_unmarked,   Event::target_trial,     Event::target_good,
};

/// What is to be done once the record says `to`. Every action can be repeated from its beginning.
enum class Action : std::uint8_t {
  none,            ///< the step that raised the event goes on by itself
  stay_armed,      ///< wait for the reboot
  begin_trial,     ///< count the boot, take the second snapshot generation where needed
  withdraw,        ///< the original first again; the target bad unless it is what runs
  restore,         ///< bring configuration and state back from the snapshot
  send_back,       ///< the target runs in the middle of a restore: the original first, reboot
  finish_confirm,  ///< boot environment `:good`, baseline, last-confirmed
  abandon,         ///< the device proves a story that the record does not know: close, touch nothing that runs
  rest,            ///< no transaction open: confirmed slot first, damaged copies repaired, nothing of ours left behind
};
[[nodiscard]] std::string_view name_of(Action action);

struct Transition {
  State from;
  Event event;
  State to;
  Action action;
};

[[nodiscard]] std::span<const Transition> transitions();

/// The row for this state and event, or nothing when there is none (a broken invariant on the forward path).
[[nodiscard]] const Transition* find_transition(State from, Event event);
[[nodiscard]] const Transition* find_transition(std::span<const Transition> table, State from, Event event);

}  // namespace slotkeeper
