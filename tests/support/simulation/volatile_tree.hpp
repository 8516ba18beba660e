// What a power cut may leave of a tree of files and devices. Every change a program makes is split into the pieces that
// the system may keep or lose one by one; `sync` takes those out that it promises to keep.
//
// The promises are the least that POSIX and a disk with a volatile cache make:
//   - fsync of a file keeps its contents, size and attributes, not its name; of a directory the names in it, nothing
//     else; of a device what was written to it. syncfs keeps everything of its filesystem.
//   - Whatever was not synced may survive or not, each piece for itself: every sector of a write, the size, the owner,
//     the mode, the times, each extended attribute, each name. A size may survive without the contents (they read as
//     zeros, or as anything: "trashed"), a name without its file's contents, contents without their name.
//   - A name is one piece: it leads to the file before or to the file after, never to something else. Of a rename the
//     new name may survive without the removal of the old one, but not the removal alone; an exchange survives whole.
// Order is not kept: a later change may survive where an earlier one did not.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/support/simulation/file_tree.hpp"

namespace slotkeeper::test {

inline constexpr std::uint64_t kSimulatedSectorBytes = 512;

struct Change {
  enum class Kind : std::uint8_t { write, fill, punch, allocate, size, owner, mode, times, attribute, names };
  struct Name {
    NodeNumber directory = 0;
    std::string name = {};
    NodeNumber node = 0;  ///< 0: the name is gone
  };

  Kind kind = Kind::write;
  NodeNumber node = 0;  ///< that it changes; of names: unused
  std::uint64_t offset = 0;
  std::uint64_t length = 0;  ///< of size: the size
  std::shared_ptr<const std::vector<std::byte>> data = {};
  std::byte value{};
  std::uint32_t owner = 0;
  std::uint32_t group = 0;
  std::uint32_t mode = 0;
  io::TimeStamp accessed = {};
  io::TimeStamp modified = {};  ///< also what a write, a size or a name does to a time; of names: unset leaves it
  std::string attribute = {};
  std::optional<std::string> attribute_value = {};  ///< nothing: it is removed
  /// Those behind the first survive only with it.
  std::vector<Name> names = {};
  bool is_whole = false;  ///< names that survive all or not at all

  [[nodiscard]] bool has_contents() const { return kind == Kind::write || kind == Kind::fill; }
  [[nodiscard]] std::size_t sectors() const;
  /// "write 8 sectors", for messages.
  [[nodiscard]] std::string describe() const;
};

/// What becomes of a change that was not synced.
struct Fate {
  enum class Kind : std::uint8_t { lost, kept, torn, trashed };
  Kind kind = Kind::lost;
  std::uint64_t sectors = 0;  ///< torn: bit i set, sector i (modulo 64) arrives; trashed: it holds anything
};

class VolatileTree {
 public:
  [[nodiscard]] const FileTree& seen() const { return seen_; }
  /// What is left when nothing of `pending` survives; with nodes that no name leads to.
  [[nodiscard]] const FileTree& durable() const { return durable_; }
  [[nodiscard]] const std::vector<Change>& pending() const { return pending_; }
  /// Rises with every change and every sync that kept something.
  [[nodiscard]] std::uint64_t version() const { return version_; }

  /// A new node that no name leads to yet.
  [[nodiscard]] NodeNumber create(Node node);
  void make(Change change);
  /// The last open handle of a file without names is gone.
  void forget(NodeNumber node);
  void count_link(NodeNumber node, int by);

  void sync(NodeNumber node);
  void sync_filesystem(std::uint32_t filesystem);
  void sync_all();

  /// The power goes and comes back: `fates` for all that is pending, in its order.
  void crash(const std::vector<Fate>& fates, std::uint64_t garbage_seed = 1);
  /// What `crash` would leave.
  [[nodiscard]] FileTree after_crash(const std::vector<Fate>& fates, std::uint64_t garbage_seed = 1) const;
  /// A tree that was found after a crash: all of it is durable.
  void restart_with(FileTree tree);

 private:
  static void apply(FileTree& tree, const Change& change, const Fate& fate, std::uint64_t garbage);
  template <class F>
  void keep_where(const F& is_kept);

  FileTree seen_;
  FileTree durable_;
  std::vector<Change> pending_;
  std::uint64_t version_ = 0;
};

}  // namespace slotkeeper::test
