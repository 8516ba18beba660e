#include "partitions/permanent/kept_logs.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>

#include "partitions/permanent/inventory.hpp"
#include "partitions/permanent/paths.hpp"

namespace slotkeeper::permanent {
namespace {

constexpr std::size_t kNameMaxBytes = 200;  ///< with the number before it still a name

std::string kept_path() { return std::string(kOwnDirectory) + "/kept"; }

}  // namespace

Result<void> KeptLogs::open() {
  if (is_open_) return success();
  Result<void> made = root_.create_directory(kept_path(), 0700);
  if (!made.has_value() && made.assume_error().os_errno != EEXIST) return made;
  SK_TRY_ASSIGN(const auto kept, root_.open_directory(kept_path()));
  SK_TRY(kept->visit_entries([&](const io::DirectoryEntry& entry) -> Result<void> {
    std::uint64_t number = 0;
    const char* const end = entry.name.data() + entry.name.size();
    if (std::from_chars(entry.name.data(), end, number).ec == std::errc()) {
      last_number_ = std::max(last_number_, number);
    }
    SK_TRY_ASSIGN(const io::EntryStatus status, kept->status_of(entry.name));
    names_by_inode_.emplace(status.inode, entry.name);
    return success();
  }));
  SK_TRY(kept->close());
  is_open_ = true;
  return success();
}

std::string KeptLogs::place_for(const std::string& path) {
  touched_ = true;
  return kept_path() + "/" + std::to_string(++last_number_) + "-" + last_name_of(path).substr(0, kNameMaxBytes);
}

Result<std::string> KeptLogs::move(const std::string& path) {
  SK_TRY(open());
  const std::string place = place_for(path);
  SK_TRY(root_.rename(path, place, io::RenameKind::no_replace));
  return place;
}

Result<std::string> KeptLogs::link(const std::string& path) {
  SK_TRY(open());
  SK_TRY_ASSIGN(const io::EntryStatus status, root_.status_of(path));
  const auto there = names_by_inode_.find(status.inode);
  if (there != names_by_inode_.end()) {
    touched_ = true;  // a power cut may have come before it was synced
    return kept_path() + "/" + there->second;
  }
  const std::string place = place_for(path);
  SK_TRY(root_.create_hard_link(path, place));
  names_by_inode_.emplace(status.inode, last_name_of(place));
  return place;
}

Result<void> KeptLogs::sync() {
  if (!touched_) return success();
  for (const std::string& path : {kept_path(), std::string(kOwnDirectory)}) {
    SK_TRY_ASSIGN(const auto directory, root_.open_directory(path));
    SK_TRY(directory->sync());
    SK_TRY(directory->close());
  }
  touched_ = false;
  return success();
}

}  // namespace slotkeeper::permanent
