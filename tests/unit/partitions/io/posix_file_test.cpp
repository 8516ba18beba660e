#include <cerrno>
#include <string>

#include <gtest/gtest.h>

#include "partitions/io/storage.hpp"
#include "tests/support/temporary_directory.hpp"

namespace slotkeeper::io {
namespace {

TEST(PosixFile, ReadsBackWhatWasWritten) {
  const test::TemporaryDirectory folder;
  const auto storage = make_posix_storage();
  for (const bool direct : {false, true}) {
    OpenMode mode = OpenMode::create_new(0640);
    mode.direct = direct;
    auto file = storage->open_file(folder / (direct ? "direct" : "plain"), mode);
    ASSERT_TRUE(file.has_value()) << file.assume_error().message;
    const std::string text(8192, 'x');
    ASSERT_TRUE(file.assume_value()->write_at(0, as_bytes(text)).has_value());
    ASSERT_TRUE(file.assume_value()->sync().has_value());
    std::string back(5000, ' ');
    ASSERT_TRUE(file.assume_value()
                    ->read_exactly_at(100, std::as_writable_bytes(std::span(back.data(), back.size())))
                    .has_value());
    EXPECT_EQ(back, std::string(5000, 'x'));
    EXPECT_EQ(file.assume_value()->status().assume_value().mode, 0640U);
    EXPECT_TRUE(file.assume_value()->close().has_value());
    EXPECT_EQ(file.assume_value()->close().assume_error().os_errno, EBADF);
  }
}

}  // namespace
}  // namespace slotkeeper::io
