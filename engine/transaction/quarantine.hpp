// Packages that failed again and again for reasons of their own are not tried any more, until an operator clears them
// or another package comes: no nightly loop of the same failing update.
#pragma once

#include <optional>
#include <string>

#include "engine/transaction/device.hpp"
#include "partitions/permanent/forecast.hpp"

namespace slotkeeper {

/// Counts what the transaction failed of, where that speaks about the package: its trial was not reached, not healthy,
/// or its migration failed. A damaged copy, an operator's word, a kill, power, space and network never count. Once per
/// transaction, however often it is called.
/// Durable: the count. On crash: it, or the one before; recovery comes here again.
[[nodiscard]] Result<void> count_failure(Device& device);

/// Of a package that became the confirmed firmware. Not durable yet.
void forget_failures(DeviceFacts& facts, const Sha256& manifest);

/// Whether it is refused: it failed as often as `[install] quarantine-after` says.
[[nodiscard]] bool is_quarantined(const Device& device, const PackageFailures& package);

/// measured: failures of this package; limit: those that are still accepted (`[install] quarantine-after` less one).
[[nodiscard]] permanent::Gate quarantine_gate(const Device& device, const Sha256& manifest);

}  // namespace slotkeeper
