// What the POSIX implementations share: an owned descriptor, and system call failures as errors. Private to
// partitions/io.
#pragma once

#include <cerrno>
#include <memory>
#include <string>
#include <string_view>
#include <sys/stat.h>
#include <sys/types.h>
#include <utility>
#include <vector>

#include "partitions/io/directory.hpp"
#include "partitions/io/file.hpp"
#include "partitions/io/result.hpp"
#include "partitions/io/types.hpp"

namespace slotkeeper::io {

/// Owns a file descriptor. The destructor closes and looks away; `close` tells.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int number) : number_(number) {}
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor();

  [[nodiscard]] int number() const { return number_; }
  [[nodiscard]] bool is_open() const { return number_ >= 0; }

  /// Gives the descriptor away.
  int release() { return std::exchange(number_, -1); }

  /// Closes and returns 0 or the errno. EINTR is none: Linux has closed the descriptor by then.
  [[nodiscard]] int close();

 private:
  int number_ = -1;
};

/// The error of a failed system call on `name`: storage_full, read_only or io_error by `os_errno`.
[[nodiscard]] Error call_failed(std::string_view call, std::string_view name, int os_errno);

/// Repeats a call that returns -1 with EINTR.
template <class Call>
auto uninterrupted(Call&& call) {
  for (;;) {
    const auto outcome = call();
    if (outcome != -1 || errno != EINTR) return outcome;
  }
}

[[nodiscard]] EntryStatus entry_status(const struct stat& facts);
[[nodiscard]] EntryType entry_type(mode_t mode);
/// The file type bits of `st_mode`.
[[nodiscard]] mode_t type_bits(EntryType type);

/// Where extended attributes are read and written: an open descriptor, or a path whose last link is not followed unless
/// it is one of /proc/self/fd (which stands for what an O_PATH descriptor names, a symbolic link itself included).
struct AttributeTarget {
  int descriptor = -1;
  std::string path;  ///< used when `descriptor` is -1
  std::string name;  ///< in messages
};
[[nodiscard]] Result<std::vector<ExtendedAttribute>> list_attributes(const AttributeTarget& target);
[[nodiscard]] Result<void> set_attribute(const AttributeTarget& target, const ExtendedAttribute& attribute);
[[nodiscard]] Result<void> remove_attribute(const AttributeTarget& target, const std::string& attribute);

/// The path under which the kernel gives out what a descriptor names.
[[nodiscard]] std::string path_of_descriptor(int descriptor);

/// Opens beneath a directory with the RESOLVE_ flags of openat2, 0 for none; closed on exec. What is opened for reading
/// only keeps its access time where we may ask for that, so that looking writes nothing. Not open afterwards: see
/// errno.
[[nodiscard]] Descriptor open_at(int directory, const std::string& path, int flags, std::uint64_t resolve,
                                 std::uint32_t create_mode = 0);

/// Opens a regular file or block device relative to a directory, with `resolve` as in `open_at`. Never waits for the
/// other end of a fifo; anything but a regular file or block device is refused with EINVAL. A file that was created and
/// cannot be given its mode is removed again.
[[nodiscard]] Result<std::unique_ptr<File>> open_posix_file(int directory, const std::string& path,
                                                            std::uint64_t resolve, const OpenMode& mode,
                                                            std::string name);
[[nodiscard]] std::unique_ptr<Directory> make_posix_directory(Descriptor descriptor, std::string name);

}  // namespace slotkeeper::io
