// The vendor's own programs around an update: `quiesce` and `resume` in the hook directory
// (`reboot`: restart.hpp, `migrate-config`: steps/migrate.hpp). What each is
// called with and what its exit status means stands in engine/DESIGN.md.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/transaction/device.hpp"
#include "engine/transaction/program_run.hpp"

namespace slotkeeper {

inline constexpr auto kHookLimit = std::chrono::seconds(30);  ///< quiesce and resume
/// What `quiesce` is told: after so long without `resume` it may take itself back. The update does not rely on it.
inline constexpr auto kQuiesceLimit = std::chrono::seconds(300);
/// Runs a hook with the documented environment, and `more` of it, and adds it to the command's report under `hooks`.
/// Nothing when the vendor has none of this name, or it is not executable.
/// Errors: config (others than root could change it), io_error (it cannot be started).
[[nodiscard]] Result<std::optional<ProgramRun>> run_hook(Device& device, const std::string& name,
                                                         std::chrono::milliseconds limit,
                                                         std::vector<std::string> more = {});

/// From the hook `quiesce` to the hook `resume`. Where there is no `quiesce`, neither is run.
class QuietTime {
 public:
  /// Durable: the record names this boot as the one in which the last check began (`armed-boot-id`), so that the next
  /// command after a killed one knows that a quiesce may be open.
  /// On crash: `end_quiet_time_of_others`.
  /// Errors: config_drift when the hook failed or did not end in time: `resume` was run, nothing is committed.
  [[nodiscard]] static Result<std::unique_ptr<QuietTime>> begin(Device& device);

  QuietTime(const QuietTime&) = delete;
  QuietTime& operator=(const QuietTime&) = delete;
  ~QuietTime() { end(); }

  /// Runs `resume`, once. A failure of it is a notice: there is nothing left that it could stop.
  void end();

 private:
  explicit QuietTime(Device& device) : device_(device) {}
  Device& device_;
  bool is_open_ = false;
};

/// Whether a command that was killed may have left a quiesce or a freeze open: the record stands in the last check or
/// in the switch, of this boot.
[[nodiscard]] bool may_be_quiet(const Device& device);

/// Runs `resume` for a command that was killed between `quiesce` and its own `resume`; once in a command.
void end_quiet_time_of_others(Device& device);

}  // namespace slotkeeper
