// A store area in memory: does what the state store's does, and can be made too small or flip a bit.
#pragma once

#include <algorithm>
#include <cstring>
#include <optional>
#include <vector>

#include "partitions/state_store.hpp"

namespace slotkeeper::test {

class MemoryArea final : public StoreArea {
 public:
  explicit MemoryArea(std::uint64_t capacity_bytes) : capacity_bytes_(capacity_bytes) {}

  [[nodiscard]] std::uint64_t capacity_bytes() const override { return capacity_bytes_; }
  [[nodiscard]] Result<void> unseal() override {
    seal_.reset();
    return success();
  }
  [[nodiscard]] Result<void> write_at(std::uint64_t offset, io::ConstBytes data) override {
    if (writes_until_failure_ && (*writes_until_failure_)-- == 0) {
      return make_error(Errc::sync_failed, "the area's device is gone", 5);
    }
    if (offset + data.size() > capacity_bytes_) return make_error(Errc::internal, "a write beyond the area's end");
    if (bytes_.size() < offset + data.size()) bytes_.resize(offset + data.size());
    std::copy(data.begin(), data.end(), bytes_.begin() + static_cast<std::ptrdiff_t>(offset));
    return success();
  }
  [[nodiscard]] Result<void> seal(const AreaSeal& seal) override {
    if (flip_before_seal_) bytes_.at(*flip_before_seal_) ^= std::byte{1};
    if (seal.length_bytes > bytes_.size()) return make_error(Errc::internal, "a seal over more than was written");
    if (sha256(io::ConstBytes(bytes_.data(), seal.length_bytes)) != seal.digest) {
      return make_error(Errc::readback_mismatch, "the area read back differently");
    }
    seal_ = seal;
    return success();
  }
  [[nodiscard]] Result<std::optional<AreaSeal>> read_seal() override { return seal_; }
  [[nodiscard]] Result<std::size_t> read_at(std::uint64_t offset, io::Bytes into) override {
    if (fails_to_read_) return make_error(Errc::io_error, "the area's device is gone", 5);
    if (offset >= bytes_.size()) return std::size_t{0};
    const std::size_t count = std::min<std::size_t>(into.size(), bytes_.size() - offset);
    std::memcpy(into.data(), bytes_.data() + offset, count);
    return count;
  }

  void fail_write(std::uint64_t after_writes) { writes_until_failure_ = after_writes; }
  void fail_reads(bool fails) { fails_to_read_ = fails; }
  void flip_bit_at(std::size_t offset) { bytes_.at(offset) ^= std::byte{1}; }
  void flip_bit_before_seal(std::size_t offset) { flip_before_seal_ = offset; }
  [[nodiscard]] const std::vector<std::byte>& bytes() const { return bytes_; }
  [[nodiscard]] std::size_t length() const { return seal_ ? static_cast<std::size_t>(seal_->length_bytes) : 0; }

 private:
  std::uint64_t capacity_bytes_;
  std::vector<std::byte> bytes_;
  std::optional<AreaSeal> seal_;
  std::optional<std::size_t> flip_before_seal_;
  std::optional<std::uint64_t> writes_until_failure_;
  bool fails_to_read_ = false;
};

}  // namespace slotkeeper::test
