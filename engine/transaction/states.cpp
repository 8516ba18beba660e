#include "engine/transaction/states.hpp"

#include <algorithm>

namespace slotkeeper {
namespace {

using enum State;
using enum Event;

constexpr std::array<std::string_view, kStates> kStateNames = {
    "begun", "secured",    "staging",     "staged",    "arming",    "armed",
    "trial", "confirming", "withdrawing", "restoring", "confirmed", "rolled-back",
};

// clang-format off
constexpr std::array kTable = {
    // ---- forward -----------------------------------------------------------------------------------------------
    Transition{begun,       permanent_secured,          secured,            Action::none},
    Transition{secured,     withheld,                   staging,            Action::none},
    Transition{staging,     image_complete,             staged,             Action::none},
    Transition{staged,      checked,                    arming,             Action::none},
    Transition{arming,      switched,                   armed,              Action::stay_armed},
    Transition{trial,       healthy,                    confirming,         Action::finish_confirm},
    Transition{confirming,  finished,                   confirmed,          Action::rest},
    Transition{begun,       failed,                     rolled_back,        Action::rest},
    Transition{secured,     failed,                     rolled_back,        Action::rest},
    Transition{staging,     failed,                     withdrawing,        Action::withdraw},
    Transition{staged,      failed,                     withdrawing,        Action::withdraw},
    Transition{arming,      failed,                     withdrawing,        Action::withdraw},
    Transition{armed,       rollback_requested,         withdrawing,        Action::withdraw},
    Transition{trial,       rollback_requested,         withdrawing,        Action::withdraw},
    Transition{trial,       unhealthy,                  withdrawing,        Action::withdraw},
    Transition{trial,       trial_exhausted,            withdrawing,        Action::withdraw},
    Transition{confirmed,   revert_requested,           withdrawing,        Action::withdraw},
    Transition{withdrawing, withdrawn,                  rolled_back,        Action::rest},
    Transition{withdrawing, withdrawn_after_trial,      restoring,          Action::restore},
    Transition{restoring,   restored,                   rolled_back,        Action::rest},

    // ---- recovery: one row for every state and every boot event -----------------------------------------------
    // Cut off before the switch. Up to `secured` no slot and no boot variable was touched. A mark of ours in the
    // environment proves more than the record knows (`record-lost`): then nothing is restored and the slot that runs is
    // not marked bad.
    Transition{begun,       original_unmarked,          rolled_back,        Action::rest},
    Transition{begun,       original_untried,           withdrawing,        Action::withdraw},
    Transition{begun,       original_tried,             withdrawing,        Action::withdraw},
    Transition{begun,       original_good,              confirming,         Action::finish_confirm},
    Transition{begun,       target_unmarked,            rolled_back,        Action::abandon},
    Transition{begun,       target_trial,               withdrawing,        Action::withdraw},
    Transition{begun,       target_good,                confirming,         Action::finish_confirm},

    Transition{secured,     original_unmarked,          rolled_back,        Action::rest},
    Transition{secured,     original_untried,           withdrawing,        Action::withdraw},
    Transition{secured,     original_tried,             withdrawing,        Action::withdraw},
    Transition{secured,     original_good,              confirming,         Action::finish_confirm},
    Transition{secured,     target_unmarked,            rolled_back,        Action::abandon},
    Transition{secured,     target_trial,               withdrawing,        Action::withdraw},
    Transition{secured,     target_good,                confirming,         Action::finish_confirm},

    Transition{staging,     original_unmarked,          withdrawing,        Action::withdraw},
    Transition{staging,     original_untried,           withdrawing,        Action::withdraw},
    Transition{staging,     original_tried,             withdrawing,        Action::withdraw},
    Transition{staging,     original_good,              confirming,         Action::finish_confirm},
    Transition{staging,     target_unmarked,            rolled_back,        Action::abandon},
    Transition{staging,     target_trial,               withdrawing,        Action::withdraw},
    Transition{staging,     target_good,                confirming,         Action::finish_confirm},

    Transition{staged,      original_unmarked,          withdrawing,        Action::withdraw},
    Transition{staged,      original_untried,           withdrawing,        Action::withdraw},
    Transition{staged,      original_tried,             withdrawing,        Action::withdraw},
    Transition{staged,      original_good,              confirming,         Action::finish_confirm},
    Transition{staged,      target_unmarked,            rolled_back,        Action::abandon},
    Transition{staged,      target_trial,               withdrawing,        Action::withdraw},
    Transition{staged,      target_good,                confirming,         Action::finish_confirm},

    // Cut off inside the switch: the environment is whole, old or new.
    Transition{arming,      original_unmarked,          withdrawing,        Action::withdraw},
    Transition{arming,      original_untried,           armed,              Action::stay_armed},
    Transition{arming,      original_tried,             withdrawing,        Action::withdraw},
    Transition{arming,      original_good,              confirming,         Action::finish_confirm},
    Transition{arming,      target_unmarked,            rolled_back,        Action::abandon},
    Transition{arming,      target_trial,               trial,              Action::begin_trial},
    Transition{arming,      target_good,                confirming,         Action::finish_confirm},

    Transition{armed,       original_unmarked,          withdrawing,        Action::withdraw},
    Transition{armed,       original_untried,           armed,              Action::stay_armed},
    Transition{armed,       original_tried,             withdrawing,        Action::withdraw},
    Transition{armed,       original_good,              confirming,         Action::finish_confirm},
    Transition{armed,       target_unmarked,            withdrawing,        Action::withdraw},
    Transition{armed,       target_trial,               trial,              Action::begin_trial},
    Transition{armed,       target_good,                confirming,         Action::finish_confirm},

    Transition{trial,       original_unmarked,          withdrawing,        Action::withdraw},
    Transition{trial,       original_untried,           withdrawing,        Action::withdraw},
    Transition{trial,       original_tried,             withdrawing,        Action::withdraw},
    Transition{trial,       original_good,              confirming,         Action::finish_confirm},
    Transition{trial,       target_unmarked,            withdrawing,        Action::withdraw},
    Transition{trial,       target_trial,               trial,              Action::begin_trial},
    Transition{trial,       target_good,                confirming,         Action::finish_confirm},

    // The commit point of a confirmation is `:good` in the environment; before it the trial goes on.
    Transition{confirming,  original_unmarked,          withdrawing,        Action::withdraw},
    Transition{confirming,  original_untried,           withdrawing,        Action::withdraw},
    Transition{confirming,  original_tried,             withdrawing,        Action::withdraw},
    Transition{confirming,  original_good,              confirming,         Action::finish_confirm},
    Transition{confirming,  target_unmarked,            withdrawing,        Action::withdraw},
    Transition{confirming,  target_trial,               trial,              Action::begin_trial},
    Transition{confirming,  target_good,                confirming,         Action::finish_confirm},

    Transition{withdrawing, original_unmarked,          withdrawing,        Action::withdraw},
    Transition{withdrawing, original_untried,           withdrawing,        Action::withdraw},
    Transition{withdrawing, original_tried,             withdrawing,        Action::withdraw},
    Transition{withdrawing, original_good,              withdrawing,        Action::withdraw},
    Transition{withdrawing, target_unmarked,            withdrawing,        Action::withdraw},
    Transition{withdrawing, target_trial,               withdrawing,        Action::withdraw},
    Transition{withdrawing, target_good,                withdrawing,        Action::withdraw},

    Transition{restoring,   original_unmarked,          restoring,          Action::restore},
    Transition{restoring,   original_untried,           restoring,          Action::restore},
    Transition{restoring,   original_tried,             restoring,          Action::restore},
    Transition{restoring,   original_good,              restoring,          Action::restore},
    Transition{restoring,   target_unmarked,            restoring,          Action::send_back},
    Transition{restoring,   target_trial,               restoring,          Action::send_back},
    Transition{restoring,   target_good,                restoring,          Action::send_back},

    Transition{confirmed,   original_unmarked,          confirmed,          Action::rest},
    Transition{confirmed,   original_untried,           confirmed,          Action::rest},
    Transition{confirmed,   original_tried,             confirmed,          Action::rest},
    Transition{confirmed,   original_good,              confirmed,          Action::rest},
    Transition{confirmed,   target_unmarked,            confirmed,          Action::rest},
    Transition{confirmed,   target_trial,               confirmed,          Action::rest},
    Transition{confirmed,   target_good,                confirmed,          Action::rest},

    Transition{rolled_back, original_unmarked,          rolled_back,        Action::rest},
    Transition{rolled_back, original_untried,           rolled_back,        Action::rest},
    Transition{rolled_back, original_tried,             rolled_back,        Action::rest},
    Transition{rolled_back, original_good,              rolled_back,        Action::rest},
    Transition{rolled_back, target_unmarked,            rolled_back,        Action::rest},
    Transition{rolled_back, target_trial,               rolled_back,        Action::rest},
    Transition{rolled_back, target_good,                rolled_back,        Action::rest},
};
// clang-format on

constexpr bool no_row_twice() {
  for (std::size_t i = 0; i < kTable.size(); ++i) {
    for (std::size_t j = i + 1; j < kTable.size(); ++j) {
      if (kTable[i].from == kTable[j].from && kTable[i].event == kTable[j].event) return false;
    }
  }
  return true;
}
static_assert(no_row_twice());

}  // namespace

std::string_view name_of(State state) { return kStateNames[static_cast<std::size_t>(state)]; }

std::optional<State> state_from_name(std::string_view name) {
  const auto found = std::ranges::find(kStateNames, name);
  if (found == kStateNames.end()) return std::nullopt;
  return static_cast<State>(found - kStateNames.begin());
}

std::string_view name_of(Event event) {
  switch (event) {
    case permanent_secured:
      return "permanent-secured";
    case withheld:
      return "withheld";
    case image_complete:
      return "image-complete";
    case checked:
      return "checked";
    case switched:
      return "switched";
    case healthy:
      return "healthy";
    case finished:
      return "finished";
    case failed:
      return "failed";
    case rollback_requested:
      return "rollback-requested";
    case unhealthy:
      return "unhealthy";
    case trial_exhausted:
      return "trial-exhausted";
    case withdrawn:
      return "withdrawn";
    case withdrawn_after_trial:
      return "withdrawn-after-trial";
    case restored:
      return "restored";
    case revert_requested:
      return "revert-requested";
    case original_unmarked:
      return "original-unmarked";
    case original_untried:
      return "original-untried";
    case original_tried:
      return "original-tried";
    case original_good:
      return "original-good";
    case target_unmarked:
      return "target-unmarked";
    case target_trial:
      return "target-trial";
    case target_good:
      return "target-good";
  }
  return "unknown";
}

std::string_view name_of(Action action) {
  switch (action) {
    case Action::none:
      return "none";
    case Action::stay_armed:
      return "stay-armed";
    case Action::begin_trial:
      return "begin-trial";
    case Action::withdraw:
      return "withdraw";
    case Action::restore:
      return "restore";
    case Action::send_back:
      return "send-back";
    case Action::finish_confirm:
      return "finish-confirm";
    case Action::abandon:
      return "abandon";
    case Action::rest:
      return "rest";
  }
  return "unknown";
}

std::span<const Transition> transitions() { return kTable; }

const Transition* find_transition(std::span<const Transition> table, State from, Event event) {
  const auto row = std::ranges::find_if(table, [&](const Transition& t) { return t.from == from && t.event == event; });
  return row == table.end() ? nullptr : &*row;
}

const Transition* find_transition(State from, Event event) { return find_transition(kTable, from, event); }

}  // namespace slotkeeper
