// Restarting the device, and leaving a trial that must not stay.
#pragma once

#include "engine/transaction/command_result.hpp"
#include "engine/transaction/device.hpp"

namespace slotkeeper {

/// By the hook `reboot`, or by /sbin/reboot where there is none.
/// Errors: config (others than root could change the hook), io_error (it cannot be started), internal (it failed).
[[nodiscard]] Result<void> restart_device(Device& device);

/// For commands that run at boot, with `--reboot`: restarts the device when the result asks for it (`reboot_needed`),
/// or when the command failed (but for busy, wrong_state and cancelled) and this is a trial: by the boot environment,
/// or where that cannot be read or keeps no mark, by the record. Never with the backend `custom`, which may not count.
/// Where hook and /sbin/reboot fail, `/sbin/reboot -f`: a trial that was given up must not stay because its firmware
/// cannot shut down. What fails is a notice; then the watchdog is left. The sink has the result of `command` before.
void restart_after(EngineSettings& settings, std::string_view command, const CommandResult& result);

}  // namespace slotkeeper
