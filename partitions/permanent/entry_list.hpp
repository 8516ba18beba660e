// The entries of an inventory or a snapshot, packed: a device with 200,000 files has no room for 300 bytes each.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "partitions/digest.hpp"
#include "partitions/io/types.hpp"
#include "partitions/permanent/classes.hpp"

namespace slotkeeper::permanent {

struct Entry {
  std::string path;  ///< relative, raw bytes; "." is the root itself
  ClassKind kind = ClassKind::config;
  std::uint32_t rule = 0;  ///< index into the table's rules; rules.size() for the default class
  io::EntryStatus status;
  std::vector<io::ExtendedAttribute> attributes;  ///< sorted; of config and state entries only
  std::string link_target;                        ///< of a symbolic link
  std::string hard_link;  ///< first protected path with the same inode; empty where this is the first, and for logs
  std::optional<Sha256> digest;  ///< of the contents, where they were read
};

[[nodiscard]] inline bool is_protected(ClassKind kind) { return kind == ClassKind::config || kind == ClassKind::state; }
[[nodiscard]] inline bool is_protected(const Entry& entry) { return is_protected(entry.kind); }

/// Holds entries as bytes in blocks of one size, some 100 bytes for an entry with a path of 40 and a digest; hands them
/// out by value. An entry that was added can only be read, so there is nothing to point into: hold an index instead.
/// Paths are unique where `sort` and `find` are used.
class EntryList {
 public:
  class Iterator;
  using value_type = Entry;
  using const_iterator = Iterator;

  EntryList() = default;
  EntryList(std::initializer_list<Entry> entries);
  EntryList(EntryList&&) noexcept = default;
  EntryList& operator=(EntryList&&) noexcept = default;
  ~EntryList() = default;

  void push_back(const Entry& entry);
  /// Into the order of `path_before`; costs nothing when the entries came in it.
  void sort();
  /// Takes entries out; `indices` in order.
  void remove(const std::vector<std::size_t>& indices);
  /// Makes entry `index` another name of entry `first`; both have more than one link and are no directories.
  void set_hard_link(std::size_t index, std::size_t first);

  [[nodiscard]] std::size_t size() const { return positions_.size(); }
  [[nodiscard]] bool empty() const { return positions_.empty(); }
  [[nodiscard]] Entry operator[](std::size_t index) const;
  [[nodiscard]] Entry front() const { return (*this)[0]; }
  [[nodiscard]] Entry back() const { return (*this)[size() - 1]; }
  /// What is cheap to ask, without the rest of the entry. The view is good for as long as the list lives.
  [[nodiscard]] std::string_view path(std::size_t index) const;
  [[nodiscard]] ClassKind kind(std::size_t index) const;
  [[nodiscard]] io::EntryType type(std::size_t index) const;
  /// By binary search: the list must be in the order of `sort`.
  [[nodiscard]] std::optional<std::size_t> find(std::string_view path) const;
  [[nodiscard]] Iterator begin() const;
  [[nodiscard]] Iterator end() const;
  /// What the list takes at present.
  [[nodiscard]] std::uint64_t memory_bytes() const;

 private:
  class Reader;
  /// Where a record begins: number of the block, then the offset in it.
  using Position = std::uint32_t;
  static constexpr unsigned int kBlockBits = 18;
  static constexpr std::size_t kBlockBytes = std::size_t{1} << kBlockBits;

  Position store(std::string_view record);
  [[nodiscard]] const char* at(Position position) const;
  [[nodiscard]] std::string_view path_at(Position position) const;
  [[nodiscard]] Position attributes_position(const Entry& entry);
  [[nodiscard]] Position hard_link_position(const Entry& entry, bool& is_text);

  std::vector<std::unique_ptr<char[]>> blocks_;
  std::uint64_t block_bytes_ = 0;  ///< of all blocks
  std::size_t open_block_ = 0;     ///< that takes the next record, if it fits
  std::size_t used_bytes_ = kBlockBytes;
  std::vector<Position> positions_;
  bool is_sorted_ = true;
  std::optional<std::uint64_t> device_;  ///< of the first entry, as a rule of all
  // Neighbours mostly have the same attributes (a label, an access list), which are then kept once.
  std::string last_attributes_;
  Position last_attributes_position_ = 0;
};

/// Yields entries by value: an input iterator.
class EntryList::Iterator {
 public:
  using iterator_concept = std::input_iterator_tag;
  using iterator_category = std::input_iterator_tag;
  using value_type = Entry;
  using difference_type = std::ptrdiff_t;
  using reference = Entry;
  class pointer {
   public:
    explicit pointer(Entry entry) : entry_(std::move(entry)) {}
    const Entry* operator->() const { return &entry_; }

   private:
    Entry entry_;
  };

  Iterator() = default;
  Iterator(const EntryList& list, std::size_t index) : list_(&list), index_(index) {}
  Entry operator*() const { return (*list_)[index_]; }
  pointer operator->() const { return pointer((*list_)[index_]); }
  Iterator& operator++() {
    ++index_;
    return *this;
  }
  Iterator operator++(int) {
    Iterator before = *this;
    ++index_;
    return before;
  }
  bool operator==(const Iterator&) const = default;

 private:
  const EntryList* list_ = nullptr;
  std::size_t index_ = 0;
};

inline EntryList::Iterator EntryList::begin() const { return {*this, 0}; }
inline EntryList::Iterator EntryList::end() const { return {*this, size()}; }

}  // namespace slotkeeper::permanent
