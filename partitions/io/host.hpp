// What the engine needs from the machine besides storage: time, random bytes and other programs.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "partitions/io/result.hpp"
#include "partitions/io/types.hpp"

namespace slotkeeper::io {

struct ProcessRequest {
  std::string executable;  ///< absolute path
  std::vector<std::string> arguments;
  std::vector<std::string> environment;        ///< added to ours, "NAME=value"
  std::chrono::milliseconds time_limit{0};     ///< 0: none
  std::size_t output_limit_bytes = 64 * 1024;  ///< of standard output and error each; more is cut off
};

struct ProcessOutcome {
  int exit_status = 0;  ///< 128 + signal when a signal ended it
  bool timed_out = false;
  std::string standard_output;
  std::string standard_error;
};

/// A task that is called again and again; over when the destructor returns.
class Repetition {
 public:
  Repetition() = default;
  Repetition(const Repetition&) = delete;
  Repetition& operator=(const Repetition&) = delete;
  virtual ~Repetition() = default;
};

/// Time that the machine spent working, of when it was started. Only differences mean something.
struct MachineWork {
  std::chrono::nanoseconds processors{0};  ///< mean of all of them
  std::chrono::nanoseconds disks{0};       ///< in which a disk had a request, summed over the disks
};

/// Whose turn comes first.
struct Priority {
  int nice = 0;  ///< -20 (first) to 19 (last)
  int io = 0;    ///< as ioprio_set(2) takes it: class and level; 0 follows `nice`
};
inline constexpr int kIoIdle = 3 << 13;
/// `level` from 0 (first) to 7 (last).
[[nodiscard]] constexpr int io_best_effort(int level) { return (2 << 13) | level; }

class Host {
 public:
  Host() = default;
  Host(const Host&) = delete;
  Host& operator=(const Host&) = delete;
  virtual ~Host() = default;

  /// Wall clock; jumps, and is wrong on devices whose clock died. Only for display and certificates.
  [[nodiscard]] virtual TimeStamp now() = 0;
  /// Never jumps; stands still while the machine is suspended; for time limits and rates.
  [[nodiscard]] virtual std::chrono::nanoseconds monotonic() = 0;
  /// Never jumps, also counts while suspended.
  [[nodiscard]] virtual std::chrono::nanoseconds since_boot() = 0;
  virtual void sleep(std::chrono::nanoseconds duration) = 0;
  /// Calls `task` from a thread of its own with pauses of `interval`, until the object goes. Nothing where a host has
  /// no threads (or the machine none to give): what matters must be done without them, too, only later.
  [[nodiscard]] virtual std::unique_ptr<Repetition> repeat(std::chrono::milliseconds interval,
                                                           const std::function<void()>& task) {
    static_cast<void>(interval);
    static_cast<void>(task);
    return nullptr;
  }
  /// How much the machine has worked up to now; nothing where it does not tell.
  [[nodiscard]] virtual std::optional<MachineWork> work_done() { return std::nullopt; }
  /// Of the calling thread, and of the threads and programs that it starts from now on. Returns what it was before.
  /// Errors: io_error (EPERM, EACCES: a priority is raised without the right to). Source: setpriority(2),
  /// ioprio_set(2).
  [[nodiscard]] virtual Result<Priority> set_priority(const Priority& wanted) { return wanted; }
  /// The kernel's boot_id: differs after every boot.
  [[nodiscard]] virtual Result<std::string> boot_id() = 0;
  [[nodiscard]] virtual Result<void> random(Bytes into) = 0;
  /// Asks a process to end (SIGTERM). Errors: io_error with ESRCH when there is none.
  [[nodiscard]] virtual Result<void> ask_to_end(int process) = 0;
  /// Runs a program in a session of its own, in "/", with no input, and ends the whole session when time is up. What
  /// the program leaves running when it ends by itself goes on; its output is no longer listened to.
  /// Errors: io_error when the program cannot be started (ENOENT, EACCES, ENOEXEC in os_errno).
  [[nodiscard]] virtual Result<ProcessOutcome> run(const ProcessRequest& request) = 0;
};

[[nodiscard]] std::unique_ptr<Host> make_posix_host();

}  // namespace slotkeeper::io
