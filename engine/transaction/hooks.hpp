// The vendor's own programs around an update: `quiesce`, `resume` and `reboot` in the hook directory. What each is
// called with and what its exit status means stands in engine/DESIGN.md.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/transaction/device.hpp"

namespace slotkeeper {

inline constexpr auto kHookLimit = std::chrono::seconds(30);  ///< quiesce and resume
inline constexpr auto kRebootHookLimit = std::chrono::seconds(60);
/// What `quiesce` is told: after so long without `resume` it may take itself back. The update does not rely on it.
inline constexpr auto kQuiesceLimit = std::chrono::seconds(300);
inline constexpr std::size_t kHookOutputMaxBytes = 2048;

struct HookRun {
  std::string name;
  int exit_status = 0;
  bool timed_out = false;
  std::string output;           ///< standard output and error, the last kHookOutputMaxBytes of them
  std::string standard_output;  ///< from its beginning, as much as a host keeps

  [[nodiscard]] bool succeeded() const { return exit_status == 0 && !timed_out; }
  /// "the hook 'quiesce' ended with status 3: the last line that it printed"
  [[nodiscard]] std::string story() const;
};

/// Runs a hook with the documented environment, and `more` of it, and adds it to the command's report under `hooks`.
/// Nothing when the vendor has none of this name, or it is not executable.
/// Errors: config (others than root could change it), io_error (it cannot be started).
[[nodiscard]] Result<std::optional<HookRun>> run_hook(Device& device, const std::string& name,
                                                      std::chrono::milliseconds limit,
                                                      std::vector<std::string> more = {});

/// Restarts the device by the hook `reboot`, or by /sbin/reboot where there is none.
[[nodiscard]] Result<void> reboot_device(Device& device);

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
