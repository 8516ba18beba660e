#include "partitions/io/posix_process.hpp"

#include <array>
#include <charconv>
#include <csignal>
#include <dirent.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <optional>
#include <poll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <climits>

#include "partitions/io/posix_call.hpp"
#include "partitions/io/posix_pipe.hpp"

namespace slotkeeper::io {
namespace {

using Clock = std::chrono::steady_clock;

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> result;
  result.reserve(texts.size() + 1);
  for (std::string& text : texts) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

/// Ours with the added variables in place of those of the same name.
std::vector<std::string> merged_environment(const std::vector<std::string>& added) {
  std::vector<std::string> merged = added;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    const std::string_view name = text.substr(0, text.find('=') + 1);
    const auto replaces = [&](const std::string& other) { return other.compare(0, name.size(), name) == 0; };
    bool replaced = false;
    for (const std::string& other : added) replaced = replaced || replaces(other);
    if (!replaced) merged.emplace_back(text);
  }
  return merged;
}

/// All that the child needs, made before the fork.
struct ChildPlan {
  const char* executable;
  char* const* arguments;
  char* const* environment;
  int input;
  int output;
  int error_output;
  int report;  ///< takes the errno when the program cannot be started
};

/// Runs in the child: calls that are safe after a fork of a threaded program only.
[[noreturn]] void become(const ChildPlan& plan) {
  ::setsid();
  for (int number = 1; number < NSIG; ++number) ::signal(number, SIG_DFL);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  const bool ready = ::dup2(plan.input, STDIN_FILENO) >= 0 && ::dup2(plan.output, STDOUT_FILENO) >= 0 &&
                     ::dup2(plan.error_output, STDERR_FILENO) >= 0 && ::chdir("/") == 0;
  if (ready) {
    // Ours all close on exec; this is for those that a library forgot. A kernel without it leaves them open.
    ::syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC);
    ::execve(plan.executable, plan.arguments, plan.environment);
  }
  const int failure = errno;
  if (::write(plan.report, &failure, sizeof failure) != sizeof failure) ::_exit(126);
  ::_exit(127);
}

/// Session of a process, from the sixth field of /proc/PID/stat; the second is in brackets and may hold anything.
std::optional<pid_t> session_of(const char* process) {
  const Descriptor opened = open_at(AT_FDCWD, std::string("/proc/") + process + "/stat", O_RDONLY, 0);
  std::array<char, 1024> buffer{};
  if (!opened.is_open()) return std::nullopt;
  const ssize_t count = ::read(opened.number(), buffer.data(), buffer.size());
  if (count <= 0) return std::nullopt;
  const std::string_view text(buffer.data(), static_cast<std::size_t>(count));
  std::size_t position = text.rfind(')');
  // ") S PPID PGRP SESSION": the state, the parent and the group are skipped.
  for (int field = 0; field < 4 && position != std::string_view::npos; ++field) position = text.find(' ', position + 1);
  if (position == std::string_view::npos || text.size() < 2 || text[text.rfind(')') + 2] == 'Z') return std::nullopt;
  pid_t session = 0;
  const char* const end = text.data() + text.size();
  if (std::from_chars(text.data() + position + 1, end, session).ec != std::errc()) return std::nullopt;
  return session;
}

/// Kills every living process of the session; true when there was none.
bool kill_members(pid_t session) {
  DIR* const folder = ::opendir("/proc");
  if (folder == nullptr) return true;
  bool none = true;
  while (const struct dirent* const entry = ::readdir(folder)) {
    if (entry->d_name[0] < '0' || entry->d_name[0] > '9') continue;
    if (session_of(entry->d_name) != session) continue;
    none = false;
    ::kill(static_cast<pid_t>(std::strtol(entry->d_name, nullptr, 10)), SIGKILL);
  }
  ::closedir(folder);
  return none;
}

/// The leader must not have been reaped yet, so that its number still means this session.
void kill_session(pid_t leader) {
  ::kill(-leader, SIGKILL);
  // Members may have groups of their own, or fork while we look; each round leaves fewer that could.
  constexpr int kRounds = 100;
  for (int round = 0; round < kRounds && !kill_members(leader); ++round) ::sched_yield();
}

/// One of the two outputs of a running program.
struct Capture {
  Descriptor pipe;
  std::string text;
  std::size_t limit;

  /// Takes what is there, but not for ever from a program that never stops; the pipe is closed at its end.
  void drain() {
    std::array<char, 16384> buffer{};
    constexpr int kReads = 64;  // 1 MiB: what the largest pipe of an ordinary user holds
    for (int round = 0; round < kReads && pipe.is_open(); ++round) {
      const ssize_t count = uninterrupted([&] { return ::read(pipe.number(), buffer.data(), buffer.size()); });
      if (count < 0 && errno == EAGAIN) return;
      if (count <= 0) {
        pipe = Descriptor();
        return;
      }
      text.append(buffer.data(), std::min(static_cast<std::size_t>(count), limit - text.size()));
    }
  }
};

int milliseconds_until(std::optional<Clock::time_point> deadline) {
  if (!deadline) return -1;
  const auto rest = std::chrono::ceil<std::chrono::milliseconds>(*deadline - Clock::now()).count();
  return static_cast<int>(std::clamp<std::chrono::milliseconds::rep>(rest, 0, INT_MAX));
}

/// Reads both outputs until the program itself has ended; what it left running may keep the pipes open.
/// False when the deadline came first.
Result<bool> watch(const Descriptor& process, Capture& output, Capture& errors,
                   std::optional<Clock::time_point> deadline, const std::string& executable) {
  for (;;) {
    std::array<struct pollfd, 3> waits = {{{.fd = process.number(), .events = POLLIN, .revents = 0},
                                           {.fd = output.pipe.number(), .events = POLLIN, .revents = 0},
                                           {.fd = errors.pipe.number(), .events = POLLIN, .revents = 0}}};
    const int ready = ::poll(waits.data(), waits.size(), milliseconds_until(deadline));
    if (ready < 0 && errno != EINTR) return call_failed("poll", executable, errno);
    if (ready > 0) {
      output.drain();
      errors.drain();
      if (waits[0].revents != 0) return true;
    }
    if (deadline && Clock::now() >= *deadline) return false;
  }
}

Result<int> reap(pid_t child, const std::string& executable) {
  int status = 0;
  if (uninterrupted([&] { return ::waitpid(child, &status, 0); }) < 0) {
    return call_failed("waitpid", executable, errno);
  }
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/// Starts the program; what is returned has to be reaped.
Result<pid_t> start(const ProcessRequest& request, Pipe& output, Pipe& errors) {
  SK_TRY_ASSIGN(Pipe report, make_pipe(request.executable));
  const Descriptor input = lifted(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (!input.is_open()) return call_failed("open of /dev/null", request.executable, errno);
  std::vector<std::string> arguments = request.arguments;
  arguments.insert(arguments.begin(), request.executable);
  std::vector<std::string> environment = merged_environment(request.environment);
  const std::vector<char*> argument_pointers = pointers(arguments);
  const std::vector<char*> environment_pointers = pointers(environment);
  const ChildPlan plan{.executable = request.executable.c_str(),
                       .arguments = argument_pointers.data(),
                       .environment = environment_pointers.data(),
                       .input = input.number(),
                       .output = output.write_end.number(),
                       .error_output = errors.write_end.number(),
                       .report = report.write_end.number()};
  // Held back until the child has its default handlers: one of ours must not run in the child.
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  const pid_t child = ::fork();
  if (child == 0) become(plan);
  const int fork_failure = errno;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (child < 0) return call_failed("fork", request.executable, fork_failure);

  output.write_end = Descriptor();
  errors.write_end = Descriptor();
  report.write_end = Descriptor();
  int failure = 0;
  const ssize_t told = uninterrupted([&] { return ::read(report.read_end.number(), &failure, sizeof failure); });
  if (told == 0) return child;  // closed by a successful exec
  SK_TRY(reap(child, request.executable));
  return call_failed("start", request.executable, told == sizeof failure ? failure : EIO);
}

}  // namespace

Result<ProcessOutcome> run_process(const ProcessRequest& request) {
  const auto begin = Clock::now();
  SK_TRY_ASSIGN(Pipe output, make_pipe(request.executable));
  SK_TRY_ASSIGN(Pipe errors, make_pipe(request.executable));
  SK_TRY_ASSIGN(const pid_t child, start(request, output, errors));

  Capture captured{.pipe = std::move(output.read_end), .text = {}, .limit = request.output_limit_bytes};
  Capture complaints{.pipe = std::move(errors.read_end), .text = {}, .limit = request.output_limit_bytes};
  const Descriptor process(static_cast<int>(::syscall(SYS_pidfd_open, child, 0)));
  const bool ready = process.is_open() && ::fcntl(captured.pipe.number(), F_SETFL, O_NONBLOCK) == 0 &&
                     ::fcntl(complaints.pipe.number(), F_SETFL, O_NONBLOCK) == 0;
  std::optional<Clock::time_point> deadline;
  if (request.time_limit > std::chrono::milliseconds::zero()) deadline = begin + request.time_limit;
  const int not_ready = errno;
  const Result<bool> ended = ready ? watch(process, captured, complaints, deadline, request.executable)
                                   : call_failed("pidfd_open", request.executable, not_ready);
  const bool killed = !ended.has_value() || !ended.assume_value();
  if (killed) kill_session(child);
  SK_TRY_ASSIGN(const int status, reap(child, request.executable));
  SK_TRY(ended);
  captured.drain();
  complaints.drain();
  return ProcessOutcome{.exit_status = status,
                        .timed_out = killed,
                        .standard_output = std::move(captured.text),
                        .standard_error = std::move(complaints.text)};
}

}  // namespace slotkeeper::io
