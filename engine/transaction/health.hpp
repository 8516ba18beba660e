// The health checks of a trial boot: executables of the vendor, all of which must end with 0.
#pragma once

#include <chrono>
#include <optional>
#include <vector>

#include "engine/transaction/device.hpp"
#include "engine/transaction/program_run.hpp"

namespace slotkeeper {

/// Runs every check of the directory in the order of names, each within its own time limit and, where `rest` is given,
/// all of them within that: what is left of the trial. A check for which no time is left counts as one that did not
/// end in time and is not run.
/// Errors: config (no checks and `allow-empty` is false, or a file that is not executable), io_error.
[[nodiscard]] Result<std::vector<ProgramRun>> run_health_checks(Device& device,
                                                                std::optional<std::chrono::milliseconds> rest);

/// The first thing that is wrong, as `health` or `health_timeout`; nothing when all is well.
[[nodiscard]] std::optional<Error> verdict_on(const std::vector<ProgramRun>& checks);

}  // namespace slotkeeper
