#include "engine/transaction/program_run.hpp"

namespace slotkeeper {
namespace {

std::string last_line_of(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text.substr(text.rfind('\n') + 1);
}

}  // namespace

std::string ProgramRun::story() const {
  const std::string line = last_line_of(output);
  return "the " + kind + " '" + name + "' " +
         (timed_out ? std::string("did not end in time") : "ended with status " + std::to_string(exit_status)) +
         (line.empty() ? "" : ": " + line);
}

Json to_json(const ProgramRun& run) {
  return JsonObject{{"name", escape_bytes(run.name)},
                    {"exit", run.exit_status},
                    {"timed_out", run.timed_out},
                    {"output", escape_bytes(run.output)}};
}

std::vector<std::string> environment_for_programs(const Device& device) {
  std::vector<std::string> environment = {"SLOTKEEPER_SLOT=" + std::string(name_of(device.booted)),
                                          "SLOTKEEPER_PERMANENT=" + device.permanent_path()};
  if (device.record) {
    environment.push_back("SLOTKEEPER_TRANSACTION=" + device.record->id);
    environment.push_back("SLOTKEEPER_TARGET=" + std::string(name_of(device.record->target)));
    environment.push_back("SLOTKEEPER_VERSION=" + device.record->image.version);
  }
  return environment;
}

Result<ProgramRun> run_program(io::Host& host, std::string kind, const std::string& path,
                               std::vector<std::string> environment, std::chrono::milliseconds limit) {
  SK_TRY_ASSIGN(
      auto outcome,
      host.run({.executable = path, .arguments = {}, .environment = std::move(environment), .time_limit = limit}));
  std::string output = outcome.standard_output + outcome.standard_error;
  if (output.size() > kProgramOutputMaxBytes) output.erase(0, output.size() - kProgramOutputMaxBytes);
  return ProgramRun{.kind = std::move(kind),
                    .name = path.substr(path.rfind('/') + 1),
                    .exit_status = outcome.exit_status,
                    .timed_out = outcome.timed_out,
                    .output = std::move(output),
                    .standard_output = std::move(outcome.standard_output)};
}

}  // namespace slotkeeper
