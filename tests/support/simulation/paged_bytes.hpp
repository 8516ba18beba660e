// Contents of a simulated file or device, in pages that copies share: a state of the whole device is kept and compared
// thousands of times a second.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "partitions/io/types.hpp"

namespace slotkeeper::test {

class PagedBytes {
 public:
  static constexpr std::size_t kPageBytes = 4096;

  PagedBytes() = default;
  explicit PagedBytes(io::ConstBytes contents);

  [[nodiscard]] std::uint64_t size() const { return size_; }
  /// What is cut off is gone: growing again shows zeros.
  void resize(std::uint64_t size_bytes);

  /// Fewer bytes only at the end.
  std::size_t read(std::uint64_t offset, io::Bytes into) const;
  [[nodiscard]] std::string text() const;
  /// Grows where it must.
  void write(std::uint64_t offset, io::ConstBytes data);
  void fill(std::uint64_t offset, std::uint64_t length, std::byte value);

  /// Pages without a place on the disk read as zeros and take no room.
  void punch(std::uint64_t offset, std::uint64_t length);
  void allocate(std::uint64_t offset, std::uint64_t length);
  [[nodiscard]] std::uint64_t allocated_bytes() const;
  /// How many pages would be new if the range were written.
  [[nodiscard]] std::uint64_t missing_bytes(std::uint64_t offset, std::uint64_t length) const;

  /// Over size and contents; pages remember theirs.
  [[nodiscard]] std::uint64_t hash() const;
  /// The first `length` bytes are those of `other`.
  [[nodiscard]] bool begins_like(const PagedBytes& other, std::uint64_t length) const;

 private:
  struct Page {
    std::array<std::byte, kPageBytes> bytes{};
    mutable std::uint64_t hash = 0;  ///< 0: not known
  };
  static const std::shared_ptr<Page>& zero_page();
  static std::uint64_t hash_of(const std::shared_ptr<Page>& page);
  Page& writable(std::size_t index);
  void grow_to(std::uint64_t size_bytes);

  std::vector<std::shared_ptr<Page>> pages_;  ///< none: a hole
  std::uint64_t size_ = 0;
};

}  // namespace slotkeeper::test
