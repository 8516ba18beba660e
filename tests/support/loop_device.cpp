#include "tests/support/loop_device.hpp"

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "partitions/io/host.hpp"

namespace slotkeeper::test {
namespace {

/// Where a tool lies; root's folders are not in everybody's PATH.
std::string find_tool(const std::string& name) {
  for (const char* folder : {"/usr/sbin/", "/usr/bin/", "/sbin/", "/bin/"}) {
    if (::access((folder + name).c_str(), X_OK) == 0) return folder + name;
  }
  throw std::runtime_error(name + " is not installed");
}

}  // namespace

bool may_mount() { return ::geteuid() == 0 && ::access("/dev/loop-control", R_OK | W_OK) == 0; }

std::string run_tool(const std::vector<std::string>& command, std::chrono::milliseconds limit) {
  io::ProcessRequest request;
  request.executable = find_tool(command.at(0));
  request.arguments.assign(command.begin() + 1, command.end());
  request.time_limit = limit;
  auto outcome = io::make_posix_host()->run(request);
  if (!outcome.has_value()) throw std::runtime_error(outcome.assume_error().message);
  const io::ProcessOutcome& ended = outcome.assume_value();
  if (ended.timed_out) throw std::runtime_error(command.at(0) + " did not end in time: " + ended.standard_error);
  if (ended.exit_status != 0) throw std::runtime_error(command.at(0) + " failed: " + ended.standard_error);
  return ended.standard_output;
}

LoopDevice::LoopDevice(const std::string& file, bool partitions) {
  std::vector<std::string> command = {"losetup", "--find", "--show"};
  if (partitions) command.emplace_back("--partscan");
  command.push_back(file);
  // Between finding a free number and taking it another process may be faster.
  constexpr int kTries = 20;
  for (int attempt = 1; path_.empty(); ++attempt) {
    try {
      path_ = run_tool(command);
    } catch (const std::runtime_error&) {
      if (attempt == kTries) throw;
    }
  }
  while (!path_.empty() && path_.back() == '\n') path_.pop_back();
}

LoopDevice::~LoopDevice() {
  try {
    run_tool({"losetup", "--detach", path_});
  } catch (const std::runtime_error& failure) {
    std::fprintf(stderr, "%s stays attached: %s\n", path_.c_str(), failure.what());
  }
}

MountedFilesystem::MountedFilesystem(const std::string& device, const std::string& mount_point,
                                     const std::string& options)
    : mount_point_(mount_point) {
  ::mkdir(mount_point.c_str(), 0755);
  std::vector<std::string> command = {"mount"};
  if (!options.empty()) command.insert(command.end(), {"-o", options});
  command.insert(command.end(), {device, mount_point});
  run_tool(command);
}

MountedFilesystem::~MountedFilesystem() {
  if (::umount(mount_point_.c_str()) == 0) return;
  std::fprintf(stderr, "%s was still in use and is detached lazily\n", mount_point_.c_str());
  if (::umount2(mount_point_.c_str(), MNT_DETACH) != 0)
    std::fprintf(stderr, "%s stays mounted\n", mount_point_.c_str());
}

void make_file(const std::string& path, std::uint64_t size_bytes) {
  std::ofstream(path, std::ios::binary).close();
  std::filesystem::resize_file(path, size_bytes);
}

void make_ext4(const std::string& path, std::uint64_t size_bytes, unsigned int reserved_percent) {
  make_file(path, size_bytes);
  run_tool({"mkfs.ext4", "-q", "-F", "-b", "1024", "-m", std::to_string(reserved_percent), path});
}

}  // namespace slotkeeper::test
