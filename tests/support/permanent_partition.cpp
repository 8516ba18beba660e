#include "tests/support/permanent_partition.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <iterator>
#include <random>
#include <stdexcept>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

namespace slotkeeper::test {
namespace {

void check(int outcome, const std::string& what) {
  if (outcome != 0) throw std::runtime_error(what + ": " + std::strerror(errno));
}

}  // namespace

permanent::ClassTable usual_classes() {
  using permanent::ClassKind;
  return {.rules = {
              {.name = "security", .kind = ClassKind::security_log, .match = {"log/security/**"}, .keep_days = 180},
              {.name = "system", .kind = ClassKind::log, .match = {"log/**", "**/*.log"}, .keep_days = 180},
              {.name = "leases", .kind = ClassKind::state, .match = {"state/**"}, .keep_days = {}},
              {.name = "spool", .kind = ClassKind::disposable, .match = {"spool/**"}, .keep_days = {}},
          }};
}

bool is_restored(const std::string& path) {
  const auto below = [&](const std::string& top) { return path == top || path.starts_with(top + "/"); };
  return !below("log") && !below("spool") && !below(".slotkeeper") && !below("lost+found") && !path.ends_with(".log");
}

PermanentPartition::PermanentPartition(const Ext4Options& options) : storage_(io::make_posix_storage()) {
  make_file(image(), options.size_bytes);
  std::vector<std::string> command = {"mkfs.ext4", "-q", "-F", "-b", std::to_string(options.block_bytes)};
  command.insert(command.end(), {"-m", std::to_string(options.reserved_percent)});
  command.insert(command.end(), {"-I", std::to_string(options.inode_bytes)});
  if (!options.features.empty()) command.insert(command.end(), {"-O", options.features});
  if (options.inodes != 0) command.insert(command.end(), {"-N", std::to_string(options.inodes)});
  command.push_back(image());
  run_tool(command);
  device_.emplace(image());
  mount_.emplace(device_->path(), folder_ / "mount");
}

PermanentPartition::PermanentPartition(const OtherFilesystem& other)
    : copy_options_(other.name == "xfs" ? "nouuid" : ""), storage_(io::make_posix_storage()) {
  make_file(image(), other.size_bytes);
  std::vector<std::string> command = {"mkfs." + other.name, "-q", "-f"};
  command.insert(command.end(), other.arguments.begin(), other.arguments.end());
  command.push_back(image());
  run_tool(command);
  device_.emplace(image());
  mount_.emplace(device_->path(), folder_ / "mount");
}

PermanentPartition::PermanentPartition(const ImageOf& original)
    : copy_options_(original.mount_options), storage_(io::make_posix_storage()) {
  run_tool({"cp", "--sparse=always", original.path, image()});
  device_.emplace(image());
  mount_.emplace(device_->path(), folder_ / "mount", copy_options_);
}

std::unique_ptr<PermanentPartition> PermanentPartition::after_power_cut() const {
  return std::unique_ptr<PermanentPartition>(
      new PermanentPartition(ImageOf{.path = image(), .mount_options = copy_options_}));
}

std::unique_ptr<io::Directory> PermanentPartition::open() {
  auto opened = storage_->open_directory(path());
  if (!opened.has_value()) throw std::runtime_error(opened.assume_error().message);
  return std::move(opened).assume_value();
}

void put_file(const std::string& path, const std::string& contents) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << contents << std::flush;
  if (!out) throw std::runtime_error("cannot write " + path);
}

void append_file(const std::string& path, const std::string& contents) {
  std::ofstream out(path, std::ios::binary | std::ios::app);
  out << contents << std::flush;
  if (!out) throw std::runtime_error("cannot write " + path);
}

void put_attribute(const std::string& path, const std::string& name, const std::string& value) {
  check(::lsetxattr(path.c_str(), name.c_str(), value.data(), value.size(), 0), "setxattr " + name + " of " + path);
}
void drop_attribute(const std::string& path, const std::string& name) {
  check(::lremovexattr(path.c_str(), name.c_str()), "removexattr " + name + " of " + path);
}

void put_time(const std::string& path, std::int64_t seconds, std::int64_t nanoseconds) {
  const struct timespec times[2] = {{.tv_sec = seconds, .tv_nsec = nanoseconds},
                                    {.tv_sec = seconds, .tv_nsec = nanoseconds}};
  check(::utimensat(AT_FDCWD, path.c_str(), times, AT_SYMLINK_NOFOLLOW), "utimensat of " + path);
}

std::string noise(std::size_t size, std::uint64_t seed) {
  std::mt19937_64 generator(seed);
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>(generator());
  return bytes;
}

void fill_bytes(const std::string& folder) {
  const std::string block(64 * 1024, 'x');
  // Large pieces first, then single bytes in new files until not even one more has room.
  const int file = ::open((folder + "/filler").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (file < 0) throw std::runtime_error("cannot make the filler");
  for (std::size_t piece = block.size(); piece > 0;) {
    if (::write(file, block.data(), piece) == static_cast<ssize_t>(piece)) continue;
    ::fsync(file);
    piece = piece > 1 ? piece / 4 : 0;
  }
  ::fsync(file);
  ::close(file);
}

void fill_inodes(const std::string& folder) {
  for (int number = 0;; ++number) {
    const int file = ::open((folder + "/" + std::to_string(number)).c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (file < 0 && errno == ENOSPC) return;
    if (file < 0) throw std::runtime_error("cannot make a filler");
    ::close(file);
  }
}

bool is_full(const std::string& file) {
  const int opened = ::open(file.c_str(), O_WRONLY | O_CLOEXEC | O_APPEND);
  if (opened < 0) throw std::runtime_error("cannot open " + file);
  const std::string block(4096, 'x');
  const bool full = ::write(opened, block.data(), block.size()) < static_cast<ssize_t>(block.size());
  ::fsync(opened);
  ::close(opened);
  return full;
}

void make_zoo(const std::string& root) {
  const auto at = [&](const std::string& path) { return root + "/" + path; };
  const auto folder = [&](const std::string& path, mode_t mode) {
    check(::mkdir(at(path).c_str(), 0700), path);
    check(::chmod(at(path).c_str(), mode), path);
  };
  folder("etc", 0755);
  folder("etc/private", 0700);
  folder("etc/shared", 03775);  // set-group-id and sticky
  folder("state", 0755);
  folder("log", 0755);
  folder("log/security", 0750);
  folder("spool", 0755);
  put_file(at("etc/empty"), "");
  put_file(at("etc/small"), "address = 192.0.2.1\n");
  put_file(at("etc/big"), noise(1024 * 1024 + 123, 1));
  put_file(at("etc/private/key"), noise(300, 2));
  check(::chmod(at("etc/private/key").c_str(), 0400), "key");
  put_file(at("etc/tool"), "#!/bin/sh\n");
  check(::lchown(at("etc/tool").c_str(), 1234, 5678), "tool");
  check(::chmod(at("etc/tool").c_str(), 06755), "tool");
  put_file(at("etc/sparse"), "begin");
  check(::truncate(at("etc/sparse").c_str(), 300'000), "sparse");
  put_file(at("etc/linked-a"), "two names\n");
  check(::link(at("etc/linked-a").c_str(), at("etc/linked-b").c_str()), "linked-b");
  check(::link(at("etc/linked-a").c_str(), at("state/linked-c").c_str()), "linked-c");
  check(::symlink("../nowhere/at/all", at("etc/dangling").c_str()), "dangling");
  check(::symlink(std::string(200, 'l').c_str(), at("etc/long-link").c_str()), "long-link");
  check(::lchown(at("etc/dangling").c_str(), 7, 8), "dangling");
  check(::mkfifo(at("etc/fifo").c_str(), 0640), "fifo");
  check(::mknod(at("etc/null").c_str(), S_IFCHR | 0666, makedev(1, 3)), "null");
  check(::mknod(at("etc/block").c_str(), S_IFBLK | 0600, makedev(259, 70000)), "block");
  check(::mknod(at("etc/socket").c_str(), S_IFSOCK | 0600, 0), "socket");
  put_file(at("etc/attributes"), "with attributes");
  put_attribute(at("etc/attributes"), "user.origin", "factory");
  put_attribute(at("etc/attributes"), "user.empty", "");
  put_attribute(at("etc/attributes"), "user.odd=name %41\n", std::string("\0\xff=\n", 4));
  put_attribute(at("etc/attributes"), "trusted.seal", noise(200, 3));
  put_attribute(at("etc/dangling"), "trusted.link", "on a link");
  put_attribute(at("etc/private"), "user.directory", "yes");
  run_tool({"setfacl", "-m", "u:4711:rw,g:4712:r", at("etc/small")});
  run_tool({"setfacl", "-d", "-m", "u:4711:rwx", at("etc/shared")});
  put_file(at("etc/shared/inherited"), "got its access list from above");
  std::string deep = "etc/deep";
  for (int level = 0; level < 40; ++level) {
    folder(deep, 0755);
    deep += "/level-" + std::to_string(level);
  }
  put_file(at("etc/deep/level-0/level-1/leaf"), "leaf");
  folder("etc/names", 0755);
  for (int byte = 1; byte < 256; ++byte) {
    if (byte != '/') put_file(at("etc/names/n") + static_cast<char>(byte) + "n", std::to_string(byte));
  }
  put_file(at("etc/names/ and -- spaces "), "spaces");
  put_file(at("etc/names/") + std::string(255, 'w'), "widest");
  put_file(at("-first"), "sorts before the root's name");
  put_file(at("state/leases.db"), noise(5000, 4));
  put_file(at("log/system.log"), "log 1\n");
  put_file(at("log/security/audit"), "audit 1\n");
  put_file(at("etc/trace.log"), "trace 1\n");
  put_file(at("spool/old-package"), noise(40'000, 5));
  for (const char* path : {"etc/small", "etc/big", "etc/dangling", "etc/fifo", "etc/linked-a"}) {
    put_time(at(path), 1'234'567'890, 123'456'789);
  }
  put_time(at("etc/empty"), -86'400, 500'000'001);  // before 1970, and not on a whole second
  put_time(at("etc/tool"), 4'294'967'296, 1);       // after 2106
  put_time(at("etc/deep"), 1'000'000'000, 999'999'999);
}

}  // namespace slotkeeper::test
