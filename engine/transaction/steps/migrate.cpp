#include "engine/transaction/steps/migrate.hpp"

#include <algorithm>
#include <sstream>

#include "partitions/permanent/inventory.hpp"

namespace slotkeeper {
namespace {

std::string text_of(const std::optional<std::int64_t>& number) { return number ? std::to_string(*number) : ""; }

std::vector<std::string> environment_of(const Device& device) {
  const TransactionRecord& record = *device.record;
  const auto& original = device.facts[record.original];
  return {"SLOTKEEPER_HOOK=" + std::string(kMigrationHook),
          "SLOTKEEPER_TRANSACTION=" + record.id,
          "SLOTKEEPER_SLOT=" + std::string(name_of(device.booted)),
          "SLOTKEEPER_PERMANENT=" + record.permanent_path,
          "SLOTKEEPER_FROM_VERSION=" + record.original_version,
          "SLOTKEEPER_TO_VERSION=" + record.image.version,
          "SLOTKEEPER_FROM_SCHEMA=" + (original ? text_of(original->config_schema) : std::string()),
          "SLOTKEEPER_TO_SCHEMA=" + text_of(record.image.config_schema)};
}

std::string last_line_of(const io::ProcessOutcome& outcome) {
  std::string text = outcome.standard_error.empty() ? outcome.standard_output : outcome.standard_error;
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text.substr(text.rfind('\n') + 1);
}

bool asks_for_manual_input(const io::ProcessOutcome& outcome) {
  if (outcome.exit_status == kExitManualInputNeeded) return true;
  std::istringstream lines(outcome.standard_output);
  for (std::string line; std::getline(lines, line);) {
    if (line == kManualInputLine) return true;
  }
  return false;
}

Result<void> judge(const io::ProcessOutcome& outcome) {
  const std::string start = "the hook '" + std::string(kMigrationHook) + "' of the new firmware ";
  const std::string line = last_line_of(outcome);
  const std::string said = line.empty() ? "" : ": " + line;
  if (outcome.timed_out) return make_error(Errc::health_timeout, start + "did not end in time" + said);
  if (outcome.exit_status == 0 || outcome.exit_status == kExitManualInputNeeded) return success();
  return make_error(Errc::health, start + "ended with status " + std::to_string(outcome.exit_status) + said);
}

Result<Migration> run(Device& device, const std::string& hook) {
  device.sink().notice("the configuration is migrated to version " + device.record->image.version);
  const auto limit = std::min<std::chrono::milliseconds>(kMigrationLimit, device.configuration().confirm_within);
  SK_TRY_ASSIGN(
      const auto outcome,
      with_context(
          device.settings.host.run(
              {.executable = hook, .arguments = {}, .environment = environment_of(device), .time_limit = limit}),
          hook));
  device.wrote = true;
  SK_TRY(judge(outcome));
  const TransactionRecord& record = *device.record;
  SK_TRY_ASSIGN(auto root, device.open_permanent());
  SK_TRY(root->sync_filesystem());  // the record must not tell of a migration that a power cut takes back
  SK_TRY_ASSIGN(const auto inventory,
                permanent::take_inventory(*root, record.classes, permanent::HashScope::config, device.sink()));
  SK_TRY(root->close());
  const auto& before = record.second ? record.second : record.first;
  return Migration{.ran = true,
                   .config_changed = before && inventory.config_root != before->config_root,
                   .manual_input_needed = asks_for_manual_input(outcome)};
}

}  // namespace

Result<void> migrate_configuration(Device& device) {
  TransactionRecord& record = *device.record;
  if (record.migration) return success();
  SK_TRY_ASSIGN(const auto hook, find_hook(device.storage(), device.configuration(), std::string(kMigrationHook)));
  if (hook) {
    SK_TRY_ASSIGN(record.migration, run(device, *hook));
  } else {
    record.migration = Migration{};
  }
  return device.save_record();
}

}  // namespace slotkeeper
