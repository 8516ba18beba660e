// Disk images as sparse files and in memory. Throws std::runtime_error when the system refuses.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>

namespace slotkeeper::test {

[[nodiscard]] std::string read_image(const std::string& path);
/// Makes or replaces the file; zeros become holes.
void write_image(const std::string& path, const std::string& contents);
void copy_image(const std::string& from, const std::string& to);

/// Contents of a disk of which most is zeros; copies share what they have in common.
class SparseImage {
 public:
  SparseImage() = default;
  explicit SparseImage(const std::string& path);
  void store(const std::string& path) const;  ///< makes or replaces the file

  [[nodiscard]] std::uint64_t size() const { return size_; }
  void write(std::uint64_t offset, std::string_view data);
  void zero(std::uint64_t offset, std::uint64_t length);
  [[nodiscard]] std::uint64_t hash() const;

 private:
  /// Calls `change(piece, offset in it, offset in the range, length)` for each piece that the range touches.
  template <class F>
  void for_each_piece(std::uint64_t offset, std::uint64_t length, const F& change);
  [[nodiscard]] std::string& writable(std::uint64_t piece);

  std::map<std::uint64_t, std::shared_ptr<std::string>> pieces_;  ///< by number; what is missing is zeros
  std::uint64_t size_ = 0;
};

}  // namespace slotkeeper::test
