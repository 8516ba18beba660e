// The real program as a process of its own: started, read line by line, signalled, killed, and its answer taken apart.
#pragma once

#include <cstdint>
#include <cstdio>
#include <functional>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <vector>

#include "engine/json/json.hpp"

namespace slotkeeper::test {

/// The program under test: $SLOTKEEPER_PROGRAM, or the one of this build.
[[nodiscard]] std::string program_path();

/// What a run of the program left behind.
struct Answer {
  int exit_status = -1;      ///< 128 + signal where a signal ended it
  std::vector<Json> events;  ///< the JSON lines of standard output
  std::string output;        ///< standard output as it came
  std::string diagnostics;   ///< standard error

  /// The last line, when it is a result; null otherwise.
  [[nodiscard]] Json result() const;
  /// A member of the result line: "outcome", "error/code", "slots/A/health"; null where there is none.
  [[nodiscard]] Json at(std::string_view path) const;
  /// The same as text: a string as it is, anything else as JSON, "" where there is none.
  [[nodiscard]] std::string text(std::string_view path) const;
  [[nodiscard]] std::string outcome() const { return text("outcome"); }
  [[nodiscard]] std::string code() const { return text("error/code"); }
  [[nodiscard]] std::string message() const { return text("error/message"); }
  /// Everything, for the message of a failed test.
  [[nodiscard]] std::string story() const;
};

/// A process with its standard output on a pipe and its standard error in a file.
class Program {
 public:
  struct Options {
    bool closed_output = false;  ///< standard output is a pipe that nobody reads
  };
  explicit Program(const std::vector<std::string>& command) : Program(command, Options{}) {}
  Program(const std::vector<std::string>& command, Options options);
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;
  ~Program();  ///< kills what still runs

  /// Reads lines until one satisfies `wanted`; false at the end of the output.
  bool read_until(const std::function<bool(const Json&)>& wanted);
  void signal(int number) const;
  /// Reads the rest and waits for the end.
  [[nodiscard]] Answer finish();
  [[nodiscard]] pid_t id() const { return process_; }

 private:
  bool read_line();

  pid_t process_ = -1;
  std::FILE* output_ = nullptr;
  std::FILE* diagnostics_ = nullptr;
  Answer answer_;
};

[[nodiscard]] Answer run_program(const std::vector<std::string>& command);

/// A line that reports progress of this phase, with at least `done` units behind it.
[[nodiscard]] std::function<bool(const Json&)> progress_of(std::string phase, std::int64_t done = 0);

}  // namespace slotkeeper::test
