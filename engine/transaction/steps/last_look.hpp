// The last comparison of the configuration with its snapshot before the switch: under a freeze of the permanent
// partition where that is safe, else by reading everything a second time.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "engine/transaction/device.hpp"
#include "partitions/permanent/drift.hpp"

namespace slotkeeper {

inline constexpr auto kFreezeLimit = std::chrono::milliseconds(2000);  ///< no writer waits longer for us
inline constexpr auto kFrozenLookLimit = std::chrono::milliseconds(1500);
/// What is dirty is written before the freeze, until that takes no longer than this or was tried kFlushesMax times.
inline constexpr auto kQuickFlush = std::chrono::milliseconds(100);
inline constexpr auto kSlowFlush = std::chrono::milliseconds(1000);  ///< a freeze would take too long
inline constexpr int kFlushesMax = 4;

struct LastLook {
  bool frozen = false;             ///< the permanent partition stood still all the time; else it was read twice
  std::vector<std::string> paths;  ///< what changed since the watch began; empty: nothing
};

/// Compares with what the watch has hashed. Which level was reached stands in the report under `last_check`; the weaker
/// one is a notice, too.
/// Durable: nothing; a freeze ends with the call, with the process, or after kFreezeLimit.
/// Errors: io_error, sync_failed, cancelled.
[[nodiscard]] Result<LastLook> take_last_look(Device& device, permanent::DriftWatch watch);

/// Ends a freeze that a killed command and its freezer left behind, and says so.
[[nodiscard]] Result<void> end_freeze_of_others(Device& device);

/// Why this device cannot have the stronger look, in words; nothing when it can, as far as is known beforehand.
[[nodiscard]] std::optional<std::string> weakness_of_last_look(const Device& device);

}  // namespace slotkeeper
