#include "partitions/io/memory_file.hpp"

#include <algorithm>
#include <fstream>

#include <gtest/gtest.h>

#include "tests/support/unwrap.hpp"

namespace slotkeeper::io {
namespace {

using test::ok;

TEST(MemoryFile, IsReadAndWrittenUnderItsPathByOthers) {
  const auto file = ok(MemoryFile::create("test", as_bytes("0123456789")));
  std::ifstream in(file->path());
  std::string text;
  in >> text;
  EXPECT_EQ(text, "0123456789");
  std::fstream out(file->path(), std::ios::in | std::ios::out);
  out.seekp(4);
  out << "ABCDEFGH" << std::flush;
  const auto content = ok(file->content());
  EXPECT_EQ(as_text(content), "0123ABCDEFGH");
}

TEST(MemoryFile, IsGoneWithTheObject) {
  auto file = ok(MemoryFile::create("test", {}));
  EXPECT_TRUE(ok(file->content()).empty());
  const std::string path = file->path();
  EXPECT_TRUE(std::ifstream(path).is_open());
  file.reset();
  EXPECT_FALSE(std::ifstream(path).is_open());
}

TEST(MemoryFile, HoldsMoreThanOneReadBrings) {
  std::vector<std::byte> large(std::size_t{5} << 20U);
  for (std::size_t i = 0; i < large.size(); i += 4096) large[i] = static_cast<std::byte>(i >> 12U);
  EXPECT_TRUE(std::ranges::equal(ok(ok(MemoryFile::create("test", large))->content()), large));
}

}  // namespace
}  // namespace slotkeeper::io
