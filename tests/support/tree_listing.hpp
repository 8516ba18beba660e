// What is in a directory tree, seen with the C library alone: tests compare it before and after, so it must not share
// code with what they test.
#pragma once

#include <functional>
#include <map>
#include <string>

namespace slotkeeper::test {

/// By path relative to the root ("." is the root): one line with type, mode, owner, group, time of change, extended
/// attributes, contents, link target, device and the path of the first listed name with the same inode.
using TreeListing = std::map<std::string, std::string>;

struct ListingOptions {
  /// Entries for which this is false are left out (but what is below them is looked at).
  std::function<bool(const std::string&)> takes = [](const std::string&) { return true; };
  bool inode_changes = false;  ///< ctime and inode number too: shows every write
  bool times = true;
  bool links = true;  ///< which names are the same file
};
[[nodiscard]] TreeListing list_tree(const std::string& root, const ListingOptions& options = {});

/// Lines that differ, for messages.
[[nodiscard]] std::string difference(const TreeListing& before, const TreeListing& after);

}  // namespace slotkeeper::test
