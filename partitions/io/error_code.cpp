#include "partitions/io/error_code.hpp"

#include <algorithm>
#include <array>

namespace slotkeeper {
namespace {

constexpr std::string_view kUnchanged = "Nothing was changed on the device.";
constexpr std::string_view kPostponed =
    "Nothing was changed on the device, except that the permanent partition may have been compacted with its contents "
    "preserved.";
constexpr std::string_view kRolledBack =
    "The original firmware and its configuration are in place; the target slot is marked bad.";
constexpr std::string_view kResumable = "The original firmware stays in place.";

// clang-format off
constexpr std::array kTable = {
    ErrcInfo{Errc::internal, "internal", 1, "an error inside Slotkeeper", "The device is unchanged or was rolled back.",
             "Run 'slotkeeper recover', then 'slotkeeper status', and send both outputs to the vendor."},
    ErrcInfo{Errc::usage, "usage", 2, "the command line is wrong", kUnchanged, "See 'slotkeeper --help'."},
    ErrcInfo{Errc::config, "config", 2, "the configuration is wrong or does not fit the device", kUnchanged,
             "Correct the configuration at the place named and run the command again."},
    ErrcInfo{Errc::unknown_slot, "unknown-slot", 2, "it is not certain which slot is booted", kUnchanged,
             "Make 'slotkeeper.slot=' on the kernel command line agree with the root device, or name the slot with --booted-slot if neither is known."},
    ErrcInfo{Errc::not_provisioned, "not-provisioned", 2, "the state store does not exist yet", kUnchanged,
             "Run 'slotkeeper provision' once on this device."},
    ErrcInfo{Errc::state_store, "state-store", 2, "the state store cannot be understood", kUnchanged,
             "Check that [state] store names the right partition; if it does, run 'slotkeeper provision --force'."},
    ErrcInfo{Errc::boot_environment, "boot-environment", 2, "no copy of the boot environment is valid", kUnchanged,
             "Check the environment's place in the configuration; 'slotkeeper provision --force' writes a new one."},
    ErrcInfo{Errc::not_supported_yet, "not-supported-yet", 2, "this version does not have that feature yet", kUnchanged,
             "Remove what is named, or use a version that supports it."},
    ErrcInfo{Errc::no_space, "no-space", 3, "the permanent partition has too little room for the update", kPostponed,
             "Export or delete what 'slotkeeper preflight' lists, then install again."},
    ErrcInfo{Errc::fill_level, "fill-level", 3, "the permanent partition is fuller than allowed", kPostponed,
             "Export or delete what 'slotkeeper preflight' lists, then install again."},
    ErrcInfo{Errc::write_storm, "write-storm", 3, "the device writes too much to the permanent partition right now", kPostponed,
             "Install at a quieter time, or find out what is writing."},
    ErrcInfo{Errc::config_busy, "config-busy", 3, "the configuration keeps changing", kPostponed,
             "Finish the changes to the configuration, then install again."},
    ErrcInfo{Errc::storage_worn, "storage-worn", 3, "the storage reports wear or errors", kPostponed,
             "Plan a replacement of the device; its storage is not fit for an update."},
    ErrcInfo{Errc::fallback_damaged, "fallback-damaged", 3, "the running firmware does not match its recorded checksums", kPostponed,
             "Do not update: there would be nothing to fall back to. Run 'slotkeeper verify' and contact the vendor."},
    ErrcInfo{Errc::quarantined, "quarantined", 3, "this bundle failed repeatedly and is not tried again", kPostponed,
             "Install a newer bundle, or clear it with 'slotkeeper quarantine clear'."},
    ErrcInfo{Errc::corrupt, "corrupt", 4, "the bundle is damaged", kUnchanged, "Fetch the bundle again and compare its checksum."},
    ErrcInfo{Errc::signature, "signature", 4, "the bundle's signature does not match", kUnchanged,
             "Fetch the bundle again from the vendor; do not install this one."},
    ErrcInfo{Errc::untrusted, "untrusted", 4, "the bundle's signer is not trusted", kUnchanged,
             "Use a bundle signed for this device, or check the trust anchors and the clock."},
    ErrcInfo{Errc::incompatible, "incompatible", 4, "the bundle is not for this device", kUnchanged, "Use the bundle made for this device."},
    ErrcInfo{Errc::downgrade, "downgrade", 4, "the bundle is older than this device may go", kUnchanged, "Use a newer bundle."},
    ErrcInfo{Errc::unsupported, "unsupported", 4, "the bundle asks for something this version refuses", kUnchanged,
             "Use a bundle made for this version of Slotkeeper."},
    ErrcInfo{Errc::io_error, "io-error", 5, "the storage reported an error", kRolledBack,
             "Check the storage ('dmesg', 'slotkeeper verify') before trying again."},
    ErrcInfo{Errc::readback_mismatch, "readback-mismatch", 5, "the storage returned something else than was written", kRolledBack,
             "The storage is not reliable: run 'slotkeeper verify' and plan a replacement."},
    ErrcInfo{Errc::sync_failed, "sync-failed", 5, "the storage did not confirm a write", kRolledBack,
             "Check the storage ('dmesg', 'slotkeeper verify') before trying again."},
    ErrcInfo{Errc::config_drift, "config-drift", 5, "the configuration changed while it was secured", kRolledBack,
             "Finish the changes to the configuration, then install again."},
    ErrcInfo{Errc::read_only, "read-only", 5, "a filesystem or device turned read-only", kRolledBack,
             "Check the storage ('dmesg'); restart the device before trying again."},
    ErrcInfo{Errc::storage_full, "storage-full", 5, "the storage ran full during the update", kRolledBack,
             "Find out what filled it, make room, then install again."},
    ErrcInfo{Errc::switch_indeterminate, "switch-indeterminate", 5, "it is not known whether the boot environment was switched",
             "Either firmware may start next; both are complete.", "Restart the device; 'slotkeeper recover' decides at the next boot."},
    ErrcInfo{Errc::restore_incomplete, "restore-incomplete", 5, "the configuration is not completely restored yet",
             "The original firmware is in place; the snapshot is kept.", "Run 'slotkeeper recover' again; services of the permanent partition wait for it."},
    ErrcInfo{Errc::busy, "busy", 6, "another Slotkeeper command is running", kUnchanged, "Wait until it has ended, then try again."},
    ErrcInfo{Errc::wrong_state, "wrong-state", 6, "the command does not fit the state of the device", kUnchanged,
             "See 'slotkeeper status' for what is going on."},
    ErrcInfo{Errc::foreign_record, "foreign-record", 6, "the transaction was begun by a version this one does not understand", kUnchanged,
             "Start the firmware that began the transaction, or update this one."},
    ErrcInfo{Errc::health, "health", 7, "the trial firmware is not healthy", "The original firmware starts at the next boot.",
             "Restart the device; see the health checks' output for the reason."},
    ErrcInfo{Errc::health_timeout, "health-timeout", 7, "the health checks took too long", "The original firmware starts at the next boot.",
             "Restart the device; see the health checks' output for the reason."},
    ErrcInfo{Errc::source_unreachable, "source-unreachable", 8, "the bundle cannot be read", kResumable,
             "Check the path, its permissions or the network, then install again."},
    ErrcInfo{Errc::source_truncated, "source-truncated", 8, "the bundle's source ended early", kResumable, "Check that the file at its source is whole, then install again."},
    ErrcInfo{Errc::source_changed, "source-changed", 8, "the bundle changed while it was read", kResumable, "Install again from a source that does not change."},
    ErrcInfo{Errc::cancelled, "cancelled", 130, "the update was cancelled", kRolledBack, "Install again when wanted."},
};
// clang-format on

constexpr bool table_follows_enum() {
  for (std::size_t i = 0; i < kTable.size(); ++i) {
    if (static_cast<std::size_t>(kTable[i].code) != i) return false;
  }
  return kTable.size() == static_cast<std::size_t>(Errc::cancelled) + 1;
}
static_assert(table_follows_enum());

}  // namespace

std::span<const ErrcInfo> errc_table() { return kTable; }

const ErrcInfo& info(Errc code) { return kTable[static_cast<std::size_t>(code)]; }

std::optional<Errc> errc_from_name(std::string_view name) {
  const auto row = std::ranges::find(kTable, name, &ErrcInfo::name);
  if (row == kTable.end()) return std::nullopt;
  return row->code;
}

}  // namespace slotkeeper
