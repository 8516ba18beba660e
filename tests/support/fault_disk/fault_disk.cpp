#include "tests/support/fault_disk/fault_disk.hpp"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdexcept>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/fault_disk/image_files.hpp"

namespace slotkeeper::test {
namespace {

constexpr int kUnmountTries = 1000;  // of 5 ms: the kernel lets go of a loop device's file a moment after its last user

[[noreturn]] void become(std::vector<std::string>& command, int output) {
  std::vector<char*> arguments;
  for (std::string& word : command) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  if (::dup2(output, 1) == 1) ::execv(arguments[0], arguments.data());
  ::_exit(127);
}

std::vector<std::uint64_t> numbers_in(std::string_view list) {
  std::vector<std::uint64_t> numbers;
  for (std::size_t at = 0; at < list.size();) {
    const std::size_t comma = list.find(',', at);
    if (comma == std::string_view::npos) break;
    numbers.push_back(std::stoull(std::string(list.substr(at, comma - at))));
    at = comma + 1;
  }
  return numbers;
}

}  // namespace

FaultDisk::FaultDisk(const std::vector<Disk>& disks) {
  ::mkdir((folder_ / "served").c_str(), 0755);
  for (const Disk& disk : disks) copy_image(disk.image, backing_file(disk.name));
  start_server(disks);
  try {
    control_.emplace(folder_ / "control");
    for (const Disk& disk : disks) loops_[disk.name] = std::make_unique<DirectLoop>(file(disk.name));
  } catch (...) {
    loops_.clear();
    stop_server();
    throw;
  }
}

FaultDisk::~FaultDisk() {
  try {
    heal();
  } catch (const std::runtime_error& problem) {
    std::fprintf(stderr, "%s\n", problem.what());
  }
  loops_.clear();
  stop_server();
}

void FaultDisk::start_server(const std::vector<Disk>& disks) {
  std::vector<std::string> command = {SLOTKEEPER_FAULT_DISK_PROGRAM, "serve", folder_ / "served", log_file(),
                                      folder_ / "control"};
  for (const Disk& disk : disks) command.push_back(disk.name + "=" + backing_file(disk.name));
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("no pipe for the fault disk");
  server_ = ::fork();
  if (server_ == 0) become(command, ends[1]);
  ::close(ends[1]);
  char word[8] = {};
  const ssize_t length = server_ > 0 ? ::read(ends[0], word, sizeof word) : -1;
  ::close(ends[0]);
  if (length <= 0) {
    stop_server();
    throw std::runtime_error("the fault disk did not start");
  }
}

void FaultDisk::stop_server() {
  control_.reset();
  if (server_ <= 0) return;
  const std::string served = folder_ / "served";
  int attempt = 0;
  while (::umount(served.c_str()) != 0 && errno == EBUSY && ++attempt < kUnmountTries) ::usleep(5000);
  if (attempt == kUnmountTries) {
    std::fprintf(stderr, "%s was still in use and is detached lazily\n", served.c_str());
    ::umount2(served.c_str(), MNT_DETACH);
    ::kill(server_, SIGKILL);
  }
  int status = 0;
  while (::waitpid(server_, &status, 0) < 0 && errno == EINTR) continue;
  server_ = -1;
  if (status != 0) std::fprintf(stderr, "the fault disk ended with status %d\n", status);
}

const std::string& FaultDisk::path(const std::string& disk) const { return loops_.at(disk)->path(); }
std::string FaultDisk::file(const std::string& disk) const { return (folder_ / "served/") + disk; }
std::string FaultDisk::backing_file(const std::string& disk) const { return (folder_ / "backing-") + disk; }

void FaultDisk::set_rules(const std::vector<FaultRule>& rules) {
  if (!control_) throw std::runtime_error("the fault disk is gone");
  control_->ask("rules\n" + print_rules(rules));
}

DiskCounters FaultDisk::counters() {
  const std::string answer = control_->ask("counters");
  return {.position = number_named(answer, "position"),
          .reads = number_named(answer, "reads"),
          .writes = number_named(answer, "writes"),
          .flushes = number_named(answer, "flushes"),
          .discards = number_named(answer, "discards"),
          .struck = numbers_in(answer.substr(answer.find("struck=") + 7))};
}

void FaultDisk::forget_caches() {
  for (const auto& [name, loop] : loops_) {
    if (::ioctl(loop->descriptor(), BLKFLSBUF) != 0) throw std::runtime_error("cannot drop the cache of " + name);
  }
}

std::uint64_t FaultDisk::mark(const std::string& text) {
  return number_named(control_->ask("mark " + text), "position");
}

}  // namespace slotkeeper::test
