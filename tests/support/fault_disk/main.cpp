// slotkeeper_fault_disk: serves files as disks that do what rules say. A test starts it; by hand, see README.md here.
#include <csignal>
#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <string>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include "tests/support/fault_disk/control.hpp"
#include "tests/support/fault_disk/fuse_server.hpp"

namespace slotkeeper::test {
namespace {

int usage() {
  std::fputs(
      "usage: slotkeeper_fault_disk serve MOUNT_POINT LOG SOCKET NAME=BACKING_FILE...\n"
      "       slotkeeper_fault_disk ask SOCKET QUESTION            (a question may have several lines)\n"
      "       slotkeeper_fault_disk show LOG\n",
      stderr);
  return 2;
}

int serve(const std::vector<std::string>& words) {
  std::vector<FaultModel::Disk> disks;
  for (std::size_t i = 3; i < words.size(); ++i) {
    const std::size_t equals = words[i].find('=');
    if (equals == std::string::npos) return usage();
    disks.push_back({words[i].substr(0, equals), words[i].substr(equals + 1)});
  }
  if (disks.empty()) return usage();
  // Whoever started this keeps the disks; without him nobody would take them away.
  if (::prctl(PR_SET_PDEATHSIG, SIGTERM) != 0) return 1;
  FaultModel model(disks, words[1]);
  const int listening = listen_for_control(words[2]);
  std::thread control([&] { serve_control(listening, model); });
  const bool served = serve_fuse(words[0], model, [] {
    std::puts("ready");
    std::fflush(stdout);
  });
  // A connection that is still open would be waited for without end.
  ::shutdown(listening, SHUT_RDWR);
  ::close(listening);
  control.detach();
  ::_exit(served ? 0 : 1);
}

int show(const std::string& path) {
  static const char* const kNames[] = {"?", "write", "discard", "flush", "lost-flush", "lost-write", "failed", "mark"};
  for (const LogRecord& record : read_disk_log(path)) {
    std::printf("%8llu disk %u %-10s %12llu +%llu %s\n", static_cast<unsigned long long>(record.sequence), record.disk,
                kNames[static_cast<std::size_t>(record.kind)], static_cast<unsigned long long>(record.offset),
                static_cast<unsigned long long>(record.length),
                record.kind == LogKind::mark ? record.data.c_str() : "");
  }
  return 0;
}

int run(const std::vector<std::string>& words) {
  if (words.size() >= 5 && words[0] == "serve") return serve({words.begin() + 1, words.end()});
  if (words.size() == 3 && words[0] == "ask") {
    std::puts(ControlConnection(words[1]).ask(words[2]).c_str());
    return 0;
  }
  if (words.size() == 2 && words[0] == "show") return show(words[1]);
  return usage();
}

}  // namespace
}  // namespace slotkeeper::test

int main(int argc, char** argv) {
  try {
    return slotkeeper::test::run({argv + 1, argv + argc});
  } catch (const std::exception& problem) {
    std::fprintf(stderr, "slotkeeper_fault_disk: %s\n", problem.what());
    return 1;
  }
}
