#include "engine/transaction/commands/commands.hpp"
#include "engine/transaction/compacting.hpp"

namespace slotkeeper {
namespace {

std::string count_of(std::uint64_t count, std::string_view what) {
  return std::to_string(count) + " " + std::string(what) + (count == 1 ? "" : "s");
}

/// "2 files removed, 1 expired log dropped, 3 logs compressed".
std::string summary(std::uint64_t removed, std::uint64_t dropped, std::uint64_t compressed) {
  std::string text;
  const auto add = [&](std::uint64_t count, std::string_view what, std::string_view done) {
    if (count == 0) return;
    text += (text.empty() ? "" : ", ") + count_of(count, what) + " " + std::string(done);
  };
  add(removed, "file", "removed");
  add(dropped, "expired log", "dropped");
  add(compressed, "log", "compressed");
  return text.empty() ? "nothing done" : text;
}

std::string planned_summary(const permanent::CompactionPlan& plan) {
  using Kind = permanent::CompactionAction::Kind;
  std::uint64_t counts[3] = {};
  for (const auto& action : plan.actions) ++counts[static_cast<std::size_t>(action.kind)];
  return summary(counts[static_cast<std::size_t>(Kind::remove_disposable)],
                 counts[static_cast<std::size_t>(Kind::drop_expired)],
                 counts[static_cast<std::size_t>(Kind::compress)]);
}

Result<CommandResult> compact(Device& device, bool dry_run) {
  const Configuration& configuration = device.configuration();
  if (!dry_run) SK_TRY(finish_compaction(device));
  SK_TRY_ASSIGN(auto root, device.open_permanent());
  SK_TRY_ASSIGN(auto inventory,
                permanent::take_inventory(*root, configuration.classes, permanent::HashScope::nothing, device.sink()));
  SK_TRY_ASSIGN(const auto limits, compaction_limits(device));
  SK_TRY_ASSIGN(auto plan, permanent::plan_compaction(*root, std::move(inventory), configuration.classes, limits));
  for (const auto& action : plan.actions) device.sink().planned_write(planned_write_of(plan, action));
  for (const auto& left : plan.left_alone.named()) {
    device.sink().notice("left alone " + left.path + ": " + std::string(text_of(left.reason)));
  }
  permanent::CompactionReport report;
  if (!dry_run) {
    plan.keep_planned_files();  // of 200,000 files the rest may be 20 MiB, and the compressor needs memory, too
    SK_TRY_ASSIGN(report, permanent::carry_out(*root, plan, scratch_areas(device), device.sink()));
  }
  SK_TRY(root->close());
  report_compaction(device, plan, report);
  device.record.reset();  // the answer names no transaction: this belongs to none
  if (plan.actions.empty() && !device.wrote) return answer(device, Outcome::nothing_to_do, "Nothing to compact.");
  const std::string would = "Would free about " + std::to_string(plan.frees.bytes / 1024) + " KiB: ";
  const std::string freed = "Freed " + std::to_string(report.freed.bytes / 1024) + " KiB: ";
  return answer(device, Outcome::ok,
                dry_run ? would + planned_summary(plan) + "."
                        : freed + summary(report.removed_files, report.dropped.size(), report.compressed.size()) + ".");
}

}  // namespace

CommandResult run_compact(Device& device, bool dry_run) {
  if (!dry_run && device.has_open_transaction()) {
    return failure(device, wrong_state(device, "a transaction is open"), false);
  }
  device.phase = Phase::compact;
  auto result = compact(device, dry_run);
  if (!result.has_value()) return failure(device, std::move(result).assume_error(), false);
  return std::move(result).assume_value();
}

}  // namespace slotkeeper
