// In the trial, after the last moment of the original firmware is secured and before any service runs: the hook
// `migrate-config` of the new firmware makes the configuration its own.
#pragma once

#include "engine/transaction/device.hpp"

namespace slotkeeper {

inline constexpr std::string_view kMigrationHook = "migrate-config";
/// A migration that takes longer is ended and the trial withdrawn; a shorter `confirm-within` counts instead.
inline constexpr auto kMigrationLimit = std::chrono::minutes(5);
inline constexpr int kExitManualInputNeeded = 10;  ///< migrated, but somebody has to complete it by hand
/// The same, said by a line of its own on standard output.
inline constexpr std::string_view kManualInputLine = "manual-input-needed";

/// Runs the hook, once for each transaction that gets as far as its end: a power cut before the record is durable makes
/// the next boot run it again, on whatever the first run left. The hook has to bear that.
/// Requires: the second generation is decided. Durable: the record's `migration`. On crash: run again.
/// Errors: health, health_timeout (the hook failed or did not end), config (others than root could change it), and
/// those of looking at the permanent partition. Each of them means that the trial must not go on.
[[nodiscard]] Result<void> migrate_configuration(Device& device);

}  // namespace slotkeeper
