#include "tests/support/fault_disk/image_files.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <stdexcept>
#include <string_view>
#include <unistd.h>

namespace slotkeeper::test {
namespace {

constexpr std::size_t kPieceBytes = std::size_t{64} * 1024;
constexpr std::size_t kSharedBytes = 4096;  ///< what images in memory share or do not share as a whole

std::runtime_error failed(const std::string& what) { return std::runtime_error(what + ": " + std::strerror(errno)); }

bool is_zero(std::string_view piece) {
  return piece.empty() || (piece.front() == '\0' && std::memcmp(piece.data(), piece.data() + 1, piece.size() - 1) == 0);
}

}  // namespace

std::string read_image(const std::string& path) {
  std::ifstream in(path, std::ios::binary | std::ios::ate);
  std::string contents(in ? static_cast<std::size_t>(in.tellg()) : 0, '\0');
  in.seekg(0);
  if (!in.read(contents.data(), static_cast<std::streamsize>(contents.size()))) {
    throw std::runtime_error("cannot read " + path);
  }
  return contents;
}

void write_image(const std::string& path, const std::string& contents) {
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  bool good = file >= 0 && ::ftruncate(file, static_cast<off_t>(contents.size())) == 0;
  for (std::size_t at = 0; good && at < contents.size(); at += kPieceBytes) {
    const std::string_view piece = std::string_view(contents).substr(at, kPieceBytes);
    if (is_zero(piece)) continue;
    good = ::pwrite(file, piece.data(), piece.size(), static_cast<off_t>(at)) == static_cast<ssize_t>(piece.size());
  }
  const int reason = errno;
  if (file >= 0) ::close(file);
  if (!good) throw std::runtime_error("cannot write " + path + ": " + std::strerror(reason));
}

void copy_image(const std::string& from, const std::string& to) { SparseImage(from).store(to); }

SparseImage::SparseImage(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  const off_t end = file >= 0 ? ::lseek(file, 0, SEEK_END) : -1;
  if (end < 0) throw failed("cannot read " + path);
  size_ = static_cast<std::uint64_t>(end);
  std::string piece(kPieceBytes, '\0');
  for (off_t at = 0; (at = ::lseek(file, at, SEEK_DATA)) >= 0;) {
    at -= at % static_cast<off_t>(kPieceBytes);
    const ssize_t count = ::pread(file, piece.data(), piece.size(), at);
    if (count <= 0) throw failed("cannot read " + path);
    for (std::size_t in_piece = 0; in_piece < static_cast<std::size_t>(count); in_piece += kSharedBytes) {
      const std::string_view one =
          std::string_view(piece.data(), static_cast<std::size_t>(count)).substr(in_piece, kSharedBytes);
      if (!is_zero(one)) write(static_cast<std::uint64_t>(at) + in_piece, one);
    }
    at += count;
  }
  ::close(file);
}

void SparseImage::store(const std::string& path) const {
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  bool good = file >= 0 && ::ftruncate(file, static_cast<off_t>(size_)) == 0;
  for (const auto& [number, piece] : pieces_) {
    const std::uint64_t at = number * kSharedBytes;
    const std::size_t length = std::min<std::uint64_t>(kSharedBytes, size_ - at);
    if (!good) break;
    if (is_zero(*piece)) continue;
    good = ::pwrite(file, piece->data(), length, static_cast<off_t>(at)) == static_cast<ssize_t>(length);
  }
  const int reason = errno;
  if (file >= 0) ::close(file);
  errno = reason;
  if (!good) throw failed("cannot write " + path);
}

std::string& SparseImage::writable(std::uint64_t piece) {
  std::shared_ptr<std::string>& place = pieces_[piece];
  if (!place) {
    place = std::make_shared<std::string>(kSharedBytes, '\0');
  } else if (place.use_count() > 1) {
    place = std::make_shared<std::string>(*place);
  }
  return *place;
}

template <class F>
void SparseImage::for_each_piece(std::uint64_t offset, std::uint64_t length, const F& change) {
  if (offset > size_ || length > size_ - offset) throw std::runtime_error("a write lies beyond the end of its disk");
  for (std::uint64_t done = 0; done < length;) {
    const std::uint64_t in_piece = (offset + done) % kSharedBytes;
    const std::uint64_t count = std::min(length - done, kSharedBytes - in_piece);
    change((offset + done) / kSharedBytes, in_piece, done, count);
    done += count;
  }
}

void SparseImage::write(std::uint64_t offset, std::string_view data) {
  for_each_piece(offset, data.size(),
                 [&](std::uint64_t piece, std::uint64_t at, std::uint64_t from, std::uint64_t count) {
                   writable(piece).replace(at, count, data.substr(from, count));
                 });
}

void SparseImage::zero(std::uint64_t offset, std::uint64_t length) {
  for_each_piece(offset, length, [&](std::uint64_t piece, std::uint64_t at, std::uint64_t, std::uint64_t count) {
    if (count == kSharedBytes) {
      pieces_.erase(piece);
    } else if (pieces_.contains(piece)) {
      writable(piece).replace(at, count, count, '\0');
    }
  });
}

std::uint64_t SparseImage::hash() const {
  std::uint64_t sum = size_;
  for (const auto& [number, piece] : pieces_) {
    if (is_zero(*piece)) continue;
    sum = (sum ^ number) * 1'099'511'628'211u ^ std::hash<std::string>{}(*piece);
  }
  return sum;
}

}  // namespace slotkeeper::test
