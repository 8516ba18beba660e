#include "engine/transaction/commands/commands.hpp"
#include "partitions/permanent/compaction.hpp"

namespace slotkeeper {
CommandResult run_compact(Device& device, bool dry_run) {
  if (!dry_run && device.has_open_transaction()) {
    return failure(device, wrong_state(device, "a transaction is open"), false);
  }
  device.phase = Phase::compact;
  const auto run = [&]() -> Result<CommandResult> {
    const Configuration& configuration = device.configuration();
    SK_TRY_ASSIGN(auto root, device.open_permanent());
    SK_TRY_ASSIGN(const auto inventory, permanent::take_inventory(*root, configuration.classes,
                                                                  permanent::HashScope::nothing, device.sink()));
    SK_TRY_ASSIGN(const auto plan, permanent::plan_compaction(*root, inventory, {}));
    for (const auto& action : plan.actions) {
      device.sink().planned_write({.where = "permanent partition", .what = "remove " + action.path, .bytes = 0});
    }
    permanent::CompactionReport report;
    if (!dry_run) {
      SK_TRY_ASSIGN(report, permanent::carry_out(*root, plan, device.sink()));
    }
    SK_TRY(root->close());
    device.report.emplace_back("frees_bytes", plan.frees.bytes);
    device.report.emplace_back("frees_inodes", plan.frees.inodes);
    device.report.emplace_back("freed_bytes", report.freed.bytes);
    device.report.emplace_back("removed_files", report.removed_files);
    const std::string count = std::to_string(dry_run ? plan.actions.size() : report.removed_files) + " files, " +
                              std::to_string((dry_run ? plan.frees.bytes : report.freed.bytes) / 1024) + " KiB";
    auto result = plan.actions.empty()
                      ? answer(device, Outcome::nothing_to_do, "Nothing to compact.")
                      : answer(device, Outcome::ok, (dry_run ? "Would remove " : "Removed ") + count + ".");
    result.transaction.reset();
    return result;
  };
  auto result = run();
  if (!result.has_value()) return failure(device, std::move(result).assume_error(), false);
  return std::move(result).assume_value();
}

}  // namespace slotkeeper
