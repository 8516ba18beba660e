#include "tests/support/file_contents.hpp"

#include <array>
#include <fstream>
#include <stdexcept>

namespace slotkeeper::test {

std::string contents_of(const std::string& path) {
  // In blocks: byte by byte, as through a stream iterator, was two thirds of a test that reads logs after every cut.
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error("cannot read " + path);
  std::string contents;
  std::array<char, 1 << 16> block{};
  do {
    in.read(block.data(), block.size());
    contents.append(block.data(), static_cast<std::size_t>(in.gcount()));
  } while (in);
  if (in.bad()) throw std::runtime_error("cannot read " + path);
  return contents;
}

}  // namespace slotkeeper::test
