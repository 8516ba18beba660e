// Runs one update and prints what it took, as NAME=VALUE words on one line: wall time, processor time of all its
// processes, the largest resident set among them, what was read, written and flushed on the target, what was read from
// the source. The same for every program, whatever its processes do; the exit status is the command's.
//
// Usage: measure_update [--target DEVICE] [--source DEVICE] [--daemon PID]... [--events] -- COMMAND [ARGUMENT]...
//   --target, --source  block devices, of which the kernel's own counters are read
//   --daemon            a process that does work for COMMAND; its share is added
//   --events            COMMAND prints Slotkeeper's JSON lines; the time from the first of phase `stage` to the first
//   of
//                       phase `check` is printed, too
// What COMMAND says goes to standard error.
#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "measure_update: %s\n", what.c_str());
  std::exit(2);
}

/// Counters of a block device since it was made. Sectors have 512 bytes here, whatever the device's are.
struct Counters {
  std::uint64_t read_bytes = 0;
  std::uint64_t written_bytes = 0;
  std::uint64_t discarded_bytes = 0;
  std::uint64_t flushes = 0;
};

Counters counters_of(const std::string& device) {
  if (device.empty()) return {};
  // The fields are described in the kernel's Documentation/block/stat.rst.
  std::ifstream file("/sys/block/" + device.substr(device.rfind('/') + 1) + "/stat");
  const std::vector<std::uint64_t> fields{std::istream_iterator<std::uint64_t>(file), {}};
  if (fields.size() < 17) fail("no counters of " + device);
  return {.read_bytes = fields[2] * 512,
          .written_bytes = fields[6] * 512,
          .discarded_bytes = fields[13] * 512,
          .flushes = fields[15]};
}

double seconds_of(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
}

/// Processor time of a process and of those of its children that have ended.
double processor_seconds_of(const std::string& pid) {
  std::ifstream file("/proc/" + pid + "/stat");
  std::string line;
  std::getline(file, line);
  const auto name_end = line.rfind(')');  // the name may contain anything
  if (name_end == std::string::npos) fail("there is no process " + pid);
  std::istringstream rest(line.substr(name_end + 1));
  const std::vector<std::string> fields{std::istream_iterator<std::string>(rest), {}};
  std::uint64_t ticks = 0;
  for (const std::size_t field : {11U, 12U, 13U, 14U}) ticks += std::stoull(fields.at(field));
  return static_cast<double>(ticks) / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

long peak_kib_of(const std::string& pid) {
  std::ifstream file("/proc/" + pid + "/status");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("VmHWM:")) return std::atol(line.c_str() + 6);
  }
  return 0;
}

struct Usage {
  double processor_s = 0;
  long peak_kib = 0;
};

/// Waits for every process below this one, also for those whose parent has not.
Usage collect(pid_t command, int& command_status) {
  Usage usage;
  while (true) {
    int status = 0;
    rusage figures{};
    const pid_t ended = ::wait4(-1, &status, 0, &figures);
    if (ended < 0 && errno == EINTR) continue;
    if (ended < 0) return usage;
    if (ended == command) command_status = status;
    usage.processor_s += seconds_of(figures.ru_utime) + seconds_of(figures.ru_stime);
    usage.peak_kib = std::max(usage.peak_kib, figures.ru_maxrss);
  }
}

/// When staging began and ended, by the lines as they arrive.
class StageClock {
 public:
  void read(int descriptor) {
    std::string pending;
    std::array<char, 4096> buffer{};
    for (ssize_t count = 0; (count = ::read(descriptor, buffer.data(), buffer.size())) != 0;) {
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) break;
      pending.append(buffer.data(), static_cast<std::size_t>(count));
      for (auto end = pending.find('\n'); end != std::string::npos; end = pending.find('\n')) {
        take(pending.substr(0, end));
        pending.erase(0, end + 1);
      }
    }
  }
  [[nodiscard]] std::optional<double> seconds() const {
    if (!begin_ || !end_) return std::nullopt;
    return std::chrono::duration<double>(*end_ - *begin_).count();
  }

 private:
  void take(const std::string& line) {
    std::fprintf(stderr, "%s\n", line.c_str());
    if (!begin_ && line.find(R"("phase":"stage")") != std::string::npos) begin_ = Clock::now();
    if (!end_ && begin_ && line.find(R"("phase":"check")") != std::string::npos) end_ = Clock::now();
  }

  std::optional<Clock::time_point> begin_;
  std::optional<Clock::time_point> end_;
};

struct Request {
  std::string target;
  std::string source;
  std::vector<std::string> daemons;
  bool events = false;
  std::vector<char*> command;
};

Request parse(int count, char** words) {
  Request request;
  int i = 1;
  for (; i < count && std::string_view(words[i]) != "--"; ++i) {
    const std::string_view word = words[i];
    const auto value = [&] { return std::string(++i < count ? words[i] : ""); };
    if (word == "--target") {
      request.target = value();
    } else if (word == "--source") {
      request.source = value();
    } else if (word == "--daemon") {
      request.daemons.push_back(value());
    } else if (word == "--events") {
      request.events = true;
    } else {
      fail("unknown option " + std::string(word));
    }
  }
  for (++i; i < count; ++i) request.command.push_back(words[i]);
  if (request.command.empty()) fail("usage: measure_update [OPTIONS] -- COMMAND [ARGUMENT]...");
  request.command.push_back(nullptr);
  return request;
}

}  // namespace

int main(int count, char** words) {
  Request request = parse(count, words);
  // Orphans become children of this process, so that nothing an update does is left out.
  if (::prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) fail("prctl");
  std::array<int, 2> pipe{-1, -1};
  if (request.events && ::pipe(pipe.data()) != 0) fail("pipe");

  double daemons_s = 0;
  for (const auto& pid : request.daemons) daemons_s -= processor_seconds_of(pid);
  const Counters target_before = counters_of(request.target);
  const Counters source_before = counters_of(request.source);

  const auto begin = Clock::now();
  const pid_t command = ::fork();
  if (command < 0) fail("fork");
  if (command == 0) {
    ::dup2(request.events ? pipe[1] : STDERR_FILENO, STDOUT_FILENO);
    if (request.events) {
      ::close(pipe[0]);
      ::close(pipe[1]);
    }
    ::execvp(request.command[0], request.command.data());
    std::fprintf(stderr, "%s: %s\n", request.command[0], std::strerror(errno));
    ::_exit(127);
  }
  StageClock stage;
  if (request.events) {
    ::close(pipe[1]);
    stage.read(pipe[0]);
  }
  int status = 0;
  Usage usage = collect(command, status);
  const double wall_s = std::chrono::duration<double>(Clock::now() - begin).count();

  for (const auto& pid : request.daemons) {
    daemons_s += processor_seconds_of(pid);
    usage.peak_kib = std::max(usage.peak_kib, peak_kib_of(pid));
  }
  const Counters target = counters_of(request.target);
  const Counters source = counters_of(request.source);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    std::fprintf(stderr, "measure_update: %s failed\n", request.command[0]);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  std::printf("wall_s=%.4f cpu_s=%.4f peak_kib=%ld read=%ju written=%ju discarded=%ju flushes=%ju transferred=%ju",
              wall_s, usage.processor_s + daemons_s, usage.peak_kib, target.read_bytes - target_before.read_bytes,
              target.written_bytes - target_before.written_bytes,
              target.discarded_bytes - target_before.discarded_bytes, target.flushes - target_before.flushes,
              source.read_bytes - source_before.read_bytes);
  if (request.events) {
    if (!stage.seconds()) fail("the lines of the update tell no phase stage and check");
    std::printf(" stage_s=%.4f", *stage.seconds());
  }
  std::printf("\n");
  return 0;
}
