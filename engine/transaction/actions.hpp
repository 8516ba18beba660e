// Step 9 of 9 and recovery: carries out what the transition table says, until it says that nothing is left to do.
#pragma once

#include "engine/transaction/device.hpp"

namespace slotkeeper {

/// Bound of the actions in one run: the longest path is trial -> withdrawing -> restoring -> rolled-back -> rest.
inline constexpr int kActionsMax = 8;

/// Persists the state that `event` leads to and carries out its action, and so on until the table rests.
/// Repeatable: everything that was done already is found done and not written again.
/// Durable: each state before its action. On crash: recovery comes to the same place through a boot event.
/// Errors: those of the actions; the record then stands in the state whose action failed.
[[nodiscard]] Result<void> carry_on(Device& device, Event event);

/// Looks at the device and carries on from there. Without a transaction it puts the device at rest.
[[nodiscard]] Result<void> recover_device(Device& device);

/// Notes why the open transaction ends; the first cause stays.
void set_cause(Device& device, const Error& error, std::optional<Phase> phase);

/// Ends the open transaction after a failed step: records the cause, withdraws, and says why in the report.
/// The error that comes back is `why`, or one of withdrawing that is worse.
[[nodiscard]] Error roll_back_after(Device& device, Error why);

}  // namespace slotkeeper
