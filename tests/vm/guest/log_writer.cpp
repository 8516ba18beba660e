// The log service of the firmware in the virtual machine: one numbered line with a checksum after the other, each of
// them synced before it says "SK: log N" on its standard output. What was said must survive every power cut.
//
//   log-writer rotated FOLDER NAME SEGMENTS BYTES   a log of rotated segments, as left by years of service
//   log-writer write FOLDER NAME PAUSE-MS           goes on behind the last whole line until it gets SIGTERM
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <string>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/log_service.hpp"

namespace {

volatile std::sig_atomic_t asked_to_end = 0;

int fail(const std::string& what) {
  std::printf("SK: trouble: log service: %s: %s\n", what.c_str(), std::strerror(errno));
  return 1;
}

/// How long the log is up to the end of its last whole line, and the number of that line; what is behind it was cut off
/// while it was written and never said to be there.
struct LogEnd {
  off_t bytes = 0;
  std::uint64_t line = 0;
};

LogEnd end_of(const std::string& contents) {
  const std::size_t newline = contents.rfind('\n');
  if (newline == std::string::npos) return {};
  const std::size_t before = newline == 0 ? std::string::npos : contents.rfind('\n', newline - 1);
  const std::size_t begin = before == std::string::npos ? 0 : before + 1;
  return {.bytes = static_cast<off_t>(newline + 1), .line = std::stoull(contents.substr(begin, 9))};
}

std::string read_all(int file) {
  std::string contents;
  char buffer[65536];
  for (ssize_t count = 0; (count = ::read(file, buffer, sizeof buffer)) > 0;) {
    contents.append(buffer, static_cast<std::size_t>(count));
  }
  return contents;
}

int write_log(const std::string& folder, const std::string& name, unsigned int pause_ms) {
  const std::string path = folder + "/" + name + ".log";
  const int file = ::open(path.c_str(), O_RDWR | O_APPEND | O_CLOEXEC);
  if (file < 0) return fail("open");
  const LogEnd end = end_of(read_all(file));
  if (::ftruncate(file, end.bytes) != 0) return fail("truncate");
  std::printf("SK: log starts behind %llu\n", static_cast<unsigned long long>(end.line));
  std::uint64_t line = end.line;
  while (asked_to_end == 0) {
    const std::string text = slotkeeper::test::service_log_line(line + 1, name);
    if (::write(file, text.data(), text.size()) != static_cast<ssize_t>(text.size())) return fail("write");
    if (::fsync(file) != 0) return fail("fsync");
    std::printf("SK: log %llu\n", static_cast<unsigned long long>(++line));
    ::usleep(pause_ms * 1000);
  }
  if (::close(file) != 0) return fail("close");
  std::printf("SK: log ends with %llu\n", static_cast<unsigned long long>(line));
  return 0;
}

}  // namespace

int main(int count, char** words) {
  std::setvbuf(stdout, nullptr, _IOLBF, 4096);
  const std::string verb = count > 3 ? words[1] : "";
  if (verb == "rotated" && count == 6) {
    return slotkeeper::test::write_rotated_log(words[2], words[3], std::stoull(words[4]), std::stoull(words[5])) > 0
               ? 0
               : 1;
  }
  if (verb == "write" && count == 5) {
    struct sigaction action {};
    action.sa_handler = [](int) { asked_to_end = 1; };
    ::sigaction(SIGTERM, &action, nullptr);
    return write_log(words[2], words[3], static_cast<unsigned int>(std::stoul(words[4])));
  }
  std::fprintf(stderr, "usage: log-writer rotated FOLDER NAME SEGMENTS BYTES | write FOLDER NAME PAUSE-MS\n");
  return 2;
}
