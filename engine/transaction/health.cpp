#include "engine/transaction/health.hpp"

namespace slotkeeper {

using std::chrono::duration_cast;
using std::chrono::milliseconds;

Result<std::vector<ProgramRun>> run_health_checks(Device& device, std::optional<milliseconds> rest) {
  device.phase.reset();
  const Configuration& configuration = device.configuration();
  SK_TRY_ASSIGN(const auto paths, find_health_checks(device.storage(), configuration));
  io::Host& host = device.settings.host;
  const auto begun = host.since_boot();
  std::vector<ProgramRun> checks;
  for (const auto& path : paths) {
    milliseconds limit = configuration.health_timeout;
    if (rest) limit = std::min(limit, *rest - duration_cast<milliseconds>(host.since_boot() - begun));
    if (limit <= milliseconds(0)) {
      checks.push_back({.kind = "health check",
                        .name = path.substr(path.rfind('/') + 1),
                        .exit_status = 0,
                        .timed_out = true,
                        .output = "not run: the time of the trial was over",
                        .standard_output = {}});
      continue;
    }
    SK_TRY_ASSIGN(auto run, run_program(host, "health check", path, environment_for_programs(device), limit));
    checks.push_back(std::move(run));
  }
  return checks;
}

std::optional<Error> verdict_on(const std::vector<ProgramRun>& checks) {
  for (const auto& check : checks) {
    if (check.succeeded()) continue;
    return make_error(check.timed_out ? Errc::health_timeout : Errc::health, check.story());
  }
  return std::nullopt;
}

}  // namespace slotkeeper
