#include "engine/cli/reporter.hpp"

#include "engine/cli/json_reporter.hpp"
#include "engine/cli/text_reporter.hpp"
#include "engine/json/json.hpp"

namespace slotkeeper::cli {
namespace {

/// The target slot is bad only once staging had begun to overwrite it. A phase says so in an install alone: a trial
/// takes a snapshot, too.
std::string after_rollback(std::string_view command, const CommandResult& result, const ErrcInfo& row) {
  const auto& phase = result.failure->phase;
  if (command != "install" || !phase || *phase >= Phase::stage) return std::string(row.device);
  return "The original firmware and its configuration are in place; the target slot was not touched.";
}

/// The state of the device afterwards: the table's text holds for a transaction that was rolled back, a command that
/// ended before it began one (preflight, verify) changed less.
std::string device_after(std::string_view command, const CommandResult& result, const Error& error) {
  const ErrcInfo& row = info(error.code);
  const bool special = error.code == Errc::switch_indeterminate || error.code == Errc::restore_incomplete;
  if ((row.exit_status == 5 || row.exit_status == 130) && !special && result.outcome != Outcome::rolled_back) {
    if (result.transaction && row.exit_status == 130) return after_rollback(command, result, row);
    return result.transaction
               ? "The original firmware stays in place; 'slotkeeper recover' finishes what is left."
               : "No transaction was begun; the running firmware and its configuration were not changed.";
  }
  if ((result.outcome == Outcome::rolled_back && !special) || row.exit_status == 130)
    return after_rollback(command, result, row);
  if (row.exit_status != 3) return std::string(row.device);
  for (const ErrorDetail& detail : error.details) {
    const bool* compacted = std::get_if<bool>(&detail.value);
    if (detail.name == "compacted" && compacted != nullptr && *compacted) {
      return "The permanent partition was compacted with its contents preserved; nothing else was changed.";
    }
  }
  return "Nothing was changed on the device.";
}

std::string_view spoken(Outcome outcome) {
  switch (outcome) {
    case Outcome::postponed:
      return "postponed";
    case Outcome::refused:
      return "refused";
    case Outcome::rolled_back:
      return "rolled back";
    default:
      return "failed";
  }
}

std::string spoken(const ErrorDetail& detail) {
  struct Visitor {
    std::string operator()(std::int64_t value) const { return std::to_string(value); }
    std::string operator()(bool value) const { return value ? "yes" : "no"; }
    std::string operator()(const std::string& value) const { return escape_bytes(value); }
    std::string operator()(const std::vector<std::string>& values) const {
      std::string all;
      for (const std::string& value : values) all += (all.empty() ? "" : ", ") + escape_bytes(value);
      return all;
    }
  };
  return std::visit(Visitor{}, detail.value);
}

}  // namespace

std::unique_ptr<Reporter> make_reporter(ReporterSettings settings) {
  if (settings.json) return std::make_unique<JsonReporter>(std::move(settings));
  if (settings.terminal.output_is_terminal) return std::make_unique<TerminalReporter>(std::move(settings));
  return std::make_unique<TextReporter>(std::move(settings));
}

std::string error_text(std::string_view command, const CommandResult& result, bool verbose) {
  if (!result.failure) return "";
  const Error& error = result.failure->error;
  const ErrcInfo& row = info(error.code);
  std::string text = "slotkeeper: ";
  if (!command.empty()) text += escape_bytes(command) + " ";
  text +=
      std::string(spoken(result.outcome)) + " (" + std::string(row.name) + "): " + escape_bytes(error.message) + "\n";
  if (!command.starts_with("bundle"))
    text += "  device: " + device_after(command, result, error) + "\n";  // no device is involved
  text += "  next: " + std::string(row.next) + "\n";
  if (!verbose) return text;
  if (result.failure->phase) text += "  phase: " + std::string(name_of(*result.failure->phase)) + "\n";
  for (const ErrorDetail& detail : error.details) text += "  " + detail.name + ": " + spoken(detail) + "\n";
  return text;
}

}  // namespace slotkeeper::cli
