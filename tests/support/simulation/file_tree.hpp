// The files, directories and devices of a simulated machine, as one tree: what a program sees, or what a power cut
// leaves. Plain data; what is durable of it is the business of VolatileTree.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/support/simulation/paged_bytes.hpp"
#include "tests/support/tree_listing.hpp"

namespace slotkeeper::test {

using NodeNumber = std::uint32_t;  ///< 0: none
inline constexpr NodeNumber kRootNode = 1;

/// A file, directory or device.
struct Node {
  io::EntryType type = io::EntryType::regular;
  std::uint32_t filesystem = 0;  ///< number of the mount it belongs to
  std::uint32_t mode = 0;
  std::uint32_t owner = 0;
  std::uint32_t group = 0;
  io::TimeStamp modified = {};
  io::TimeStamp accessed = {};
  std::uint64_t changed = 0;  ///< counts changes, as ctime; not part of a state's hash
  std::uint64_t links = 0;    ///< of directory entries that name it; kept by whoever changes the tree
  std::uint64_t node_device = 0;
  std::map<std::string, std::string> attributes = {};  ///< extended
  PagedBytes contents = {};                            ///< regular files and block devices
  std::string target = {};                             ///< symbolic links
  std::map<std::string, NodeNumber> entries = {};      ///< directories
  mutable std::uint64_t own_hash = 0;                  ///< without entries, kept by FileTree; 0: not known
};

class FileTree {
 public:
  FileTree();

  [[nodiscard]] bool exists(NodeNumber number) const { return number < nodes_.size() && nodes_[number]; }
  [[nodiscard]] const Node& at(NodeNumber number) const { return *nodes_[number]; }
  /// For changing it at once: copies share nodes until then.
  [[nodiscard]] Node& edit(NodeNumber number);
  void put(NodeNumber number, Node node);
  void remove(NodeNumber number) { nodes_[number] = nullptr; }
  /// One behind the highest number in use.
  [[nodiscard]] NodeNumber next_number() const { return static_cast<NodeNumber>(nodes_.size()); }

  /// By absolute path, without symbolic links.
  [[nodiscard]] std::optional<NodeNumber> find(const std::string& path) const;

  /// A path that leads to the node, for messages; empty where none does.
  [[nodiscard]] std::string path_of(NodeNumber number) const;

  /// Forgets what no name leads to, and counts links anew: what a mount finds.
  void drop_unreachable();

  /// Over everything below `top`: names, attributes, contents, which names are one file; not over node numbers. With
  /// `takes` some paths ("a/b", relative to `top`) are left out.
  [[nodiscard]] std::uint64_t hash(NodeNumber top = kRootNode) const;
  /// In the words of `list_tree`, so that a real and a simulated tree compare.
  [[nodiscard]] TreeListing listing(NodeNumber top, const ListingOptions& options = {}) const;

  /// Allocated bytes and nodes of a filesystem.
  struct Usage {
    std::uint64_t bytes = 0;
    std::uint64_t nodes = 0;
  };
  [[nodiscard]] Usage usage(std::uint32_t filesystem) const;

 private:
  std::vector<std::shared_ptr<Node>> nodes_;
};

}  // namespace slotkeeper::test
