// The one list of error codes. The command line, the records, the reference and the tests are all made from it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace slotkeeper {

/// What went wrong, grouped by what the caller does next. Names are stable: they are printed and recorded.
/// The order is the order of precedence when several gates fail at once.
enum class Errc : std::uint8_t {
  internal,
  // exit 2: usage, configuration, environment
  usage,
  config,
  unknown_slot,
  not_provisioned,
  state_store,
  boot_environment,
  not_supported_yet,
  // exit 3: a gate says no
  no_space,
  fill_level,
  write_storm,
  config_busy,
  storage_worn,
  fallback_damaged,
  quarantined,
  // exit 4: the bundle is refused
  corrupt,
  signature,
  untrusted,
  incompatible,
  downgrade,
  unsupported,
  // exit 5: storage inconsistent or failed
  io_error,
  readback_mismatch,
  sync_failed,
  config_drift,
  read_only,
  storage_full,
  switch_indeterminate,
  restore_incomplete,
  // exit 6: not now
  busy,
  wrong_state,
  foreign_record,
  // exit 7: the trial is not healthy
  health,
  health_timeout,
  // exit 8: the source cannot be read to its end
  source_unreachable,
  source_truncated,
  source_changed,
  // exit 130
  cancelled,
};

/// One row of the table of error codes.
struct ErrcInfo {
  Errc code;
  std::string_view name;     ///< as printed, e.g. "readback-mismatch"
  int exit_status;           ///< of the command line
  std::string_view meaning;  ///< one clause: what the code says
  std::string_view device;   ///< the state of the device afterwards
  std::string_view next;     ///< what the person in front of the device does next
};

/// All codes in the order of the enum.
[[nodiscard]] std::span<const ErrcInfo> errc_table();

[[nodiscard]] const ErrcInfo& info(Errc code);

/// The code with this printed name, or nothing.
[[nodiscard]] std::optional<Errc> errc_from_name(std::string_view name);

}  // namespace slotkeeper
