#include "tests/support/simulation/file_tree.hpp"

#include <cstdio>
#include <string_view>
#include <sys/stat.h>
#include <xxhash.h>

#include "partitions/digest.hpp"

namespace slotkeeper::test {
namespace {

std::uint64_t mix(std::uint64_t sum, std::uint64_t value) {
  sum = (sum ^ value) * 0xD6E8FEB86659FD93U;
  return sum ^ sum >> 32U;
}
std::uint64_t mix(std::uint64_t sum, std::string_view text) {
  return mix(mix(sum, text.size()), XXH3_64bits(text.data(), text.size()));
}

/// Type bits as in st_mode.
std::uint32_t type_bits(io::EntryType type) {
  switch (type) {
    case io::EntryType::regular:
      return S_IFREG;
    case io::EntryType::directory:
      return S_IFDIR;
    case io::EntryType::symlink:
      return S_IFLNK;
    case io::EntryType::block_device:
      return S_IFBLK;
    case io::EntryType::character_device:
      return S_IFCHR;
    case io::EntryType::fifo:
      return S_IFIFO;
    case io::EntryType::socket:
      return S_IFSOCK;
  }
  return 0;
}

std::uint64_t own_hash_of(const Node& node) {
  std::uint64_t sum = mix(0, type_bits(node.type) | node.mode);
  sum = mix(sum, std::uint64_t{node.owner} << 32U | node.group);
  sum = mix(mix(sum, static_cast<std::uint64_t>(node.modified.seconds)),
            static_cast<std::uint64_t>(node.modified.nanoseconds));
  for (const auto& [name, value] : node.attributes) sum = mix(mix(sum, name), value);
  sum = mix(sum, node.target);
  return mix(sum, node.contents.hash()) | 1U;
}

}  // namespace

FileTree::FileTree() : nodes_(kRootNode + 1) {
  put(kRootNode, {.type = io::EntryType::directory, .mode = 0755, .links = 2});
}

Node& FileTree::edit(NodeNumber number) {
  std::shared_ptr<Node>& node = nodes_[number];
  if (node.use_count() > 1) node = std::make_shared<Node>(*node);
  node->own_hash = 0;
  return *node;
}

void FileTree::put(NodeNumber number, Node node) {
  if (number >= nodes_.size()) nodes_.resize(number + 1);
  nodes_[number] = std::make_shared<Node>(std::move(node));
}

std::optional<NodeNumber> FileTree::find(const std::string& path) const {
  NodeNumber found = kRootNode;
  for (std::size_t start = 0; start < path.size();) {
    const std::size_t end = std::min(path.find('/', start), path.size());
    if (end > start) {
      const auto& entries = at(found).entries;
      const auto next = entries.find(path.substr(start, end - start));
      if (next == entries.end() || !exists(next->second)) return std::nullopt;
      found = next->second;
    }
    start = end + 1;
  }
  return found;
}

std::string FileTree::path_of(NodeNumber number) const {
  for (NodeNumber parent = kRootNode; parent < nodes_.size(); ++parent) {
    if (!exists(parent)) continue;
    for (const auto& [name, child] : at(parent).entries) {
      if (child == number) return parent == kRootNode ? "/" + name : path_of(parent) + "/" + name;
    }
  }
  return "";
}

void FileTree::drop_unreachable() {
  std::vector<std::uint64_t> links(nodes_.size());
  std::vector<NodeNumber> open = {kRootNode};
  links[kRootNode] = 2;
  while (!open.empty()) {
    const NodeNumber number = open.back();
    open.pop_back();
    bool dangling = false;
    for (const auto& [name, child] : at(number).entries) {
      if (!exists(child)) {
        dangling = true;
        continue;
      }
      const bool is_directory = at(child).type == io::EntryType::directory;
      if (is_directory && links[child] == 0) open.push_back(child);
      if (is_directory) ++links[number];
      links[child] += is_directory && links[child] == 0 ? 2 : 1;
    }
    if (dangling) std::erase_if(edit(number).entries, [&](const auto& entry) { return !exists(entry.second); });
  }
  for (NodeNumber number = 0; number < nodes_.size(); ++number) {
    if (!nodes_[number]) continue;
    if (links[number] == 0) {
      nodes_[number] = nullptr;
    } else if (nodes_[number]->links != links[number]) {
      edit(number).links = links[number];
    }
  }
  while (!nodes_.back()) nodes_.pop_back();
}

std::uint64_t FileTree::hash(NodeNumber top) const {
  std::uint64_t sum = 0;
  std::vector<std::uint64_t> met(nodes_.size());  // which names are one file
  std::uint64_t count = 0;
  const std::function<void(NodeNumber)> take = [&](NodeNumber number) {
    const Node& node = at(number);
    const bool is_new = met[number] == 0;
    if (is_new) met[number] = ++count;
    sum = mix(sum, met[number]);
    if (!is_new) return;
    if (node.own_hash == 0) node.own_hash = own_hash_of(node);
    sum = mix(sum, node.own_hash);
    for (const auto& [name, child] : node.entries) {
      sum = mix(sum, name);
      take(child);
    }
  };
  take(top);
  return sum;
}

TreeListing FileTree::listing(NodeNumber top, const ListingOptions& options) const {
  TreeListing listing;
  std::map<NodeNumber, std::string> names;
  std::map<std::string, NodeNumber> numbers;
  const std::function<void(NodeNumber, const std::string&)> take = [&](NodeNumber number, const std::string& path) {
    const Node& node = at(number);
    if (options.takes(path)) {
      char head[160];
      std::snprintf(head, sizeof head, "mode=%o owner=%u:%u", type_bits(node.type) | node.mode, node.owner, node.group);
      std::string line = head;
      if (options.times) {
        line += " mtime=" + std::to_string(node.modified.seconds) + "." + std::to_string(node.modified.nanoseconds);
      }
      if (options.inode_changes) line += " ctime=" + std::to_string(node.changed) + " inode=" + std::to_string(number);
      for (const auto& [name, value] : node.attributes) {
        line += " " + name + "=" + sha256(io::as_bytes(value)).hex().substr(0, 12);
      }
      if (node.type == io::EntryType::regular) {
        line += " size=" + std::to_string(node.contents.size()) +
                " sha256=" + sha256(io::as_bytes(node.contents.text())).hex();
      } else if (node.type == io::EntryType::symlink) {
        line += " -> " + node.target;
      } else if (node.type == io::EntryType::block_device || node.type == io::EntryType::character_device) {
        line += " device=" + std::to_string(node.node_device);
      }
      if (node.type != io::EntryType::directory) {
        const auto place = names.find(number);
        if (place == names.end() || path < place->second) names[number] = path;
      }
      numbers[path] = number;
      listing[path] = std::move(line);
    }
    for (const auto& [name, child] : node.entries) {
      if (at(child).filesystem == node.filesystem) take(child, path == "." ? name : path + "/" + name);
    }
  };
  take(top, ".");
  for (auto& [path, line] : listing) {
    const auto first = names.find(numbers.at(path));
    if (options.links && first != names.end() && first->second != path) line += " same-as=" + first->second;
  }
  return listing;
}

FileTree::Usage FileTree::usage(std::uint32_t filesystem) const {
  Usage usage;
  for (const auto& node : nodes_) {
    if (!node || node->filesystem != filesystem || node->type == io::EntryType::block_device) continue;
    ++usage.nodes;
    usage.bytes += node->contents.allocated_bytes();
    if (node->type == io::EntryType::directory) usage.bytes += PagedBytes::kPageBytes;
  }
  return usage;
}

}  // namespace slotkeeper::test
