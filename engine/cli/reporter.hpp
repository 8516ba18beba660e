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
  /// The last thing that is printed, once: where the engine has said it before a restart, not again. `command` as
  /// typed.
  void result(std::string_view command, const CommandResult& result) {
    if (has_ended_) return;
    has_ended_ = true;
    print_result(command, result);
  }
  void restarting(std::string_view command, const CommandResult& result) override { this->result(command, result); }

 protected:
  [[nodiscard]] bool has_ended() const { return has_ended_; }

 private:
  virtual void print_result(std::string_view command, const CommandResult& result) = 0;

  bool has_ended_ = false;
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
