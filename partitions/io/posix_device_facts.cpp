#include "partitions/io/posix_device_facts.hpp"

#include <algorithm>
#include <charconv>
#include <fcntl.h>
#include <sstream>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <boost/filesystem.hpp>

#include "partitions/io/posix_block_devices.hpp"
#include "partitions/io/posix_call.hpp"
#include "partitions/io/posix_disk_health.hpp"
#include "partitions/io/posix_mounts.hpp"

namespace slotkeeper::io {
namespace {

constexpr std::size_t kProcTextBytes = std::size_t{4} << 20U;
constexpr int kOverlayDepth = 8;  // the kernel stacks two; the rest is for bind mounts between

enum class Layers : std::uint8_t { lower_only, all };

Result<struct stat> facts_of(const std::string& path) {
  struct stat facts {};
  if (::stat(path.c_str(), &facts) != 0) return call_failed("stat", path, errno);
  return facts;
}

/// What a path that the kernel mentioned leads to, if anything.
std::optional<struct stat> facts_if_any(const std::string& path) {
  struct stat facts {};
  if (path.empty() || path.front() != '/' || ::stat(path.c_str(), &facts) != 0) return std::nullopt;
  return facts;
}

bool is_below(const std::string& path, const std::string& folder) {
  if (folder == "/" || path == folder) return true;
  return path.size() > folder.size() && path.compare(0, folder.size(), folder) == 0 && path[folder.size()] == '/';
}

/// The mount on which a path lies: the longest mount point above it, the latest of equal ones, and, where the
/// filesystem is listed at all, one of that filesystem.
Result<std::optional<MountEntry>> mount_of(Storage& storage, const std::string& path, std::uint64_t device) {
  boost::system::error_code failure;
  const std::string full = boost::filesystem::canonical(path, failure).native();
  if (failure) return call_failed("canonical path", path, failure.value());
  SK_TRY_ASSIGN(std::vector<MountEntry> entries, read_mount_entries(storage));
  const auto same = [&](const MountEntry& entry) { return entry.mount.device == device; };
  if (std::any_of(entries.begin(), entries.end(), same)) {
    std::erase_if(entries, [&](const MountEntry& entry) { return !same(entry); });
  }
  std::optional<MountEntry> best;
  for (const MountEntry& entry : entries) {
    if (!is_below(full, entry.mount.mount_point)) continue;
    if (!best || entry.mount.mount_point.size() >= best->mount.mount_point.size()) best = entry;
  }
  return best;
}

/// Adds the devices that carry the filesystem on which `path` lies. Layers are added from the top, so `device` ends as
/// that of the lowest.
Result<void> add_carriers(Storage& storage, const std::string& path, Layers wanted, int depth, DeviceIdentity& found) {
  SK_TRY_ASSIGN(const struct stat facts, facts_of(path));
  if (major(facts.st_dev) != 0) {
    found.is_block_device = true;
    found.device = facts.st_dev;
    return add_block_device(storage, facts.st_dev, found.backing);
  }
  SK_TRY_ASSIGN(const std::optional<MountEntry> entry, mount_of(storage, path, facts.st_dev));
  if (!entry) return success();
  if (entry->mount.filesystem == "overlay" && depth > 0) {
    const OverlayLayers layers = overlay_layers(entry->filesystem_options);
    std::vector<std::string> folders = layers.lower;
    if (wanted == Layers::all && !layers.upper.empty()) folders.insert(folders.begin(), layers.upper);
    for (const std::string& folder : folders) {
      // A layer mounted before the root was changed cannot be reached any more; the others still tell.
      if (!facts_if_any(folder)) continue;
      SK_TRY(add_carriers(storage, folder, wanted, depth - 1, found));
    }
    return success();
  }
  const auto source = facts_if_any(entry->mount.source);  // btrfs and its like number their filesystems themselves
  if (!source || !S_ISBLK(source->st_mode)) return success();
  found.is_block_device = true;
  found.device = source->st_rdev;
  return add_block_device(storage, source->st_rdev, found.backing);
}

/// What mounts and swap refer to: a block device by number, or a file.
struct Held {
  std::optional<std::uint64_t> device;
  std::optional<FileKey> file;

  [[nodiscard]] bool is(const struct stat& facts) const {
    if (S_ISBLK(facts.st_mode)) return device && *device == facts.st_rdev;
    return S_ISREG(facts.st_mode) && file && *file == FileKey{.device = facts.st_dev, .inode = facts.st_ino};
  }
};

Result<std::string> mount_holder(Storage& storage, const Held& held) {
  SK_TRY_ASSIGN(const std::vector<MountEntry> entries, read_mount_entries(storage));
  for (const MountEntry& entry : entries) {
    const auto source = facts_if_any(entry.mount.source);
    const bool by_number = held.device && *held.device == entry.mount.device;
    if (by_number || (source && held.is(*source))) return "mounted at " + entry.mount.mount_point;
  }
  return std::string();
}

Result<std::string> swap_holder(Storage& storage, const Held& held) {
  auto text = storage.read_text("/proc/swaps", kProcTextBytes);
  if (!text.has_value()) {  // a kernel without swap
    if (text.assume_error().os_errno == ENOENT) return std::string();
    return text.assume_error();
  }
  std::istringstream lines(text.assume_value());
  for (std::string line; std::getline(lines, line);) {
    const auto facts = facts_if_any(unescape_octal(line.substr(0, line.find_first_of(" \t"))));
    if (facts && held.is(*facts)) return std::string("swap");
  }
  return std::string();
}

Result<std::string> device_holder(Storage& storage, std::uint64_t device) {
  const Held held{.device = device, .file = std::nullopt};
  SK_TRY_ASSIGN(std::string mounted, mount_holder(storage, held));
  if (!mounted.empty()) return mounted;
  SK_TRY_ASSIGN(std::string swap, swap_holder(storage, held));
  if (!swap.empty()) return swap;
  SK_TRY_ASSIGN(const std::vector<std::string> holders, holders_of(device));
  if (!holders.empty()) return "held by " + holders.front();
  SK_TRY_ASSIGN(const std::vector<std::uint64_t> partitions, partitions_of(storage, device));
  for (const std::uint64_t partition : partitions) {
    SK_TRY_ASSIGN(const std::string holder, device_holder(storage, partition));
    if (!holder.empty()) return "its partition " + kernel_name(partition) + " is " + holder;
  }
  return std::string();
}

/// Who holds a file, directly or through loop devices other than `except`.
Result<std::string> file_holder(Storage& storage, const FileKey& file, const std::vector<std::string>& except) {
  const Held held{.device = std::nullopt, .file = file};
  SK_TRY_ASSIGN(std::string mounted, mount_holder(storage, held));
  if (!mounted.empty()) return mounted;
  SK_TRY_ASSIGN(std::string swap, swap_holder(storage, held));
  if (!swap.empty()) return swap;
  SK_TRY_ASSIGN(const std::vector<LoopDevice> loops, loop_devices(storage));
  for (const LoopDevice& loop : loops) {
    const bool asked = std::find(except.begin(), except.end(), block_member(loop.device)) != except.end();
    if (asked || loop.backing != file) continue;
    SK_TRY_ASSIGN(const std::string holder, device_holder(storage, loop.device));
    if (!holder.empty()) return holder + " (as " + loop.name + ")";
  }
  return std::string();
}

/// Whom the kernel does not name but respects: the exclusive open of another program or driver.
Result<std::string> probe_exclusive(const std::string& path) {
  const Descriptor opened = open_at(AT_FDCWD, path, O_RDONLY | O_EXCL | O_NONBLOCK, 0);
  if (opened.is_open()) return std::string();
  if (errno == EBUSY) return std::string("held by another program or driver");
  return call_failed("exclusive open", path, errno);
}

/// "7: FLOCK  ADVISORY  WRITE 708 08:01:1234 0 EOF"; a waiting one has "->" after the number.
std::optional<int> flock_writer(const std::string& line, const FileKey& wanted) {
  std::istringstream fields(line);
  std::string number, kind, strength, access, process, place;
  if (!(fields >> number >> kind >> strength >> access >> process >> place)) return std::nullopt;
  if (kind != "FLOCK" || access != "WRITE") return std::nullopt;
  unsigned int device[2] = {0, 0};
  std::uint64_t inode = 0;
  int holder = 0;
  const char* const end = place.data() + place.size();
  auto part = std::from_chars(place.data(), end, device[0], 16);
  if (part.ec != std::errc() || part.ptr == end) return std::nullopt;
  part = std::from_chars(part.ptr + 1, end, device[1], 16);
  if (part.ec != std::errc() || part.ptr == end) return std::nullopt;
  if (std::from_chars(part.ptr + 1, end, inode).ec != std::errc()) return std::nullopt;
  if (std::from_chars(process.data(), process.data() + process.size(), holder).ec != std::errc()) return std::nullopt;
  if (FileKey{.device = makedev(device[0], device[1]), .inode = inode} != wanted) return std::nullopt;
  return holder;
}

/// What lies on one filesystem: its own files, its device, and whatever lies on a file of it.
struct Ground {
  std::uint64_t filesystem = 0;  ///< st_dev of everything on it
  std::string device;            ///< member of `backing` that carries it; empty where the kernel does not tell
  std::string file_prefix;       ///< of members that are files on it

  [[nodiscard]] bool carries(const std::vector<std::string>& backing) const {
    return std::any_of(backing.begin(), backing.end(), [&](const std::string& member) {
      return (!device.empty() && member == device) || member.starts_with(file_prefix);
    });
  }
};

Result<Ground> ground_of(Storage& storage, const std::string& filesystem) {
  SK_TRY_ASSIGN(const struct stat facts, facts_of(filesystem));
  DeviceIdentity carrier;
  SK_TRY(add_carriers(storage, filesystem, Layers::all, 0, carrier));
  return Ground{.filesystem = facts.st_dev,
                .device = carrier.is_block_device ? block_member(carrier.device) : std::string(),
                .file_prefix = file_member({.device = facts.st_dev, .inode = 0})
                                   .substr(0, file_member({.device = facts.st_dev, .inode = 0}).size() - 1)};
}

Result<bool> lies_on(Storage& storage, const std::string& path, const struct stat& facts, const Ground& ground) {
  if (facts.st_dev == ground.filesystem) return true;
  DeviceIdentity carrier;
  if (S_ISBLK(facts.st_mode)) {
    SK_TRY(add_block_device(storage, facts.st_rdev, carrier.backing));
  } else if (!S_ISREG(facts.st_mode) && !S_ISDIR(facts.st_mode)) {
    return false;  // pipes, sockets and terminals lie nowhere
  }
  const auto carried = add_carriers(storage, path, Layers::all, kOverlayDepth, carrier);
  // A file in memory or one without a name has no place among the mounts.
  if (!carried.has_value() && carried.assume_error().os_errno != ENOENT) return carried.assume_error();
  return ground.carries(carrier.backing);
}

constexpr std::string_view kOwnDescriptors = "/proc/self/fd";

std::string words_for_descriptor(int number, const std::string& link) {
  switch (number) {
    case 0:
      return "standard input";
    case 1:
      return "standard output";
    case 2:
      return "standard error";
    default:
      boost::system::error_code failure;
      return boost::filesystem::read_symlink(link, failure).native();
  }
}

/// Path of everything that this process has open, runs from and stands in -> its words.
Result<std::vector<std::pair<std::string, std::string>>> own_places() {
  std::vector<std::pair<std::string, std::string>> places = {{"/proc/self/cwd", "the current directory"},
                                                             {"/proc/self/exe", "the program"}};
  const std::string folder(kOwnDescriptors);
  boost::system::error_code failure;
  boost::filesystem::directory_iterator entry(folder, failure);
  for (const boost::filesystem::directory_iterator end; !failure && entry != end; entry.increment(failure)) {
    const std::string path = entry->path().native();
    int number = -1;
    const char* const digits = path.data() + folder.size() + 1;
    if (std::from_chars(digits, path.data() + path.size(), number).ec != std::errc()) continue;
    places.emplace_back(path, words_for_descriptor(number, path));
  }
  if (failure) return call_failed("directory", folder, failure.value());
  return places;
}

}  // namespace

Result<std::vector<std::string>> find_lying_on(Storage& storage, const std::string& filesystem,
                                               const std::vector<std::string>& paths) {
  SK_TRY_ASSIGN(const Ground ground, ground_of(storage, filesystem));
  SK_TRY_ASSIGN(auto places, own_places());
  for (const std::string& path : paths) places.emplace_back(path, path);
  std::vector<std::string> found;
  for (const auto& [path, words] : places) {
    struct stat facts {};
    if (::stat(path.c_str(), &facts) != 0) {
      if (errno == ENOENT) continue;
      return call_failed("stat", path, errno);
    }
    // Nothing is written through the descriptor of a directory, and looking does not wait for a thaw.
    if (S_ISDIR(facts.st_mode) && path.starts_with(kOwnDescriptors)) continue;
    SK_TRY_ASSIGN(const bool lies, lies_on(storage, path, facts, ground));
    if (lies) found.push_back(words);
  }
  return found;
}

Result<DeviceIdentity> identify_device(Storage& storage, const std::string& path) {
  SK_TRY_ASSIGN(const struct stat facts, facts_of(path));
  DeviceIdentity identity;
  if (S_ISBLK(facts.st_mode)) {
    identity.is_block_device = true;
    identity.device = facts.st_rdev;
    SK_TRY(add_block_device(storage, facts.st_rdev, identity.backing));
  } else if (S_ISREG(facts.st_mode)) {
    identity.file_device = facts.st_dev;
    identity.file_inode = facts.st_ino;
    identity.backing.push_back(file_member({.device = facts.st_dev, .inode = facts.st_ino}));
  } else if (S_ISDIR(facts.st_mode)) {
    SK_TRY(add_carriers(storage, path, Layers::all, kOverlayDepth, identity));
  } else {
    return make_error(Errc::io_error, path + ": is neither a block device nor a file nor a directory", EINVAL);
  }
  return identity;
}

Result<std::vector<Mount>> read_mounts(Storage& storage) {
  SK_TRY_ASSIGN(std::vector<MountEntry> entries, read_mount_entries(storage));
  std::vector<Mount> mounts;
  mounts.reserve(entries.size());
  for (MountEntry& entry : entries) mounts.push_back(std::move(entry.mount));
  return mounts;
}

Result<std::string> find_holder(Storage& storage, const std::string& path) {
  SK_TRY_ASSIGN(const struct stat facts, facts_of(path));
  if (S_ISREG(facts.st_mode)) return file_holder(storage, {.device = facts.st_dev, .inode = facts.st_ino}, {});
  if (!S_ISBLK(facts.st_mode)) {
    return make_error(Errc::io_error, path + ": is neither a block device nor a file", EINVAL);
  }
  SK_TRY_ASSIGN(std::string holder, device_holder(storage, facts.st_rdev));
  if (!holder.empty()) return holder;
  // The same file may be mounted through another loop device.
  SK_TRY_ASSIGN(const DeviceIdentity identity, identify_device(storage, path));
  SK_TRY_ASSIGN(const std::vector<LoopDevice> loops, loop_devices(storage));
  for (const LoopDevice& loop : loops) {
    const auto shares = [&](const std::string& member) { return member == file_member(loop.backing); };
    if (std::none_of(identity.backing.begin(), identity.backing.end(), shares)) continue;
    SK_TRY_ASSIGN(std::string other, file_holder(storage, loop.backing, identity.backing));
    if (!other.empty()) return "its file is " + other;
  }
  return probe_exclusive(path);
}

Result<std::optional<int>> find_lock_holder(Storage& storage, const std::string& path) {
  SK_TRY_ASSIGN(const struct stat facts, facts_of(path));
  SK_TRY_ASSIGN(const std::string text, storage.read_text("/proc/locks", kProcTextBytes));
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const auto holder = flock_writer(line, {.device = facts.st_dev, .inode = facts.st_ino});
    if (holder) return holder;
  }
  return std::optional<int>();
}

Result<std::optional<std::uint64_t>> read_filesystem_errors(Storage& storage, const std::string& path) {
  DeviceIdentity carrier;
  SK_TRY(add_carriers(storage, path, Layers::all, kOverlayDepth, carrier));
  if (!carrier.is_block_device) return std::optional<std::uint64_t>();
  const std::string attribute = "/sys/fs/ext4/" + kernel_name(carrier.device) + "/errors_count";
  constexpr std::size_t kAttributeBytes = 4096;
  auto text = storage.read_text(attribute, kAttributeBytes);
  if (!text.has_value()) {
    if (text.assume_error().os_errno == ENOENT) return std::optional<std::uint64_t>();
    return text.assume_error();
  }
  const std::string& digits = text.assume_value();
  std::uint64_t count = 0;
  if (std::from_chars(digits.data(), digits.data() + digits.size(), count).ec != std::errc()) {
    return make_error(Errc::io_error, attribute + ": holds no number");
  }
  return std::optional(count);
}

Result<StorageHealth> read_health(Storage& storage, const std::string& path) {
  SK_TRY_ASSIGN(const struct stat facts, facts_of(path));
  if (S_ISBLK(facts.st_mode)) return health_of_device(storage, kSysfs, facts.st_rdev);
  DeviceIdentity carrier;
  SK_TRY(add_carriers(storage, path, Layers::all, kOverlayDepth, carrier));
  StorageHealth health;
  if (carrier.is_block_device) {
    SK_TRY_ASSIGN(health, health_of_device(storage, kSysfs, carrier.device));
  }
  SK_TRY_ASSIGN(const std::optional<MountEntry> entry, mount_of(storage, path, facts.st_dev));
  if (entry && entry->is_read_only()) {
    health.read_only.insert(health.read_only.begin(), entry->mount.filesystem + " at " + entry->mount.mount_point);
  }
  return health;
}

Result<std::optional<std::uint64_t>> read_bytes_written(Storage& storage, const std::string& path) {
  SK_TRY_ASSIGN(const struct stat facts, facts_of(path));
  if (S_ISBLK(facts.st_mode)) return bytes_written_to_device(storage, kSysfs, facts.st_rdev);
  DeviceIdentity carrier;
  SK_TRY(add_carriers(storage, path, Layers::all, kOverlayDepth, carrier));
  if (!carrier.is_block_device) return std::optional<std::uint64_t>();
  return bytes_written_to_device(storage, kSysfs, carrier.device);
}

Result<DeviceIdentity> find_root_device(Storage& storage) {
  DeviceIdentity identity;
  SK_TRY(add_carriers(storage, "/", Layers::lower_only, kOverlayDepth, identity));
  return identity;
}

}  // namespace slotkeeper::io
