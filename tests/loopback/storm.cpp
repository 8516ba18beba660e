#include "tests/loopback/storm.hpp"

#include <chrono>
#include <csignal>
#include <cstdio>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace slotkeeper::test {
namespace {

volatile std::sig_atomic_t stopped = 0;

void write_log(const std::string& permanent, const std::string& log, std::uint64_t bytes_per_s, int report) {
  std::signal(SIGTERM, [](int) { stopped = 1; });
  const std::string reserve = permanent + "/.slotkeeper/reserve";
  const int file = ::open((permanent + "/" + log).c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
  WriterReport result;
  result.failed = file < 0;
  const auto began = std::chrono::steady_clock::now();
  std::string lines;
  for (std::uint64_t number = 1; stopped == 0 && !result.failed;) {
    lines.clear();
    while (lines.size() < 16 * 1024) lines += "line " + std::to_string(number++) + " of a storm\n";
    const ssize_t count = ::write(file, lines.data(), lines.size());
    if (count > 0) result.written_bytes += static_cast<std::uint64_t>(count);
    if (count != static_cast<ssize_t>(lines.size())) {
      struct stat status {};
      result.reserve_was_there_at_failure = ::stat(reserve.c_str(), &status) == 0;
      result.failed = true;
    }
    if (bytes_per_s == 0) continue;
    const auto due = began + std::chrono::microseconds(result.written_bytes * 1'000'000 / bytes_per_s);
    if (stopped == 0) std::this_thread::sleep_until(due);
  }
  if (::write(report, &result, sizeof result) != sizeof result) ::_exit(1);
  ::_exit(0);
}

}  // namespace

LogWriter::LogWriter(const std::string& permanent, const std::string& log, std::uint64_t bytes_per_s)
    : log_(permanent + "/" + log) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("no pipe");
  process_ = ::fork();
  if (process_ < 0) throw std::runtime_error("no process");
  if (process_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    write_log(permanent, log, bytes_per_s, ends[1]);
  }
  ::close(ends[1]);
  report_ = ends[0];
}

LogWriter::~LogWriter() {
  if (process_ > 0) {
    ::kill(process_, SIGKILL);
    ::waitpid(process_, nullptr, 0);
  }
  ::close(report_);
}

WriterReport LogWriter::read_report() {
  WriterReport result;
  if (::read(report_, &result, sizeof result) != sizeof result) throw std::runtime_error("the writer left no report");
  ::waitpid(process_, nullptr, 0);
  process_ = -1;
  return result;
}

void LogWriter::wait_until_it_writes() const {
  for (int attempt = 0; attempt < 3000; ++attempt) {
    std::error_code failure;
    const auto size = std::filesystem::file_size(log_, failure);
    if (!failure && size > 0) return;
    ::usleep(10'000);
  }
  throw std::runtime_error("the writer does not write");
}

WriterReport LogWriter::stop() {
  ::kill(process_, SIGTERM);
  return read_report();
}

WriterReport LogWriter::wait_for_failure() { return read_report(); }

}  // namespace slotkeeper::test
