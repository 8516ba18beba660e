// Many paths in little memory, for those who need no more of 200,000 entries than where they are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

namespace slotkeeper::permanent {

/// Keeps of each path what it does not share with the one before; so they are read in the order in which they came,
/// from the first on. Neighbours in a sorted list share most.
class PathList {
 public:
  class Iterator;
  using value_type = std::string;
  using const_iterator = Iterator;

  PathList() = default;
  PathList(PathList&&) noexcept = default;
  PathList& operator=(PathList&&) noexcept = default;
  ~PathList() = default;

  void push_back(std::string_view path);

  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] bool empty() const { return size_ == 0; }
  [[nodiscard]] std::string front() const;
  [[nodiscard]] Iterator begin() const;
  [[nodiscard]] Iterator end() const;
  /// What the list takes at present.
  [[nodiscard]] std::uint64_t memory_bytes() const;

 private:
  static constexpr std::size_t kBlockBytes = 4000;

  std::vector<std::string> blocks_;  ///< of whole records: bytes shared, bytes that follow, these
  std::string last_;
  std::size_t size_ = 0;
};

/// An input iterator: the path it yields is good until the next step.
class PathList::Iterator {
 public:
  using iterator_concept = std::input_iterator_tag;
  using iterator_category = std::input_iterator_tag;
  using value_type = std::string;
  using difference_type = std::ptrdiff_t;
  using pointer = const std::string*;
  using reference = const std::string&;

  Iterator() = default;
  Iterator(const PathList& list, std::size_t index) : list_(&list), index_(index) { read(); }
  reference operator*() const { return path_; }
  pointer operator->() const { return &path_; }
  Iterator& operator++() {
    ++index_;
    read();
    return *this;
  }
  Iterator operator++(int) {
    Iterator before = *this;
    ++*this;
    return before;
  }
  bool operator==(const Iterator& other) const { return list_ == other.list_ && index_ == other.index_; }

 private:
  void read();

  const PathList* list_ = nullptr;
  std::size_t index_ = 0;
  std::size_t block_ = 0;
  std::size_t offset_ = 0;  ///< of what is read next
  std::string path_;
};

inline PathList::Iterator PathList::begin() const { return {*this, 0}; }
inline PathList::Iterator PathList::end() const { return {*this, size_}; }
inline std::string PathList::front() const { return *begin(); }

}  // namespace slotkeeper::permanent
