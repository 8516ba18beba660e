#include "tests/support/tree_listing.hpp"

#include <algorithm>
#include <cstdio>
#include <dirent.h>
#include <iterator>
#include <stdexcept>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <utility>
#include <vector>

#include "partitions/digest.hpp"
#include "tests/support/file_contents.hpp"

namespace slotkeeper::test {
namespace {

std::vector<std::string> names_in(const std::string& directory) {
  std::vector<std::string> names;
  DIR* const stream = ::opendir(directory.c_str());
  if (stream == nullptr) throw std::runtime_error("cannot list " + directory);
  while (const dirent* const entry = ::readdir(stream)) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
  }
  ::closedir(stream);
  std::sort(names.begin(), names.end());
  return names;
}

std::string attributes_of(const std::string& path) {
  std::vector<char> list(65536);
  const ssize_t length = ::llistxattr(path.c_str(), list.data(), list.size());
  std::map<std::string, std::string> attributes;
  for (ssize_t at = 0; at < length;) {
    const std::string name = list.data() + at;
    std::vector<char> value(65536);
    const ssize_t size = ::lgetxattr(path.c_str(), name.c_str(), value.data(), value.size());
    attributes[name] = std::string(value.data(), size > 0 ? static_cast<std::size_t>(size) : 0);
    at += static_cast<ssize_t>(name.size()) + 1;
  }
  std::string text;
  for (const auto& [name, value] : attributes)
    text += " " + name + "=" + sha256(io::as_bytes(value)).hex().substr(0, 12);
  return text;
}

class Listing {
 public:
  Listing(std::string root, const ListingOptions& options) : root_(std::move(root)), options_(options) {}

  TreeListing run() {
    take(".");
    below("");
    for (auto& [path, line] : listing_) {
      if (!options_.links) break;
      const auto names = names_.find(inodes_.at(path));
      if (names != names_.end() && names->second != path) line += " same-as=" + names->second;
    }
    return std::move(listing_);
  }

 private:
  void below(const std::string& prefix) {
    for (const std::string& name : names_in(root_ + "/" + prefix)) {
      const std::string path = prefix + name;
      if (take(path)) below(path + "/");
    }
  }

  /// True for a directory.
  bool take(const std::string& path) {
    const std::string full = root_ + "/" + path;
    struct stat facts {};
    if (::lstat(full.c_str(), &facts) != 0) throw std::runtime_error("cannot look at " + full);
    if (!options_.takes(path)) return S_ISDIR(facts.st_mode);
    char head[160];
    std::snprintf(head, sizeof head, "mode=%o owner=%u:%u", facts.st_mode, facts.st_uid, facts.st_gid);
    std::string line = head;
    if (options_.times) {
      line += " mtime=" + std::to_string(facts.st_mtim.tv_sec) + "." + std::to_string(facts.st_mtim.tv_nsec);
    }
    if (options_.inode_changes) {
      line += " ctime=" + std::to_string(facts.st_ctim.tv_sec) + "." + std::to_string(facts.st_ctim.tv_nsec) +
              " inode=" + std::to_string(facts.st_ino);
    }
    line += attributes_of(full);
    if (S_ISREG(facts.st_mode)) {
      const std::string contents = contents_of(full);
      line += " size=" + std::to_string(contents.size()) + " sha256=" + sha256(io::as_bytes(contents)).hex();
    } else if (S_ISLNK(facts.st_mode)) {
      std::vector<char> target(4096);
      const ssize_t length = ::readlink(full.c_str(), target.data(), target.size());
      line += " -> " + std::string(target.data(), static_cast<std::size_t>(std::max<ssize_t>(length, 0)));
    } else if (S_ISBLK(facts.st_mode) || S_ISCHR(facts.st_mode)) {
      line += " device=" + std::to_string(facts.st_rdev);
    }
    if (!S_ISDIR(facts.st_mode)) {
      const auto place = names_.find(facts.st_ino);
      if (place == names_.end() || path < place->second) names_[facts.st_ino] = path;
    }
    inodes_[path] = facts.st_ino;
    listing_[path] = line;
    return S_ISDIR(facts.st_mode);
  }

  std::string root_;
  const ListingOptions& options_;
  std::map<ino_t, std::string> names_;
  std::map<std::string, ino_t> inodes_;
  TreeListing listing_;
};

}  // namespace

TreeListing list_tree(const std::string& root, const ListingOptions& options) { return Listing(root, options).run(); }

std::string difference(const TreeListing& before, const TreeListing& after) {
  std::string text;
  for (const auto& [path, line] : before) {
    const auto found = after.find(path);
    if (found == after.end()) {
      text += "missing " + path + "\n";
    } else if (found->second != line) {
      text += path + "\n  was " + line + "\n  is  " + found->second + "\n";
    }
  }
  for (const auto& [path, line] : after) {
    if (!before.contains(path)) text += "new " + path + "\n";
  }
  return text;
}

}  // namespace slotkeeper::test
