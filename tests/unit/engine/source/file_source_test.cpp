#include <gtest/gtest.h>

#include "engine/source/source.hpp"
#include "tests/support/fault_storage.hpp"
#include "tests/unit/engine/bundle/bundle_workshop.hpp"

namespace slotkeeper {
namespace {

using test::expect_failure;

std::string read_all(Source& source, std::uint64_t offset, std::size_t length) {
  std::string text(length, '?');
  const auto count = source.read_at(offset, std::as_writable_bytes(std::span(text)));
  EXPECT_TRUE(count.has_value());
  return text.substr(0, count.has_value() ? count.value() : 0);
}

TEST(FileSource, ReadsAnywhereAndShortOnlyAtTheEnd) {
  const test::TemporaryDirectory folder;
  test::write_file(folder / "file", "0123456789");
  const auto storage = io::make_posix_storage();
  const auto source = open_source(*storage, folder / "file").value();
  EXPECT_EQ(source->name(), folder / "file");
  EXPECT_EQ(source->size_bytes(), 10u);
  EXPECT_EQ(read_all(*source, 0, 10), "0123456789");
  EXPECT_EQ(read_all(*source, 8, 10), "89");
  EXPECT_EQ(read_all(*source, 10, 10), "");
  EXPECT_EQ(read_all(*source, 1000, 10), "");
}

TEST(FileSource, KeepsReadingTheFileItOpened) {
  const test::TemporaryDirectory folder;
  test::write_file(folder / "file", "old");
  const auto storage = io::make_posix_storage();
  const auto source = open_source(*storage, folder / "file").value();
  test::write_file(folder / "new", "new");
  test::run_tool({"mv", folder / "new", folder / "file"});
  EXPECT_EQ(read_all(*source, 0, 10), "old");
}

TEST(FileSource, FollowsALink) {
  const test::TemporaryDirectory folder;
  test::write_file(folder / "file", "text");
  test::run_tool({"ln", "-s", "file", folder / "link"});
  const auto storage = io::make_posix_storage();
  EXPECT_EQ(read_all(*open_source(*storage, folder / "link").value(), 0, 10), "text");
}

TEST(FileSource, WhatCannotBeReadIsUnreachable) {
  const test::TemporaryDirectory folder;
  const auto storage = io::make_posix_storage();
  expect_failure(open_source(*storage, folder / "missing"), Errc::source_unreachable, "missing");
  expect_failure(open_source(*storage, folder.path()), Errc::source_unreachable, folder.path());
  expect_failure(open_source(*storage, "/dev/null"), Errc::source_unreachable, "/dev/null");
  test::run_tool({"mkfifo", folder / "fifo"});
  expect_failure(open_source(*storage, folder / "fifo"), Errc::source_unreachable, "fifo");
}

TEST(FileSource, BlockDeviceIsNoBundle) {
  if (!test::may_mount()) GTEST_SKIP() << "needs root";
  const test::TemporaryDirectory folder;
  test::make_file(folder / "image", 1 << 20);
  const test::LoopDevice loop(folder / "image");
  const auto storage = io::make_posix_storage();
  expect_failure(open_source(*storage, loop.path()), Errc::source_unreachable, "not a regular file");
}

TEST(FileSource, FailedReadIsUnreachable) {
  const test::TemporaryDirectory folder;
  test::write_file(folder / "file", "text");
  const auto real = io::make_posix_storage();
  test::FaultStorage storage(*real);
  const auto source = open_source(storage, folder / "file").value();
  storage.set({.file = {}, .line = 0, .operation = "read_at"});
  std::vector<std::byte> into(4);
  expect_failure(source->read_at(0, into), Errc::source_unreachable);
}

}  // namespace
}  // namespace slotkeeper
