#include "partitions/io/posix_block_devices.hpp"

#include <algorithm>
#include <charconv>
#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <boost/filesystem.hpp>

#include "partitions/io/posix_call.hpp"

namespace slotkeeper::io {
namespace {

namespace fs = boost::filesystem;

constexpr std::size_t kSysTextBytes = 4096;  // an attribute of /sys is at most one page

std::string number_text(std::uint64_t device) {
  return std::to_string(major(device)) + ":" + std::to_string(minor(device));
}

std::string sys_path(std::uint64_t device) { return "/sys/dev/block/" + number_text(device); }

bool exists(const std::string& path) {
  boost::system::error_code failure;
  return fs::exists(path, failure);
}

/// The entries of a folder of /sys, sorted; none when it does not exist.
Result<std::vector<std::string>> names_in(const std::string& path) {
  std::vector<std::string> names;
  boost::system::error_code failure;
  fs::directory_iterator entry(path, failure);
  while (!failure && entry != fs::directory_iterator()) {
    names.push_back(entry->path().filename().native());
    entry.increment(failure);
  }
  if (failure && failure.value() != ENOENT) return call_failed("listing", path, failure.value());
  std::sort(names.begin(), names.end());
  return names;
}

/// "8:1\n" as a device number.
std::optional<std::uint64_t> parse_number(std::string_view text) {
  unsigned int numbers[2] = {0, 0};
  const char* const end = text.data() + text.size();
  const auto first = std::from_chars(text.data(), end, numbers[0]);
  if (first.ec != std::errc() || first.ptr == end || *first.ptr != ':') return std::nullopt;
  if (std::from_chars(first.ptr + 1, end, numbers[1]).ec != std::errc()) return std::nullopt;
  return makedev(numbers[0], numbers[1]);
}

Result<std::uint64_t> number_in(Storage& storage, const std::string& path) {
  SK_TRY_ASSIGN(const std::string text, storage.read_text(path, kSysTextBytes));
  if (const auto number = parse_number(text)) return *number;
  return make_error(Errc::io_error, path + ": holds no device number");
}

/// The file below a loop device; nothing for any other device, or when it has none. Asked of the device itself, since
/// the path in /sys may belong to another mount namespace or be gone; by that path where the device cannot be opened.
Result<std::optional<FileKey>> file_below(Storage& storage, std::uint64_t device) {
  const std::string attribute = sys_path(device) + "/loop/backing_file";
  if (!exists(attribute)) return std::optional<FileKey>();
  const Descriptor opened = open_at(AT_FDCWD, "/dev/" + kernel_name(device), O_RDONLY | O_NONBLOCK, 0);
  struct loop_info64 facts {};
  if (opened.is_open() && ::ioctl(opened.number(), LOOP_GET_STATUS64, &facts) == 0) {
    return std::optional(FileKey{.device = facts.lo_device, .inode = facts.lo_inode});
  }
  SK_TRY_ASSIGN(std::string path, storage.read_text(attribute, kSysTextBytes));
  if (!path.empty() && path.back() == '\n') path.pop_back();
  struct stat file {};
  if (::stat(path.c_str(), &file) != 0) return call_failed("stat", path, errno);
  return std::optional(FileKey{.device = file.st_dev, .inode = file.st_ino});
}

}  // namespace

std::string block_member(std::uint64_t device) { return "block " + number_text(device); }

std::string file_member(const FileKey& file) {
  return "file " + std::to_string(file.device) + ":" + std::to_string(file.inode);
}

std::string kernel_name(std::uint64_t device) {
  boost::system::error_code failure;
  return fs::read_symlink(sys_path(device), failure).filename().native();
}

Result<void> add_block_device(Storage& storage, std::uint64_t device, std::vector<std::string>& backing) {
  const std::string member = block_member(device);
  // Seen before: also what ends a circle, should /sys ever show one.
  if (std::find(backing.begin(), backing.end(), member) != backing.end()) return success();
  backing.push_back(member);
  SK_TRY_ASSIGN(const std::optional<FileKey> file, file_below(storage, device));
  if (file) {
    const std::string below = file_member(*file);
    if (std::find(backing.begin(), backing.end(), below) == backing.end()) backing.push_back(below);
  }
  const std::string slaves = sys_path(device) + "/slaves";
  SK_TRY_ASSIGN(const std::vector<std::string> names, names_in(slaves));
  for (const std::string& slave : names) {
    SK_TRY_ASSIGN(const std::uint64_t number, number_in(storage, slaves + "/" + slave + "/dev"));
    SK_TRY(add_block_device(storage, number, backing));
  }
  return success();
}

Result<std::vector<std::string>> holders_of(std::uint64_t device) { return names_in(sys_path(device) + "/holders"); }

Result<std::vector<std::uint64_t>> partitions_of(Storage& storage, std::uint64_t device) {
  std::vector<std::uint64_t> partitions;
  const std::string own = sys_path(device);
  SK_TRY_ASSIGN(const std::vector<std::string> names, names_in(own));
  for (const std::string& entry : names) {
    if (!exists(own + "/" + entry + "/partition")) continue;
    SK_TRY_ASSIGN(const std::uint64_t number, number_in(storage, own + "/" + entry + "/dev"));
    partitions.push_back(number);
  }
  return partitions;
}

Result<std::vector<LoopDevice>> loop_devices(Storage& storage) {
  std::vector<LoopDevice> loops;
  SK_TRY_ASSIGN(const std::vector<std::string> names, names_in("/sys/block"));
  for (const std::string& entry : names) {
    if (!exists("/sys/block/" + entry + "/loop/backing_file")) continue;
    const Result<std::uint64_t> number = number_in(storage, "/sys/block/" + entry + "/dev");
    if (!number.has_value()) continue;  // taken away meanwhile
    Result<std::optional<FileKey>> file = file_below(storage, number.assume_value());
    // A loop device that is just being taken away, or whose file is out of reach, is not the one that is asked for.
    if (!file.has_value() || !file.assume_value()) continue;
    loops.push_back({.device = number.assume_value(), .name = entry, .backing = *file.assume_value()});
  }
  return loops;
}

}  // namespace slotkeeper::io
