#include "engine/cli/json_reporter.hpp"

#include "engine/transaction/record.hpp"

namespace slotkeeper::cli {
namespace {

constexpr std::chrono::milliseconds kProgressInterval{100};

}  // namespace

void JsonReporter::print_line(JsonObject members) {
  members.emplace_back("time", rfc3339(settings_.now()));
  settings_.output.write(Json(std::move(members)).print() + "\n");
}

void JsonReporter::print_progress(const Point& point) {
  printed_ = point;
  printed_at_ = settings_.monotonic();
  if (settings_.quiet || !settings_.output.has_room()) return;
  print_line({{"event", "progress"},
              {"phase", name_of(point.phase)},
              {"done", point.done},
              {"total", point.total},
              {"unit", "bytes"}});
}

// What the throttle held back when the phase ended.
void JsonReporter::print_pending_progress() {
  if (latest_ && latest_ != printed_) print_progress(*latest_);
}

void JsonReporter::progress(Phase phase, std::uint64_t done_bytes, std::uint64_t total_bytes) {
  if (latest_ && latest_->phase != phase) print_pending_progress();
  latest_ = Point{phase, done_bytes, total_bytes};
  const bool begins = !printed_ || printed_->phase != phase;
  const bool ends = done_bytes >= total_bytes && latest_ != printed_;
  if (begins || ends || settings_.monotonic() - printed_at_ >= kProgressInterval) print_progress(*latest_);
}

void JsonReporter::notice(std::string_view message) {
  if (settings_.quiet) return;
  if (has_ended()) {  // the result line stays the last one
    settings_.error.write("slotkeeper: " + escape_bytes(message) + "\n");
    return;
  }
  print_line({{"event", "notice"}, {"message", escape_bytes(message)}});
}

void JsonReporter::gate(const permanent::Gate& gate) {
  print_pending_progress();
  print_line({{"event", "gate"},
              {"gate", info(gate.code).name},
              {"pass", gate.pass},
              {"measured", gate.measured},
              {"limit", gate.limit},
              {"unit", gate.unit},
              {"message", escape_bytes(gate.message)}});
}

void JsonReporter::planned_write(const PlannedWrite& write) {
  print_line({{"event", "write"},
              {"where", escape_bytes(write.where)},
              {"what", escape_bytes(write.what)},
              {"bytes", write.bytes}});
}

void JsonReporter::print_result(std::string_view command, const CommandResult& result) {
  print_pending_progress();
  Json line = JsonObject{{"event", "result"},
                         {"command", escape_bytes(command)},
                         {"outcome", name_of(result.outcome)},
                         {"transaction", result.transaction ? Json(*result.transaction) : Json()},
                         {"error", result.failure ? to_json(*result.failure) : Json()}};
  if (result.cause) line.set("cause", to_json(*result.cause));
  // The `transaction` of `status` is an object, in the place of the plain identifier.
  for (const auto& [name, value] : result.extra) line.set(name, value);
  print_line(*line.as_object());
  if (result.failure) settings_.error.write(error_text(command, result, settings_.verbose));
}

}  // namespace slotkeeper::cli
