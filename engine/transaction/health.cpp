#include "engine/transaction/health.hpp"

#include <algorithm>

namespace slotkeeper {
namespace {

constexpr std::size_t kShownOutputMaxBytes = 2048;

Result<std::vector<std::string>> executables_of(io::Storage& storage, const std::string& directory) {
  std::vector<std::string> names;
  auto folder = storage.open_directory(directory);
  if (!folder.has_value()) {
    if (folder.assume_error().os_errno == ENOENT) return names;
    return std::move(folder).as_failure();
  }
  SK_TRY(folder.assume_value()->visit_entries([&](const io::DirectoryEntry& entry) -> Result<void> {
    if (!entry.name.starts_with('.')) names.push_back(entry.name);
    return success();
  }));
  std::ranges::sort(names);
  for (const auto& name : names) {
    SK_TRY_ASSIGN(const auto status, folder.assume_value()->status_of(name));
    if (status.type != io::EntryType::regular || (status.mode & 0111) == 0) {
      return make_error(Errc::config, directory + "/" + name + " is not an executable file");
    }
  }
  SK_TRY(folder.assume_value()->close());
  return names;
}

}  // namespace

Result<std::vector<HealthCheck>> run_health_checks(Device& device) {
  device.phase = Phase::confirm;
  const Configuration& configuration = device.configuration();
  SK_TRY_ASSIGN(const auto names, executables_of(device.storage(), configuration.health_directory));
  if (names.empty() && !configuration.health_allow_empty) {
    return make_error(Errc::config, "there are no health checks in " + configuration.health_directory +
                                        " and [health] allow-empty is not set");
  }
  std::vector<HealthCheck> checks;
  for (const auto& name : names) {
    const std::vector<std::string> environment = {
        "SLOTKEEPER_SLOT=" + std::string(name_of(device.booted)),
        "SLOTKEEPER_TRANSACTION=" + (device.record ? device.record->id : std::string()),
        "SLOTKEEPER_VERSION=" + (device.record ? device.record->image.version : std::string())};
    SK_TRY_ASSIGN(const auto outcome,
                  device.settings.host.run({.executable = configuration.health_directory + "/" + name,
                                            .arguments = {},
                                            .environment = environment,
                                            .time_limit = configuration.health_timeout}));
    std::string output = outcome.standard_output + outcome.standard_error;
    if (output.size() > kShownOutputMaxBytes) output.resize(kShownOutputMaxBytes);
    checks.push_back({.name = name,
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
