#include "engine/transaction/health.hpp"

namespace slotkeeper {
namespace {

constexpr std::size_t kShownOutputMaxBytes = 2048;

}  // namespace

Result<std::vector<HealthCheck>> run_health_checks(Device& device) {
  device.phase.reset();
  const Configuration& configuration = device.configuration();
  SK_TRY_ASSIGN(const auto paths, find_health_checks(device.storage(), configuration));
  std::vector<HealthCheck> checks;
  for (const auto& path : paths) {
    const std::vector<std::string> environment = {
        "SLOTKEEPER_SLOT=" + std::string(name_of(device.booted)),
        "SLOTKEEPER_TRANSACTION=" + (device.record ? device.record->id : std::string()),
        "SLOTKEEPER_VERSION=" + (device.record ? device.record->image.version : std::string())};
    SK_TRY_ASSIGN(const auto outcome, device.settings.host.run({.executable = path,
                                                                .arguments = {},
                                                                .environment = environment,
                                                                .time_limit = configuration.health_timeout}));
    std::string output = outcome.standard_output + outcome.standard_error;
    if (output.size() > kShownOutputMaxBytes) output.resize(kShownOutputMaxBytes);
    checks.push_back({.name = path.substr(path.rfind('/') + 1),
                      .exit_status = outcome.exit_status,
                      .timed_out = outcome.timed_out,
                      .output = std::move(output)});
  }
  return checks;
}

std::optional<Error> verdict_on(const std::vector<HealthCheck>& checks) {
  for (const auto& check : checks) {
    if (check.timed_out) {
      return make_error(Errc::health_timeout, "the health check '" + check.name + "' did not end in time");
    }
    if (check.exit_status != 0) {
      std::string last = check.output;
      while (!last.empty() && (last.back() == '\n' || last.back() == ' ')) last.pop_back();
      last = last.substr(last.rfind('\n') + 1);
      return make_error(Errc::health, "the health check '" + check.name + "' ended with status " +
                                          std::to_string(check.exit_status) + (last.empty() ? "" : ": " + last));
    }
  }
  return std::nullopt;
}

}  // namespace slotkeeper
