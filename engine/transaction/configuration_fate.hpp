// What becomes of the configuration when a firmware takes over from another: kept where that one can read it, else
// restored from the snapshot that is kept of it; what is replaced is saved aside first.
#pragma once

#include <string_view>

#include "engine/transaction/device.hpp"

namespace slotkeeper {

enum class ConfigurationFate : std::uint8_t {
  kept,            ///< as it was
  migrated,        ///< changed by the hook `migrate-config`
  restored,        ///< as the snapshot has it
  to_be_restored,  ///< will be, once the original firmware has started
  saved_aside,     ///< the firmware that runs cannot read it and there is no older one: left in place, and copied
};
[[nodiscard]] std::string_view name_of(ConfigurationFate fate);  ///< as printed: "saved-aside"

/// Puts `configuration` into the command's result line, and `manual_input_needed` where the migration asked for it.
void report_fate(Device& device, ConfigurationFate fate);
/// The fate that was reported; nothing yet: an empty name.
[[nodiscard]] std::string reported_fate(const Device& device);
/// Of a trial, or of a firmware that was confirmed: migrated or kept.
[[nodiscard]] ConfigurationFate fate_after_trial(const TransactionRecord& record);

/// True when the firmware in `slot` can read the configuration that the firmware of the confirmed slot writes: its
/// schema is at least `readable-by` of that one. Where one of them is not known: true unless a migration changed the
/// configuration in the update that led from the one to the other.
[[nodiscard]] bool can_read_configuration(const Device& device, SlotId slot);

/// The snapshot of the open transaction goes back to the permanent partition. On a revert the present configuration is
/// saved aside before, in the area that the snapshot does not take.
/// Durable: all of it. On crash: run it again. Errors: restore_incomplete, with what to do.
[[nodiscard]] Result<void> restore_of_transaction(Device& device);

/// Another slot runs than the confirmed one. Keeps the configuration, or saves it aside and restores the `previous`
/// one, or only saves it aside where none is kept. Durable and repeatable as above. Errors: restore_incomplete.
[[nodiscard]] Result<void> settle_configuration_after_fallback(Device& device);

/// The confirmed slot runs again although a fall-back to the other one was under way: its configuration, which was
/// saved aside, goes back. Does nothing where no fall-back was. Durable and repeatable as above. Errors:
/// restore_incomplete.
[[nodiscard]] Result<void> take_back_fallback(Device& device);

/// Why services of the permanent partition must not start on the target of the open transaction: the configuration is
/// half migrated or half restored. Nothing where they may.
[[nodiscard]] std::optional<Error> reason_to_hold_back(const Device& device);

}  // namespace slotkeeper
