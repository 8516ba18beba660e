#include "engine/transaction/steps/migrate.hpp"

#include <algorithm>
#include <sstream>

#include "engine/transaction/hooks.hpp"
#include "partitions/permanent/inventory.hpp"

namespace slotkeeper {
namespace {

std::string text_of(const std::optional<std::int64_t>& number) { return number ? std::to_string(*number) : ""; }

/// Beside what every hook is told.
std::vector<std::string> schemas_of(const Device& device) {
  const TransactionRecord& record = *device.record;
  const auto& original = device.facts[record.original];
  return {"SLOTKEEPER_FROM_VERSION=" + record.original_version, "SLOTKEEPER_TO_VERSION=" + record.image.version,
          "SLOTKEEPER_FROM_SCHEMA=" + (original ? text_of(original->config_schema) : std::string()),
          "SLOTKEEPER_TO_SCHEMA=" + text_of(record.image.config_schema)};
}

bool asks_for_manual_input(const ProgramRun& run) {
  if (run.exit_status == kExitManualInputNeeded) return true;
  std::istringstream lines(run.standard_output);
  for (std::string line; std::getline(lines, line);) {
    if (line == kManualInputLine) return true;
  }
  return false;
}

Result<void> judge(const ProgramRun& run) {
  if (run.timed_out) return make_error(Errc::health_timeout, "migration by the new firmware: " + run.story());
  if (run.exit_status == 0 || run.exit_status == kExitManualInputNeeded) return success();
  return make_error(Errc::health, "migration by the new firmware: " + run.story());
}

Result<Migration> run(Device& device) {
  const auto limit = std::min<std::chrono::milliseconds>(kMigrationLimit, device.configuration().confirm_within);
  SK_TRY_ASSIGN(const auto run, run_hook(device, std::string(kMigrationHook), limit, schemas_of(device)));
  if (!run) return Migration{};
  device.wrote = true;
  SK_TRY(judge(*run));
  const TransactionRecord& record = *device.record;
  SK_TRY_ASSIGN(auto root, device.open_permanent());
  SK_TRY(root->sync_filesystem());  // the record must not tell of a migration that a power cut takes back
  SK_TRY_ASSIGN(const auto inventory,
                permanent::take_inventory(*root, record.classes, permanent::HashScope::config, device.sink()));
  SK_TRY(root->close());
  const auto& before = record.second ? record.second : record.first;
  return Migration{.ran = true,
                   .config_changed = before && inventory.config_root != before->config_root,
                   .manual_input_needed = asks_for_manual_input(*run)};
}

}  // namespace

Result<void> migrate_configuration(Device& device) {
  TransactionRecord& record = *device.record;
  if (record.migration) return success();
  SK_TRY_ASSIGN(record.migration, run(device));
  return device.save_record();
}

}  // namespace slotkeeper
