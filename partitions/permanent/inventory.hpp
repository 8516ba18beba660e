// What is on the permanent partition: every entry with its class, attributes and checksum, and one root over the
// configuration.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "partitions/digest.hpp"
#include "partitions/io/directory.hpp"
#include "partitions/permanent/classes.hpp"
#include "partitions/permanent/contents_readers.hpp"
#include "partitions/permanent/entry_list.hpp"
#include "partitions/progress.hpp"

namespace slotkeeper::permanent {

/// The directory on the permanent partition that belongs to Slotkeeper. `provision` makes it; it is in no inventory.
inline constexpr std::string_view kOwnDirectory = ".slotkeeper";
inline constexpr std::size_t kEntriesMax = 200'000;
inline constexpr std::size_t kDepthMax = 256;
inline constexpr std::size_t kPathMaxBytes = 4000;  ///< of a protected path: what one system call can name, with room

/// A file with several names counts once in bytes and inodes, in the class of its first name.
struct ClassTotals {
  std::uint64_t files = 0;   ///< names of anything but directories
  std::uint64_t bytes = 0;   ///< allocated
  std::uint64_t inodes = 0;  ///< directories too
};

struct Inventory {
  EntryList entries;                           ///< "." first, then sorted by the bytes of the path
  std::map<std::string, ClassTotals> classes;  ///< by rule name; every rule and "config" have a row
  Sha256 config_root;                          ///< over the config entries; zero when their contents were not read
  Sha256 protected_root;            ///< over config and state entries; zero when their contents were not read
  std::vector<std::string> mounts;  ///< what is mounted below the root and was left out
};

/// Which contents are read and hashed.
enum class HashScope : std::uint8_t { nothing, config, config_and_state, everything };

/// Walks the whole partition below `root`, without crossing mounts (each one is a notice). An entry that disappears
/// meanwhile is left out; one that becomes something else is looked at again; a config file that changes while it is
/// read is read again, kReadAttemptsMax times in all; a state file is read a second time and then taken as it was read.
/// Files are read by as many threads as suit (readers_for); `progress` is called from this one alone. kOwnDirectory and
/// the filesystem's own "lost+found" are not looked at. Errors: config_busy (detail "paths": those that keep changing),
/// no_space (more than kEntriesMax entries), io_error (ENAMETOOLONG: a protected path of more than kPathMaxBytes or
/// kDepthMax components), cancelled. Memory: that of an EntryList, and some hundred KiB for each reader.
[[nodiscard]] Result<Inventory> take_inventory(io::Directory& root, const ClassTable& classes, HashScope scope,
                                               ProgressSink& progress);
/// With this many threads that read; without any, files are read one after the other.
[[nodiscard]] Result<Inventory> take_inventory(io::Directory& root, const ClassTable& classes, HashScope scope,
                                               ProgressSink& progress, unsigned int readers);

/// Which entries a snapshot of this inventory holds: those of kind config and state, and the directories on the way to
/// them. One value for each entry.
[[nodiscard]] std::vector<bool> snapshot_members(const EntryList& entries);

}  // namespace slotkeeper::permanent
