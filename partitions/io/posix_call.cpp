#include "partitions/io/posix_call.hpp"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace slotkeeper::io {

Descriptor::~Descriptor() {
  if (number_ >= 0) ::close(number_);
}

int Descriptor::close() {
  if (number_ < 0) return EBADF;
  const int number = std::exchange(number_, -1);
  if (::close(number) == 0 || errno == EINTR) return 0;
  return errno;
}

Error call_failed(std::string_view call, std::string_view name, int os_errno) {
  Errc code = Errc::io_error;
  if (os_errno == ENOSPC || os_errno == EDQUOT) code = Errc::storage_full;
  if (os_errno == EROFS) code = Errc::read_only;
  std::string message(name);
  message += ": ";
  message += call;
  message += " failed";
  return make_error(code, std::move(message), os_errno);
}

EntryType entry_type(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFDIR:
      return EntryType::directory;
    case S_IFLNK:
      return EntryType::symlink;
    case S_IFBLK:
      return EntryType::block_device;
    case S_IFCHR:
      return EntryType::character_device;
    case S_IFIFO:
      return EntryType::fifo;
    case S_IFSOCK:
      return EntryType::socket;
    default:
      return EntryType::regular;
  }
}

mode_t type_bits(EntryType type) {
  switch (type) {
    case EntryType::regular:
      return S_IFREG;
    case EntryType::directory:
      return S_IFDIR;
    case EntryType::symlink:
      return S_IFLNK;
    case EntryType::block_device:
      return S_IFBLK;
    case EntryType::character_device:
      return S_IFCHR;
    case EntryType::fifo:
      return S_IFIFO;
    case EntryType::socket:
      return S_IFSOCK;
  }
  return 0;
}

namespace {
TimeStamp time_stamp(const struct timespec& time) {
  return {.seconds = time.tv_sec, .nanoseconds = static_cast<std::int32_t>(time.tv_nsec)};
}
}  // namespace

EntryStatus entry_status(const struct stat& facts) {
  EntryStatus status;
  status.type = entry_type(facts.st_mode);
  status.device = facts.st_dev;
  status.inode = facts.st_ino;
  status.mode = facts.st_mode & 07777U;
  status.owner = facts.st_uid;
  status.group = facts.st_gid;
  status.links = facts.st_nlink;
  status.size_bytes = static_cast<std::uint64_t>(facts.st_size);
  status.allocated_bytes = static_cast<std::uint64_t>(facts.st_blocks) * 512U;
  status.node_device = facts.st_rdev;
  status.modified = time_stamp(facts.st_mtim);
  status.changed = time_stamp(facts.st_ctim);
  status.accessed = time_stamp(facts.st_atim);
  return status;
}

Descriptor open_at(int directory, const std::string& path, int flags, std::uint64_t resolve,
                   std::uint32_t create_mode) {
  if (path.find('\0') != std::string::npos) {
    errno = EINVAL;
    return Descriptor();
  }
  struct open_how how {};
  how.flags = static_cast<std::uint64_t>(flags) | O_CLOEXEC;
  how.mode = (flags & O_CREAT) != 0 ? create_mode : 0;
  how.resolve = resolve;
  const auto call = [&] {
    return static_cast<int>(
        uninterrupted([&] { return ::syscall(SYS_openat2, directory, path.c_str(), &how, sizeof how); }));
  };
  // Only the owner and root may leave the access time alone.
  if ((flags & O_ACCMODE) == O_RDONLY && (flags & O_PATH) == 0) {
    how.flags |= O_NOATIME;
    const int number = call();
    if (number >= 0 || errno != EPERM) return Descriptor(number);
    how.flags &= ~static_cast<std::uint64_t>(O_NOATIME);
  }
  return Descriptor(call());
}

std::string path_of_descriptor(int descriptor) { return "/proc/self/fd/" + std::to_string(descriptor); }

}  // namespace slotkeeper::io
