// How one of the vendor's programs ended: a hook or a health check.
#pragma once

#include <string>
#include <string_view>

#include "engine/json/json.hpp"
#include "engine/transaction/device.hpp"

namespace slotkeeper {

inline constexpr std::size_t kProgramOutputMaxBytes = 2048;

struct ProgramRun {
  std::string kind;  ///< "hook", "health check"
  std::string name;
  int exit_status = 0;
  bool timed_out = false;
  std::string output;           ///< standard output and error, the last kProgramOutputMaxBytes of them
  std::string standard_output;  ///< from its beginning, as much as a host keeps

  [[nodiscard]] bool succeeded() const { return exit_status == 0 && !timed_out; }
  /// "the hook 'quiesce' ended with status 3: the last line that it printed"
  [[nodiscard]] std::string story() const;
};

/// {"name":...,"exit":...,"timed_out":...,"output":...}
[[nodiscard]] Json to_json(const ProgramRun& run);

/// What every program of the vendor is told about the device and its transaction; the table of hooks in
/// engine/DESIGN.md has them.
[[nodiscard]] std::vector<std::string> environment_for_programs(const Device& device);

/// Errors: io_error (it cannot be started).
[[nodiscard]] Result<ProgramRun> run_program(io::Host& host, std::string kind, const std::string& path,
                                             std::vector<std::string> environment, std::chrono::milliseconds limit);

}  // namespace slotkeeper
