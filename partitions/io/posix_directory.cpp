// A directory behind a descriptor. Paths of several components are resolved by openat2 up to the last one, which the
// *at calls then act on without following it.
#include <algorithm>
#include <array>
#include <cstdio>
#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <optional>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "partitions/io/posix_call.hpp"

namespace slotkeeper::io {
namespace {

constexpr std::uint64_t kBeneath = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV;

/// Relative, no "..", no empty component: then the last component is a name and not a way out. 0 or the errno.
int refusal_of(const std::string& path) {
  if (path.find('\0') != std::string::npos) return EINVAL;
  for (std::size_t start = 0; start <= path.size();) {
    const std::size_t end = std::min(path.find('/', start), path.size());
    const std::string_view component(path.data() + start, end - start);
    if (component.empty()) return path.empty() ? ENOENT : EINVAL;
    if (component == "..") return EXDEV;
    start = end + 1;
  }
  return 0;
}

struct CloseDirectoryStream {
  void operator()(DIR* stream) const { ::closedir(stream); }
};

class PosixDirectory final : public Directory {
 public:
  PosixDirectory(Descriptor descriptor, std::string name)
      : descriptor_(std::move(descriptor)), name_(std::move(name)) {}

  [[nodiscard]] const std::string& name() const override { return name_; }
  /// Every call is one of the kernel on a descriptor that stays what it is.
  [[nodiscard]] bool is_concurrent() const override { return true; }

 protected:
  Result<std::unique_ptr<File>> do_open_file(const std::string& path, OpenMode mode, Caller) override {
    SK_TRY(check(path, "open"));
    return open_posix_file(descriptor_.number(), path, kBeneath, mode, full_name(path));
  }

  Result<std::unique_ptr<Directory>> do_open_directory(const std::string& path, Caller) override {
    SK_TRY(check(path, "open"));
    Descriptor opened = open_at(descriptor_.number(), path, O_RDONLY | O_DIRECTORY, kBeneath);
    if (!opened.is_open()) return call_failed("open", full_name(path), errno);
    return make_posix_directory(std::move(opened), full_name(path));
  }

  Result<void> do_visit_entries(const std::function<Result<void>(const DirectoryEntry&)>& visit, Caller) override {
    // A descriptor of its own, so that every walk starts at the first entry.
    Descriptor walked = open_at(descriptor_.number(), ".", O_RDONLY | O_DIRECTORY, kBeneath);
    if (!walked.is_open()) return call_failed("open", name_, errno);
    const std::unique_ptr<DIR, CloseDirectoryStream> stream(::fdopendir(walked.number()));
    if (!stream) return call_failed("fdopendir", name_, errno);
    walked.release();
    for (;;) {
      errno = 0;
      const struct dirent* const entry = ::readdir(stream.get());
      if (entry == nullptr) break;
      const std::string entry_name = entry->d_name;
      if (entry_name == "." || entry_name == "..") continue;
      SK_TRY_ASSIGN(const std::optional<EntryType> type, type_of(entry_name, entry->d_type));
      if (type) SK_TRY(visit({.name = entry_name, .type = *type}));
    }
    if (errno != 0) return call_failed("readdir", name_, errno);
    return success();
  }

  Result<EntryStatus> do_status_of(const std::string& path, Caller) override {
    SK_TRY_ASSIGN(const Descriptor entry, entry_at(path));
    struct stat facts {};
    if (::fstat(entry.number(), &facts) != 0) return call_failed("fstat", full_name(path), errno);
    return entry_status(facts);
  }

  Result<std::string> do_read_symlink(const std::string& path, Caller) override {
    SK_TRY_ASSIGN(const Descriptor entry, entry_at(path));
    std::string target(4096, '\0');  // PATH_MAX with its NUL: the kernel keeps no longer one
    const ssize_t length = ::readlinkat(entry.number(), "", target.data(), target.size());
    // An empty path on something else than a symbolic link is ENOENT, which would tell the wrong story.
    if (length < 0) return call_failed("readlinkat", full_name(path), errno == ENOENT ? EINVAL : errno);
    target.resize(static_cast<std::size_t>(length));
    return target;
  }

  Result<void> do_create_directory(const std::string& path, std::uint32_t mode, Caller) override {
    SK_TRY_ASSIGN(const Place place, place_of(path));
    if (::mkdirat(place.parent(), place.last.c_str(), mode) != 0) {
      return call_failed("mkdirat", full_name(path), errno);
    }
    return give_mode(path, mode, AT_REMOVEDIR);
  }

  Result<void> do_create_symlink(const std::string& target, const std::string& path, Caller) override {
    if (target.find('\0') != std::string::npos) return call_failed("symlinkat", full_name(path), EINVAL);
    SK_TRY_ASSIGN(const Place place, place_of(path));
    if (::symlinkat(target.c_str(), place.parent(), place.last.c_str()) == 0) return success();
    return call_failed("symlinkat", full_name(path), errno);
  }

  Result<void> do_create_hard_link(const std::string& existing, const std::string& path, Caller) override {
    SK_TRY_ASSIGN(const Place from, place_of(existing));
    SK_TRY_ASSIGN(const Place to, place_of(path));
    if (::linkat(from.parent(), from.last.c_str(), to.parent(), to.last.c_str(), 0) == 0) return success();
    return call_failed("linkat to " + full_name(existing), full_name(path), errno);
  }

  Result<void> do_create_node(const std::string& path, EntryType type, std::uint32_t mode, std::uint64_t node_device,
                              Caller) override {
    SK_TRY_ASSIGN(const Place place, place_of(path));
    const bool is_node = type == EntryType::fifo || type == EntryType::socket || type == EntryType::block_device ||
                         type == EntryType::character_device;
    if (!is_node) return call_failed("mknodat", full_name(path), EINVAL);
    if (::mknodat(place.parent(), place.last.c_str(), type_bits(type) | mode, node_device) != 0) {
      return call_failed("mknodat", full_name(path), errno);
    }
    return give_mode(path, mode, 0);
  }

  Result<void> do_rename(const std::string& from, const std::string& to, RenameKind kind, Caller) override {
    SK_TRY_ASSIGN(const Place source, place_of(from));
    SK_TRY_ASSIGN(const Place target, place_of(to));
    unsigned int flags = 0;
    if (kind == RenameKind::no_replace) flags = RENAME_NOREPLACE;
    if (kind == RenameKind::exchange) flags = RENAME_EXCHANGE;
    if (::renameat2(source.parent(), source.last.c_str(), target.parent(), target.last.c_str(), flags) == 0) {
      return success();
    }
    return call_failed("renameat2 to " + full_name(to), full_name(from), errno);
  }

  Result<void> do_remove_file(const std::string& path, Caller) override { return remove(path, 0); }
  Result<void> do_remove_directory(const std::string& path, Caller) override { return remove(path, AT_REMOVEDIR); }

  Result<void> do_set_attributes_of(const std::string& path, const Attributes& attributes, Caller) override {
    SK_TRY_ASSIGN(const Descriptor entry, entry_at(path));
    const std::string name = full_name(path);
    struct stat facts {};
    if (::fstat(entry.number(), &facts) != 0) return call_failed("fstat", name, errno);
    if (::fchownat(entry.number(), "", attributes.owner, attributes.group, AT_EMPTY_PATH) != 0) {
      return call_failed("fchownat", name, errno);
    }
    // An O_PATH descriptor takes no fchmod; its path in /proc stands for the same entry.
    if (!S_ISLNK(facts.st_mode) && ::chmod(path_of_descriptor(entry.number()).c_str(), attributes.mode) != 0) {
      return call_failed("chmod", name, errno);
    }
    const struct timespec times[2] = {
        {.tv_sec = attributes.accessed.seconds, .tv_nsec = attributes.accessed.nanoseconds},
        {.tv_sec = attributes.modified.seconds, .tv_nsec = attributes.modified.nanoseconds}};
    if (::utimensat(entry.number(), "", times, AT_EMPTY_PATH) != 0) return call_failed("utimensat", name, errno);
    return success();
  }

  Result<std::vector<ExtendedAttribute>> do_extended_attributes_of(const std::string& path, Caller) override {
    SK_TRY_ASSIGN(const Descriptor entry, entry_at(path));
    return list_attributes(attribute_target(entry, path));
  }
  Result<void> do_set_extended_attribute_of(const std::string& path, const ExtendedAttribute& attribute,
                                            Caller) override {
    SK_TRY_ASSIGN(const Descriptor entry, entry_at(path));
    return set_attribute(attribute_target(entry, path), attribute);
  }
  Result<void> do_remove_extended_attribute_of(const std::string& path, const std::string& attribute, Caller) override {
    SK_TRY_ASSIGN(const Descriptor entry, entry_at(path));
    return remove_attribute(attribute_target(entry, path), attribute);
  }

  Result<bool> do_clear_write_protection_of(const std::string& path, Caller) override {
    // Nothing else is opened: a device or a fifo would notice, and the call would reach its driver.
    SK_TRY_ASSIGN(const EntryStatus status, do_status_of(path, Caller::current()));
    if (status.type != EntryType::regular && status.type != EntryType::directory) return false;
    const Descriptor entry = open_at(descriptor_.number(), path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, kBeneath);
    if (!entry.is_open()) return call_failed("open", full_name(path), errno);
    unsigned int flags = 0;
    if (::ioctl(entry.number(), FS_IOC_GETFLAGS, &flags) != 0) {
      if (errno == ENOTTY || errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL) return false;
      return call_failed("ioctl FS_IOC_GETFLAGS", full_name(path), errno);
    }
    const unsigned int cleared = flags & ~static_cast<unsigned int>(FS_IMMUTABLE_FL | FS_APPEND_FL);
    if (cleared == flags) return false;
    flags = cleared;
    if (::ioctl(entry.number(), FS_IOC_SETFLAGS, &flags) == 0) return true;
    return call_failed("ioctl FS_IOC_SETFLAGS", full_name(path), errno);
  }

  Result<void> do_sync(Caller) override {
    if (::fsync(descriptor_.number()) == 0) return success();
    return call_failed("fsync", name_, errno).with_code(Errc::sync_failed);
  }
  Result<void> do_sync_filesystem(Caller) override {
    if (::syncfs(descriptor_.number()) != 0) {
      return call_failed("syncfs", name_, errno).with_code(Errc::sync_failed);
    }
    return check_takes_changes();
  }

  Result<SpaceFacts> do_space(Caller) override {
    struct statvfs facts {};
    if (::fstatvfs(descriptor_.number(), &facts) != 0) return call_failed("fstatvfs", name_, errno);
    struct statfs more {};
    if (::fstatfs(descriptor_.number(), &more) != 0) return call_failed("fstatfs", name_, errno);
    SpaceFacts space;
    space.block_bytes = facts.f_frsize;
    space.capacity_bytes = facts.f_blocks * facts.f_frsize;
    space.free_bytes = facts.f_bfree * facts.f_frsize;
    space.available_bytes = facts.f_bavail * facts.f_frsize;
    space.inodes = facts.f_files;
    space.inodes_free = facts.f_ffree;
    space.read_only = (facts.f_flag & ST_RDONLY) != 0;
    space.filesystem_magic = static_cast<std::uint64_t>(more.f_type);
    return space;
  }

  Result<void> do_close(Caller) override {
    if (const int failure = descriptor_.close(); failure != 0) return call_failed("close", name_, failure);
    return success();
  }

 private:
  /// Where a name lies: its directory, held while the call is made, and the last component.
  struct Place {
    int own = -1;
    Descriptor between;
    std::string last;
    [[nodiscard]] int parent() const { return between.is_open() ? between.number() : own; }
  };

  /// Syncs of a filesystem that gave up may return 0: the kernel begins the commit, and one that has failed before it
  /// comes to wait for it is not told. A new change is refused from then on; a file without a name is one that leaves
  /// nothing. Where there can be none for another reason (no such files, no room, a directory made immutable), the sync
  /// is believed.
  [[nodiscard]] Result<void> check_takes_changes() const {
    const Descriptor nameless(::openat(descriptor_.number(), ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    if (nameless.is_open()) return success();
    constexpr std::array kBelieved = {ENOSPC, EDQUOT, EOPNOTSUPP, EISDIR, EINVAL, ENOENT, EPERM, EACCES};
    if (std::ranges::find(kBelieved, errno) != kBelieved.end()) return success();
    return call_failed("open O_TMPFILE after syncfs", name_, errno).with_code(Errc::sync_failed);
  }

  [[nodiscard]] std::string full_name(const std::string& path) const {
    return path == "." ? name_ : name_ + "/" + path;
  }

  [[nodiscard]] Result<void> check(const std::string& path, std::string_view call) const {
    if (!descriptor_.is_open()) return call_failed(call, full_name(path), EBADF);
    if (const int refusal = refusal_of(path); refusal != 0) return call_failed(call, full_name(path), refusal);
    return success();
  }

  [[nodiscard]] Result<Place> place_of(const std::string& path) const {
    SK_TRY(check(path, "lookup"));
    Place place{.own = descriptor_.number(), .between = {}, .last = path};
    const std::size_t slash = path.rfind('/');
    if (slash == std::string::npos) return place;
    place.between = open_at(place.own, path.substr(0, slash), O_PATH | O_DIRECTORY, kBeneath);
    if (!place.between.is_open()) return call_failed("open of the directory", full_name(path), errno);
    place.last = path.substr(slash + 1);
    return place;
  }

  /// The entry itself, symbolic link or not, without opening what it stands for.
  [[nodiscard]] Result<Descriptor> entry_at(const std::string& path) const {
    SK_TRY(check(path, "lookup"));
    Descriptor entry = open_at(descriptor_.number(), path, O_PATH | O_NOFOLLOW, kBeneath);
    if (!entry.is_open()) return call_failed("lookup", full_name(path), errno);
    return entry;
  }

  /// Gives a new entry exactly the mode asked for, whatever the umask, or removes it again.
  [[nodiscard]] Result<void> give_mode(const std::string& path, std::uint32_t mode, int removal_flags) const {
    const Result<void> given = change_mode(path, mode);
    if (given.has_value()) return success();
    SK_TRY(with_context(remove(path, removal_flags), "the new entry could not be removed again"));
    return given.assume_error();
  }

  [[nodiscard]] Result<void> change_mode(const std::string& path, std::uint32_t mode) const {
    SK_TRY_ASSIGN(const Descriptor entry, entry_at(path));
    struct stat facts {};
    if (::fstat(entry.number(), &facts) != 0) return call_failed("fstat", full_name(path), errno);
    if ((facts.st_mode & 07777U) == mode) return success();
    if (::chmod(path_of_descriptor(entry.number()).c_str(), mode) == 0) return success();
    return call_failed("chmod", full_name(path), errno);
  }

  [[nodiscard]] AttributeTarget attribute_target(const Descriptor& entry, const std::string& path) const {
    return {.descriptor = -1, .path = path_of_descriptor(entry.number()), .name = full_name(path)};
  }

  /// Nothing when the entry was removed since it was listed.
  [[nodiscard]] Result<std::optional<EntryType>> type_of(const std::string& entry_name, unsigned char listed) const {
    if (listed != DT_UNKNOWN) return std::optional(entry_type(DTTOIF(listed)));
    struct stat facts {};
    if (::fstatat(descriptor_.number(), entry_name.c_str(), &facts, AT_SYMLINK_NOFOLLOW) == 0) {
      return std::optional(entry_type(facts.st_mode));
    }
    if (errno == ENOENT) return std::optional<EntryType>();
    return call_failed("fstatat", full_name(entry_name), errno);
  }

  [[nodiscard]] Result<void> remove(const std::string& path, int flags) const {
    SK_TRY_ASSIGN(const Place place, place_of(path));
    if (::unlinkat(place.parent(), place.last.c_str(), flags) == 0) return success();
    return call_failed("unlinkat", full_name(path), errno);
  }

  Descriptor descriptor_;
  std::string name_;
};

}  // namespace

std::unique_ptr<Directory> make_posix_directory(Descriptor descriptor, std::string name) {
  return std::make_unique<PosixDirectory>(std::move(descriptor), std::move(name));
}

}  // namespace slotkeeper::io
