#include "engine/cli/text_reporter.hpp"

#include "engine/cli/figures.hpp"
#include "engine/cli/forecast_table.hpp"
#include "engine/cli/tables.hpp"
#include "engine/json/json.hpp"

namespace slotkeeper::cli {
namespace {

constexpr std::string_view kGreen = "32";
constexpr std::string_view kRed = "1;31";

}  // namespace

std::string TextReporter::coloured(std::string_view text, std::string_view colour) const {
  if (!settings_.terminal.colours) return std::string(text);
  return "\x1b[" + std::string(colour) + "m" + std::string(text) + "\x1b[0m";
}

void TextReporter::print(std::string_view line) { settings_.output.write(std::string(line) + "\n"); }

void TextReporter::progress(Phase phase, std::uint64_t done_bytes, std::uint64_t total_bytes) {
  if (settings_.quiet) return;
  if (!current_ || current_->phase != phase) {
    current_ = PhaseProgress{phase, done_bytes, total_bytes, settings_.monotonic(), false};
    phase_begins(*current_);
  }
  if (current_->ended) return;
  current_->done = done_bytes;
  current_->total = total_bytes;
  if (done_bytes >= total_bytes) {
    current_->ended = true;
    phase_ends(*current_);
  } else {
    phase_goes_on(*current_);
  }
}

void TextReporter::phase_begins(const PhaseProgress& progress) {
  tenths_printed_ = percent_of(progress.done, progress.total) / 10;
  if (progress.done >= progress.total) return;  // its end is printed at once
  print(std::string(name_of(progress.phase)) + ": begins, " + format_bytes(progress.total));
}

void TextReporter::phase_goes_on(const PhaseProgress& progress) {
  const unsigned tenths = percent_of(progress.done, progress.total) / 10;
  if (tenths <= tenths_printed_ || !settings_.output.has_room()) return;
  tenths_printed_ = tenths;
  print(std::string(name_of(progress.phase)) + ": " + std::to_string(tenths * 10) + " %");
}

void TextReporter::phase_ends(const PhaseProgress& progress) {
  std::string line = std::string(name_of(progress.phase)) + ": done";
  if (progress.total != 0)
    line += ", " + format_bytes(progress.total) + " in " + format_seconds(settings_.monotonic() - progress.began);
  print(line);
}

void TextReporter::notice(std::string_view message) {
  if (!settings_.quiet) print(escape_bytes(message));
}

void TextReporter::forecast(const JsonObject& figures) {
  if (settings_.quiet) return;
  for (const std::string& line : forecast_lines(Json(figures))) print(line);
}

void TextReporter::gate(const permanent::Gate& gate) {
  if (settings_.quiet && gate.pass) return;
  constexpr std::size_t kNameWidth = 18;
  std::string name(info(gate.code).name);
  name.resize(std::max(kNameWidth, name.size() + 2), ' ');
  const std::string verdict = gate.pass ? "pass  " : "FAIL  ";
  std::string message = escape_bytes(gate.message);
  // The message has rounded figures; the verdict was made from these.
  if (settings_.verbose)
    message +=
        " (measured " + std::to_string(gate.measured) + ", limit " + std::to_string(gate.limit) + " " + gate.unit + ")";
  const std::string text = wrap(verdict + name, message);
  print(coloured(verdict.substr(0, 4), gate.pass ? kGreen : kRed) + text.substr(4));
}

void TextReporter::planned_write(const PlannedWrite& write) {
  if (settings_.quiet) return;
  std::string size = format_bytes(write.bytes);
  size.insert(0, size.size() < 10 ? 10 - size.size() : 0, ' ');
  print(wrap("write " + size + "  ", escape_bytes(write.where) + ": " + escape_bytes(write.what)));
}

void TextReporter::print_result(std::string_view command, const CommandResult& result) {
  for (const std::string& line : result.lines) {
    print(escape_bytes(line));
    if (settings_.quiet) break;  // the verdict
  }
  if (!settings_.quiet)
    for (const std::string& line : table_of(command, result.extra)) print(line);
  if (result.cause && !settings_.quiet)
    print(wrap("cause (" + std::string(info(result.cause->error.code).name) + "): ",
               escape_bytes(result.cause->error.message)));
  if (result.failure) settings_.error.write(error_text(command, result, settings_.verbose));
}

}  // namespace slotkeeper::cli
