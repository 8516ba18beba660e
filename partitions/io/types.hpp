// Plain facts about files, directories and filesystems, as the interfaces of partitions/io speak of them.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <source_location>
#include <span>
#include <string>
#include <vector>

namespace slotkeeper::io {

/// Where a storage call was made from. Every call carries it, so that a test can let each call site fail in turn.
#ifdef __cpp_lib_source_location
using Caller = std::source_location;
#else
/// Clang 14, which builds the fuzzers and runs clang-tidy, lacks what the library's class needs.
class Caller {
 public:
  static constexpr Caller current(const char* file = __builtin_FILE(), const char* function = __builtin_FUNCTION(),
                                  std::uint_least32_t line = __builtin_LINE()) noexcept {
    return {file, function, line};
  }
  [[nodiscard]] constexpr const char* file_name() const noexcept { return file_; }
  [[nodiscard]] constexpr const char* function_name() const noexcept { return function_; }
  [[nodiscard]] constexpr std::uint_least32_t line() const noexcept { return line_; }

 private:
  constexpr Caller(const char* file, const char* function, std::uint_least32_t line) noexcept
      : file_(file), function_(function), line_(line) {}
  const char* file_;
  const char* function_;
  std::uint_least32_t line_;
};
#endif

using Bytes = std::span<std::byte>;
using ConstBytes = std::span<const std::byte>;

inline ConstBytes as_bytes(std::string_view text) { return std::as_bytes(std::span(text.data(), text.size())); }
inline std::string_view as_text(ConstBytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

struct TimeStamp {
  std::int64_t seconds = 0;  ///< since 1970-01-01 UTC
  std::int32_t nanoseconds = 0;
  auto operator<=>(const TimeStamp&) const = default;
};

enum class EntryType : std::uint8_t { regular, directory, symlink, block_device, character_device, fifo, socket };

struct EntryStatus {
  EntryType type = EntryType::regular;
  std::uint64_t device = 0;  ///< of the filesystem it lies on
  std::uint64_t inode = 0;
  std::uint32_t mode = 0;  ///< permission bits including set-id and sticky, without the type
  std::uint32_t owner = 0;
  std::uint32_t group = 0;
  std::uint64_t links = 0;
  std::uint64_t size_bytes = 0;
  std::uint64_t allocated_bytes = 0;
  std::uint64_t node_device = 0;  ///< what a device node stands for
  TimeStamp modified;
  TimeStamp changed;
  TimeStamp accessed;
};

struct DirectoryEntry {
  std::string name;  ///< raw bytes
  EntryType type = EntryType::regular;
};

struct ExtendedAttribute {
  std::string name;  ///< with its namespace, e.g. "user.origin" or "system.posix_acl_access"
  std::string value;
  auto operator<=>(const ExtendedAttribute&) const = default;
};

struct SpaceFacts {
  std::uint64_t block_bytes = 0;
  std::uint64_t capacity_bytes = 0;   ///< f_blocks
  std::uint64_t free_bytes = 0;       ///< f_bfree: with what is reserved for root
  std::uint64_t available_bytes = 0;  ///< f_bavail: what anybody may use
  std::uint64_t inodes = 0;           ///< 0 where the filesystem has no fixed number
  std::uint64_t inodes_free = 0;
  bool read_only = false;
  std::uint64_t filesystem_magic = 0;  ///< f_type of statfs

  [[nodiscard]] std::uint64_t used_bytes() const { return capacity_bytes - free_bytes; }
};

/// A run of a file's bytes as its filesystem keeps it.
struct FileExtent {
  std::uint64_t offset = 0;    ///< in the file
  std::uint64_t length = 0;    ///< may reach beyond the end of the file
  std::uint64_t physical = 0;  ///< on the device below the filesystem; of no meaning unless `in_place`
  bool in_place = true;        ///< the bytes lie at `physical` as they are: not inline, packed, compressed or encrypted
  bool written = true;         ///< false: allocated, but reads as zeros until it is written
  bool shared = false;         ///< with another file (reflink): an overwrite goes elsewhere
};

/// Where a file's bytes lie. For what another program finds by their place on the device, a bootloader above all.
struct FileLayout {
  bool is_known = false;            ///< false: the filesystem does not tell (vfat), and the rest says nothing
  bool is_encrypted = false;        ///< by attribute of the file, whatever the extents say
  bool is_compressed = false;       ///< as above
  bool is_journaled = false;        ///< its contents go through the journal first, not to their place
  std::vector<FileExtent> extents;  ///< in the order of their offsets; what none covers is a hole
};

/// How far a read-back reached, from strongest to weakest.
enum class ReadBackLevel : std::uint8_t {
  direct,         ///< direct I/O: the device answered
  cache_dropped,  ///< page cache dropped and its absence shown, then read
  cached,         ///< the page cache may have answered
};

}  // namespace slotkeeper::io
