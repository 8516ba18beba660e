#include "tests/support/simulation/found_tree.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <limits>
#include <stdexcept>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

namespace slotkeeper::test {
namespace {

constexpr std::size_t kPieceBytes = 16 * PagedBytes::kPageBytes;

std::runtime_error failed(const std::string& what) { return std::runtime_error(what + ": " + std::strerror(errno)); }

io::EntryType type_of(mode_t mode, const std::string& path) {
  if (S_ISREG(mode)) return io::EntryType::regular;
  if (S_ISDIR(mode)) return io::EntryType::directory;
  if (S_ISLNK(mode)) return io::EntryType::symlink;
  if (S_ISBLK(mode)) return io::EntryType::block_device;
  if (S_ISCHR(mode)) return io::EntryType::character_device;
  if (S_ISFIFO(mode)) return io::EntryType::fifo;
  if (S_ISSOCK(mode)) return io::EntryType::socket;
  throw std::runtime_error("what is " + path + "?");
}

io::TimeStamp time_of(const struct timespec& time) {
  return {.seconds = time.tv_sec, .nanoseconds = static_cast<std::int32_t>(time.tv_nsec)};
}

PagedBytes contents_of_file(const std::string& path, std::uint64_t size) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (file < 0) throw failed("cannot open " + path);
  PagedBytes contents;
  contents.resize(size);
  std::vector<std::byte> piece(kPieceBytes);
  std::uint64_t at = 0;
  ssize_t count = 0;
  while (at < size && (count = ::pread(file, piece.data(), piece.size(), static_cast<off_t>(at))) > 0) {
    const io::ConstBytes read(piece.data(), static_cast<std::size_t>(count));
    // Zeros are there already, and take no room.
    if (std::ranges::any_of(read, [](std::byte byte) { return byte != std::byte{}; })) contents.write(at, read);
    at += static_cast<std::uint64_t>(count);
  }
  ::close(file);
  if (count < 0 || at != size) throw failed("cannot read " + path);
  return contents;
}

std::map<std::string, std::string> attributes_of(const std::string& path) {
  std::string names(64 * 1024, '\0');
  const ssize_t length = ::llistxattr(path.c_str(), names.data(), names.size());
  if (length < 0) throw failed("cannot list the attributes of " + path);
  std::map<std::string, std::string> attributes;
  for (std::size_t at = 0; at < static_cast<std::size_t>(length);) {
    const std::string name = names.c_str() + at;
    at += name.size() + 1;
    std::string value(64 * 1024, '\0');
    const ssize_t size = ::lgetxattr(path.c_str(), name.c_str(), value.data(), value.size());
    if (size < 0) throw failed("cannot read " + name + " of " + path);
    value.resize(static_cast<std::size_t>(size));
    attributes[name] = std::move(value);
  }
  return attributes;
}

std::string target_of(const std::string& path) {
  std::string target(4096, '\0');
  const ssize_t length = ::readlink(path.c_str(), target.data(), target.size());
  if (length < 0) throw failed("cannot read the link " + path);
  target.resize(static_cast<std::size_t>(length));
  return target;
}

class Reader {
 public:
  FileTree run(const std::string& root) {
    struct stat facts {};
    if (::lstat(root.c_str(), &facts) != 0) throw failed("cannot look at " + root);
    device_ = facts.st_dev;
    tree_.put(kRootNode, node_of(root, facts));
    read_entries(kRootNode, root);
    return std::move(tree_);
  }

 private:
  static Node node_of(const std::string& path, const struct stat& facts) {
    Node node;
    node.type = type_of(facts.st_mode, path);
    node.mode = facts.st_mode & 07777U;
    node.owner = facts.st_uid;
    node.group = facts.st_gid;
    node.modified = time_of(facts.st_mtim);
    node.accessed = time_of(facts.st_atim);
    node.links = facts.st_nlink;
    node.attributes = attributes_of(path);
    if (node.type == io::EntryType::regular) {
      node.contents = contents_of_file(path, static_cast<std::uint64_t>(facts.st_size));
    } else if (node.type == io::EntryType::symlink) {
      node.target = target_of(path);
    } else if (node.type == io::EntryType::block_device || node.type == io::EntryType::character_device) {
      node.node_device = facts.st_rdev;
    }
    return node;
  }

  void read_entries(NodeNumber directory, const std::string& path) {
    DIR* const opened = ::opendir(path.c_str());
    if (opened == nullptr) throw failed("cannot open " + path);
    std::vector<std::string> names;
    for (const dirent* entry = nullptr; (entry = ::readdir(opened)) != nullptr;) {
      const std::string name = static_cast<const char*>(entry->d_name);
      if (name != "." && name != "..") names.push_back(name);
    }
    ::closedir(opened);
    for (const std::string& name : names) read_entry(directory, path + "/" + name, name);
  }

  void read_entry(NodeNumber directory, const std::string& path, const std::string& name) {
    struct stat facts {};
    if (::lstat(path.c_str(), &facts) != 0) throw failed("cannot look at " + path);
    if (facts.st_dev != device_) return;
    const auto [place, is_new] = numbers_.emplace(facts.st_ino, tree_.next_number());
    const NodeNumber number = place->second;
    tree_.edit(directory).entries[name] = number;
    if (!is_new) return;
    tree_.put(number, node_of(path, facts));
    if (tree_.at(number).type == io::EntryType::directory) read_entries(number, path);
  }

  FileTree tree_;
  dev_t device_ = 0;
  std::map<ino_t, NodeNumber> numbers_;
};

}  // namespace

FileTree read_tree(const std::string& root) { return Reader().run(root); }

NodeNumber add_found_tree(SimulatedMachine& machine, const std::string& mount_point, const FileTree& found) {
  for (std::size_t at = 1; (at = mount_point.find('/', at)) != std::string::npos; ++at) {
    if (!machine.tree.seen().find(mount_point.substr(0, at))) machine.add_directory(mount_point.substr(0, at));
  }
  const NodeNumber top = machine.add_mount({.mount_point = mount_point,
                                            .capacity_bytes = std::numeric_limits<std::uint64_t>::max() / 2,
                                            .nodes_max = std::numeric_limits<NodeNumber>::max()});
  VolatileTree& tree = machine.tree;
  std::map<NodeNumber, NodeNumber> numbers = {{kRootNode, top}};
  for (NodeNumber number = kRootNode + 1; number < found.next_number(); ++number) {
    Node node = found.at(number);
    node.filesystem = tree.seen().at(top).filesystem;
    node.entries.clear();
    numbers[number] = tree.create(std::move(node));
  }
  const Node& root = found.at(kRootNode);
  tree.make({.kind = Change::Kind::owner, .node = top, .owner = root.owner, .group = root.group});
  tree.make({.kind = Change::Kind::mode, .node = top, .mode = root.mode});
  for (const auto& [name, value] : root.attributes) {
    tree.make({.kind = Change::Kind::attribute, .node = top, .attribute = name, .attribute_value = value});
  }
  for (NodeNumber number = kRootNode; number < found.next_number(); ++number) {
    const Node& node = found.at(number);
    for (const auto& [name, child] : node.entries) {
      tree.make({.kind = Change::Kind::names, .names = {{numbers.at(number), name, numbers.at(child)}}});
    }
    // Last, because a new name changes the time of its directory.
    tree.make({.kind = Change::Kind::times,
               .node = numbers.at(number),
               .accessed = node.accessed,
               .modified = node.modified});
  }
  tree.sync_all();
  return top;
}

}  // namespace slotkeeper::test
