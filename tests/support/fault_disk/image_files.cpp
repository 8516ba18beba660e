#include "tests/support/fault_disk/image_files.hpp"

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

void copy_image(const std::string& from, const std::string& to) { write_image(to, read_image(from)); }

}  // namespace slotkeeper::test
