// Memory that direct I/O accepts.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <new>

#include "partitions/io/file.hpp"

namespace slotkeeper::io {

/// `size` zeroed bytes that begin on a multiple of `kDirectAlignment`.
class AlignedBuffer {
 public:
  explicit AlignedBuffer(std::size_t size)
      : data_(static_cast<std::byte*>(::operator new[](size, std::align_val_t{kDirectAlignment}))), size_(size) {
    std::fill_n(data_.get(), size_, std::byte{0});
  }

  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] Bytes bytes() { return {data_.get(), size_}; }
  [[nodiscard]] ConstBytes bytes() const { return {data_.get(), size_}; }

 private:
  struct Free {
    void operator()(std::byte* data) const { ::operator delete[](data, std::align_val_t{kDirectAlignment}); }
  };
  std::unique_ptr<std::byte[], Free> data_;
  std::size_t size_;
};

[[nodiscard]] constexpr std::uint64_t round_up_to_block(std::uint64_t bytes) {
  return (bytes + kDirectAlignment - 1) / kDirectAlignment * kDirectAlignment;
}
[[nodiscard]] constexpr std::uint64_t round_down_to_block(std::uint64_t bytes) {
  return bytes / kDirectAlignment * kDirectAlignment;
}
[[nodiscard]] inline bool is_all_zero(ConstBytes bytes) {
  // Equal to itself, one byte further on: what memcmp compares in words.
  return bytes.empty() || (bytes[0] == std::byte{0} && std::memcmp(bytes.data(), &bytes[1], bytes.size() - 1) == 0);
}

}  // namespace slotkeeper::io
