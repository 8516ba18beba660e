#include "partitions/permanent/inode_finder.hpp"

#include <vector>

#include "partitions/permanent/compaction_file.hpp"
#include "partitions/permanent/inventory.hpp"

namespace slotkeeper::permanent {
namespace {

class Finder {
 public:
  Finder(std::uint64_t device, const std::set<std::uint64_t>& wanted) : device_(device), wanted_(wanted) {}

  Result<void> walk(io::Directory& directory, const std::string& prefix, std::size_t depth) {
    std::vector<io::DirectoryEntry> entries;
    SK_TRY(directory.visit_entries([&](const io::DirectoryEntry& entry) -> Result<void> {
      const bool is_folder = entry.type == io::EntryType::directory;
      if (is_folder || entry.type == io::EntryType::regular) entries.push_back(entry);
      return success();
    }));
    for (const io::DirectoryEntry& entry : entries) {
      if (prefix.empty() && entry.name == kOwnDirectory) continue;
      const std::string path = prefix + entry.name;
      Result<void> looked = entry.type == io::EntryType::directory ? descend(directory, entry.name, path, depth)
                                                                   : look_at(directory, entry.name, path);
      if (!looked.has_value() && !is_about_this_file(looked.assume_error())) return looked;
    }
    return success();
  }

  std::map<std::uint64_t, std::string> found;

 private:
  Result<void> descend(io::Directory& directory, const std::string& name, const std::string& path, std::size_t depth) {
    if (depth >= kDepthMax) return success();
    SK_TRY_ASSIGN(const auto below, directory.open_directory(name));
    SK_TRY(walk(*below, path + "/", depth + 1));
    return below->close();
  }

  Result<void> look_at(io::Directory& directory, const std::string& name, const std::string& path) {
    SK_TRY_ASSIGN(const io::EntryStatus status, directory.status_of(name));
    if (status.device == device_ && wanted_.contains(status.inode)) found[status.inode] = path;
    return success();
  }

  std::uint64_t device_;
  const std::set<std::uint64_t>& wanted_;
};

}  // namespace

Result<std::map<std::uint64_t, std::string>> find_inodes(io::Directory& root, const std::set<std::uint64_t>& inodes) {
  SK_TRY_ASSIGN(const io::EntryStatus status, root.status_of("."));
  Finder finder(status.device, inodes);
  SK_TRY(finder.walk(root, "", 0));
  return std::move(finder.found);
}

}  // namespace slotkeeper::permanent
