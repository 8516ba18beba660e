// The health checks of a trial boot: executables of the vendor, all of which must end with 0.
#pragma once

#include <string>
#include <vector>

#include "engine/transaction/device.hpp"

namespace slotkeeper {

struct HealthCheck {
  std::string name;
  int exit_status = 0;
  bool timed_out = false;
  std::string output;  ///< standard output and error, shortened
};

/// Runs every check of the directory in the order of names, each within its time limit.
/// Errors: config (no checks and `allow-empty` is false, or a file that is not executable), io_error.
[[nodiscard]] Result<std::vector<HealthCheck>> run_health_checks(Device& device);

/// The first thing that is wrong, as `health` or `health_timeout`; nothing when all is well.
[[nodiscard]] std::optional<Error> verdict_on(const std::vector<HealthCheck>& checks);

}  // namespace slotkeeper
