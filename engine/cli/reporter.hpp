// Prints what the engine does: for a terminal, for a log, or as JSON lines.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "engine/cli/output.hpp"
#include "engine/transaction/command_result.hpp"
#include "engine/transaction/engine.hpp"
#include "partitions/io/types.hpp"

namespace slotkeeper::cli {

class Reporter : public EngineSink {
 public:
  /// The last thing that is printed. `command` as typed.
  virtual void result(std::string_view command, const CommandResult& result) = 0;
};

struct ReporterSettings {
  Output& output;  ///< standard output
  Output& error;   ///< standard error
  std::function<io::TimeStamp()> now;
  std::function<std::chrono::nanoseconds()> monotonic;
  std::function<bool()> cancelled;
  std::function<unsigned()> width;  ///< columns of the terminal
  TerminalFacts terminal;
  bool json = false;
  bool quiet = false;
  bool verbose = false;
};

/// JSON lines where asked for, else a progress bar on a terminal, else plain lines.
[[nodiscard]] std::unique_ptr<Reporter> make_reporter(ReporterSettings settings);

/// What went wrong, how the device is now, what to do next; each on a line of its own.
[[nodiscard]] std::string error_text(std::string_view command, const CommandResult& result, bool verbose);

}  // namespace slotkeeper::cli
