#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <string>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "partitions/io/aligned_buffer.hpp"
#include "partitions/io/storage.hpp"
#include "tests/support/loop_device.hpp"
#include "tests/support/temporary_directory.hpp"
#include "tests/support/unwrap.hpp"

namespace slotkeeper::io {
namespace {

using test::error_of;
using test::LoopDevice;
using test::MountedFilesystem;
using test::ok;
using test::TemporaryDirectory;

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20U;

Bytes writable(std::string& text) { return std::as_writable_bytes(std::span(text.data(), text.size())); }

std::string read_all(File& file) {
  std::string text(ok(file.size()), '\0');
  ok(file.read_exactly_at(0, writable(text)));
  return text;
}

/// A text in which every position can be told from its neighbours.
std::string pattern(std::size_t bytes) {
  std::string text(bytes, '\0');
  for (std::size_t i = 0; i < bytes; ++i) text[i] = static_cast<char>((i * 31 + i / 251) & 0xffU);
  return text;
}

OpenMode direct(OpenMode mode) {
  mode.direct = true;
  return mode;
}

class PosixFile : public ::testing::Test {
 protected:
  std::unique_ptr<File> create(const std::string& name) {
    return ok(storage_->open_file(folder_ / name, OpenMode::create_new(0640)));
  }
  TemporaryDirectory folder_;
  std::unique_ptr<Storage> storage_ = make_posix_storage();
};

TEST_F(PosixFile, ReadsFewerBytesOnlyAtTheEnd) {
  const auto file = create("short");
  ok(file->write_at(0, as_bytes("0123456789")));
  std::string into(8, '.');
  EXPECT_EQ(ok(file->read_at(2, writable(into))), 8U);
  EXPECT_EQ(into, "23456789");
  EXPECT_EQ(ok(file->read_at(7, writable(into))), 3U);
  EXPECT_EQ(ok(file->read_at(10, writable(into))), 0U);
  EXPECT_EQ(ok(file->read_at(99, writable(into))), 0U);
  const Error error = error_of(file->read_exactly_at(7, writable(into)));
  EXPECT_EQ(error.code, Errc::io_error);
  EXPECT_NE(error.message.find("ends at offset 10"), std::string::npos) << error.message;
}

TEST_F(PosixFile, GivesTheModeAskedForWhateverTheUmask) {
  const mode_t before = ::umask(077);
  const auto file = ok(storage_->open_file(folder_ / "open", OpenMode::create_new(0666)));
  ::umask(before);
  EXPECT_EQ(ok(file->status()).mode, 0666U);
}

TEST_F(PosixFile, AnswersEveryCallWithAnErrorAfterClose) {
  const auto file = create("closed");
  ok(file->close());
  std::string into(4, '.');
  EXPECT_EQ(error_of(file->read_at(0, writable(into))).os_errno, EBADF);
  EXPECT_EQ(error_of(file->write_at(0, as_bytes("x"))).os_errno, EBADF);
  EXPECT_EQ(error_of(file->sync()).code, Errc::sync_failed);
  EXPECT_EQ(error_of(file->size()).os_errno, EBADF);
  EXPECT_EQ(error_of(file->extended_attributes()).os_errno, EBADF);
  EXPECT_EQ(error_of(file->close()).os_errno, EBADF);
}

TEST_F(PosixFile, RefusesToWriteWhenOpenedForReading) {
  ok(create("plain")->close());
  const auto file = ok(storage_->open_file(folder_ / "plain", OpenMode::read_only()));
  const Error error = error_of(file->write_at(0, as_bytes("x")));
  EXPECT_EQ(error.code, Errc::io_error);
  EXPECT_EQ(error.os_errno, EBADF);
  EXPECT_NE(error.message.find(folder_ / "plain"), std::string::npos);
  EXPECT_NE(error.message.find("pwrite"), std::string::npos);
}

TEST_F(PosixFile, DirectReadsReachEveryOffsetAndLength) {
  const std::string content = pattern(3 * 4096 + 777);
  ok(create("direct")->write_at(0, as_bytes(content)));
  const auto file = ok(storage_->open_file(folder_ / "direct", direct(OpenMode::read_only())));
  for (const std::size_t offset : {0, 1, 511, 4095, 4096, 4097, 12288, 12300}) {
    for (const std::size_t length : {1, 4096, 4097, 8192, 20000}) {
      std::string into(length, '.');
      const std::size_t count = ok(file->read_at(offset, writable(into)));
      EXPECT_EQ(count, std::min(length, content.size() - offset)) << offset << " " << length;
      EXPECT_EQ(into.substr(0, count), content.substr(offset, count)) << offset << " " << length;
    }
  }
  EXPECT_EQ(ok(file->drop_cache()), ReadBackLevel::direct);
}

TEST_F(PosixFile, DirectWritesFromAnyBufferAreReadBackAndUnalignedOnesRefused) {
  const auto file = ok(storage_->open_file(folder_ / "direct", direct(OpenMode::create_new(0600))));
  const std::string content = pattern(3 * kMiB + 1);
  const ConstBytes crooked = as_bytes(content).subspan(1);
  ok(file->write_at(4096, crooked));
  ok(file->sync());
  std::string back(crooked.size(), '.');
  ok(file->read_exactly_at(4096, writable(back)));
  EXPECT_EQ(back, content.substr(1));
  EXPECT_EQ(error_of(file->write_at(1, crooked.first(4096))).code, Errc::internal);
  EXPECT_EQ(error_of(file->write_at(0, crooked.first(4095))).code, Errc::internal);
}

TEST_F(PosixFile, ShowsThatTheCacheWasDroppedOrSaysThatItWasNot) {
  const auto file = create("cached");
  ok(file->write_at(0, as_bytes(pattern(kMiB))));
  ok(file->sync());
  EXPECT_EQ(ok(file->drop_cache()), ReadBackLevel::cache_dropped);
  EXPECT_EQ(read_all(*file), pattern(kMiB));
  // tmpfs has nothing but its cache.
  const std::string memory = "/dev/shm/slotkeeper-test-" + std::to_string(::getpid());
  const auto in_memory = ok(storage_->open_file(memory, OpenMode::create_new(0600)));
  ::unlink(memory.c_str());
  ok(in_memory->write_at(0, as_bytes(pattern(8192))));
  EXPECT_EQ(ok(in_memory->drop_cache()), ReadBackLevel::cached);
}

TEST_F(PosixFile, NeverCallsATmpfsDirect) {
  const std::string memory = "/dev/shm/slotkeeper-test-direct-" + std::to_string(::getpid());
  const auto file = ok(storage_->open_file(memory, direct(OpenMode::create_new(0600))));
  ::unlink(memory.c_str());
  ok(file->write_at(0, as_bytes(pattern(8192))));
  EXPECT_EQ(ok(file->drop_cache()), ReadBackLevel::cached);
  EXPECT_EQ(read_all(*file), pattern(8192));
}

TEST_F(PosixFile, SubmittedWritesAreReapedOnceWithTheirOwnResults) {
  const auto file = ok(storage_->open_file(folder_ / "batch", direct(OpenMode::create_new(0600))));
  const std::string page = pattern(4096);
  const std::array<WriteRequest, 3> batch = {{{.offset = 4096, .data = as_bytes(page), .tag = 7},
                                              {.offset = 1, .data = as_bytes(page), .tag = 8},
                                              {.offset = 0, .data = as_bytes(page), .tag = 9}}};
  ok(file->submit(batch));
  EXPECT_EQ(error_of(file->reap(4)).code, Errc::internal);
  const auto completions = ok(file->reap(1));
  ASSERT_EQ(completions.size(), 3U);
  EXPECT_TRUE(completions[0].tag == 7 && completions[0].result.has_value());
  EXPECT_TRUE(completions[1].tag == 8 && !completions[1].result.has_value());
  EXPECT_TRUE(completions[2].tag == 9 && completions[2].result.has_value());
  EXPECT_TRUE(ok(file->reap(0)).empty());
  EXPECT_EQ(read_all(*file), page + page);
}

TEST_F(PosixFile, AFailedWriteThatNobodyReapedIsAFailedClose) {
  create("read-only");
  const auto file = ok(storage_->open_file(folder_ / "read-only", direct(OpenMode::read_only())));
  const AlignedBuffer page(4096);
  const std::array<WriteRequest, 1> batch = {{{.offset = 0, .data = page.bytes(), .tag = 1}}};
  ok(file->submit(batch));
  EXPECT_EQ(error_of(file->close()).os_errno, EBADF);
}

TEST_F(PosixFile, AllocatesZeroesDiscardsAndResizes) {
  const auto file = create("ranges");
  ok(file->write_at(0, as_bytes(std::string(16384, 'x'))));
  ok(file->zero(100, 5000));
  EXPECT_EQ(read_all(*file), std::string(100, 'x') + std::string(5000, '\0') + std::string(11284, 'x'));
  ok(file->allocate(16384, 65536));
  EXPECT_EQ(ok(file->size()), 81920U);
  EXPECT_GE(ok(file->status()).allocated_bytes, 81920U);
  ok(file->zero(81920, 4096));
  EXPECT_EQ(ok(file->size()), 86016U);
  ok(file->sync());
  ok(file->discard(0, 81920));
  EXPECT_EQ(ok(file->size()), 86016U);
  EXPECT_LE(ok(file->status()).allocated_bytes, 8192U);
  ok(file->resize(5));
  EXPECT_EQ(ok(file->size()), 5U);
}

TEST_F(PosixFile, AnExclusiveLockExcludesAnotherProcess) {
  const auto file = create("locked");
  ASSERT_TRUE(ok(file->try_lock(LockKind::exclusive)));
  EXPECT_EQ(ok(storage_->lock_holder(folder_ / "locked")), ::getpid());
  const pid_t other = ::fork();
  if (other == 0) {
    const auto mine = make_posix_storage()->open_file(folder_ / "locked", OpenMode::read_write());
    const auto taken = mine.assume_value()->try_lock(LockKind::exclusive);
    ::_exit(taken.has_value() && !taken.assume_value() ? 0 : 1);
  }
  int status = -1;
  ::waitpid(other, &status, 0);
  EXPECT_EQ(status, 0) << "the other process got the lock, or an error";
  ok(file->close());
  EXPECT_EQ(ok(storage_->lock_holder(folder_ / "locked")), std::nullopt);
  const auto later = ok(storage_->open_file(folder_ / "locked", OpenMode::read_only()));
  const auto beside = ok(storage_->open_file(folder_ / "locked", OpenMode::read_only()));
  EXPECT_TRUE(ok(later->try_lock(LockKind::shared)));
  EXPECT_TRUE(ok(beside->try_lock(LockKind::shared)));
  EXPECT_FALSE(ok(beside->try_lock(LockKind::exclusive)));
}

TEST_F(PosixFile, ALeaseShowsWhoElseHasTheFileOpen) {
  const std::string path = folder_ / "leased";
  ok(create("leased")->close());
  const auto file = ok(storage_->open_file(path, OpenMode::read_only()));
  const int writer = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  EXPECT_FALSE(ok(file->try_lease(LeaseKind::no_writer)));
  ::close(writer);
  EXPECT_TRUE(ok(file->try_lease(LeaseKind::no_writer)));
  ok(file->close());

  const auto alone = ok(storage_->open_file(path, OpenMode::read_write()));
  const int reader = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  EXPECT_FALSE(ok(alone->try_lease(LeaseKind::nobody)));
  ::close(reader);
  EXPECT_TRUE(ok(alone->try_lease(LeaseKind::nobody)));
  EXPECT_EQ(error_of(alone->try_lease(LeaseKind::no_writer)).code, Errc::internal);
}

TEST_F(PosixFile, ALeaseThatIsBrokenDoesNotKillUs) {
  const std::string path = folder_ / "leased";
  const auto file = create("leased");
  ASSERT_TRUE(ok(file->try_lease(LeaseKind::nobody)));
  const pid_t other = ::fork();
  if (other == 0) ::_exit(::open(path.c_str(), O_RDONLY | O_NONBLOCK) < 0 && errno == EWOULDBLOCK ? 0 : 1);
  int status = -1;
  ::waitpid(other, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(error_of(storage_->open_file(path, OpenMode::read_only())).os_errno, EAGAIN);
  ok(file->close());
  ok(ok(storage_->open_file(path, OpenMode::read_only()))->close());
}

TEST_F(PosixFile, KeepsAttributesExactly) {
  const auto file = create("attributes");
  Attributes attributes;
  attributes.mode = ::geteuid() == 0 ? 06755 : 0755;
  attributes.owner = ::geteuid() == 0 ? 1234 : ::geteuid();
  attributes.group = ::geteuid() == 0 ? 4321 : ::getegid();
  attributes.accessed = {.seconds = 1, .nanoseconds = 999999999};
  attributes.modified = {.seconds = -5, .nanoseconds = 7};
  ok(file->set_attributes(attributes));
  const EntryStatus status = ok(file->status());
  EXPECT_EQ(status.mode, attributes.mode);
  EXPECT_EQ(status.owner, attributes.owner);
  EXPECT_EQ(status.group, attributes.group);
  EXPECT_EQ(status.accessed, attributes.accessed);
  EXPECT_EQ(status.modified, attributes.modified);
}

TEST_F(PosixFile, KeepsExtendedAttributesOfEverySize) {
  const auto file = create("attributes");
  EXPECT_TRUE(ok(file->extended_attributes()).empty());
  const ExtendedAttribute small{.name = "user.small", .value = std::string("a\0b", 3)};
  const ExtendedAttribute empty{.name = "user.empty", .value = ""};
  const ExtendedAttribute large{.name = "user.large", .value = pattern(3000)};
  for (const auto& attribute : {small, large, empty}) ok(file->set_extended_attribute(attribute));
  EXPECT_EQ(ok(file->extended_attributes()), (std::vector{empty, large, small}));
  ok(file->set_extended_attribute({.name = "user.small", .value = "other"}));
  ok(file->remove_extended_attribute("user.large"));
  EXPECT_EQ(ok(file->extended_attributes()),
            (std::vector{empty, ExtendedAttribute{.name = "user.small", .value = "other"}}));
  EXPECT_EQ(error_of(file->remove_extended_attribute("user.large")).os_errno, ENODATA);
  EXPECT_EQ(error_of(file->set_extended_attribute({.name = std::string("user.a\0b", 8), .value = ""})).os_errno,
            EINVAL);
}

TEST_F(PosixFile, GoesOnAfterAShortWrite) {
  const auto file = create("limited");
  // A write across the limit is cut short at it; only the next one is refused.
  struct rlimit before {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  struct rlimit limited = before;
  limited.rlim_cur = 10000;
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limited), 0);
  const Result<void> written = file->write_at(0, as_bytes(pattern(20000)));
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);
  const Error error = error_of(written);
  EXPECT_EQ(error.code, Errc::io_error);
  EXPECT_EQ(error.os_errno, EFBIG);
  EXPECT_NE(error.message.find("10000 bytes at offset 10000"), std::string::npos) << error.message;
  EXPECT_EQ(read_all(*file), pattern(10000));
}

TEST_F(PosixFile, TellsAFullFilesystemFromAFault) {
  if (!test::may_mount()) GTEST_SKIP() << "needs root for a filesystem of its own";
  test::make_ext4(folder_ / "image", 2 * kMiB);
  const LoopDevice loop(folder_ / "image");
  const MountedFilesystem mounted(loop.path(), folder_ / "mounted");
  const auto file = ok(storage_->open_file(mounted.path() + "/big", OpenMode::create_new(0600)));
  const std::string piece(65536, 'x');
  Result<void> written = success();
  std::uint64_t offset = 0;
  for (; offset < 4 * kMiB && written.has_value(); offset += piece.size()) {
    written = file->write_at(offset, as_bytes(piece));
  }
  EXPECT_GT(offset, piece.size()) << "it was full from the beginning";
  const Error error = error_of(written);
  EXPECT_EQ(error.code, Errc::storage_full);
  EXPECT_EQ(error.os_errno, ENOSPC);
  EXPECT_EQ(error_of(file->allocate(0, 4 * kMiB)).code, Errc::storage_full);
}

TEST_F(PosixFile, ASyncThatFailsSaysSo) {
  if (!test::may_mount()) GTEST_SKIP() << "needs root for loop devices";
  // A device larger than what lies below it: writes are cached, and only the sync finds out.
  test::make_ext4(folder_ / "image", 2 * kMiB);
  const LoopDevice below(folder_ / "image");
  const MountedFilesystem mounted(below.path(), folder_ / "mounted");
  test::make_file(mounted.path() + "/sparse", 16 * kMiB);
  const LoopDevice loop(mounted.path() + "/sparse");
  const auto device = ok(storage_->open_file(loop.path(), OpenMode::read_write()));
  ok(device->write_at(0, as_bytes(pattern(8 * kMiB))));
  const Error error = error_of(device->sync());
  EXPECT_EQ(error.code, Errc::sync_failed);
  EXPECT_NE(error.os_errno, 0);
}

TEST_F(PosixFile, TellsAReadOnlyFilesystem) {
  if (!test::may_mount()) GTEST_SKIP() << "needs root for a filesystem of its own";
  test::make_ext4(folder_ / "image", 2 * kMiB);
  const LoopDevice loop(folder_ / "image");
  const MountedFilesystem mounted(loop.path(), folder_ / "mounted", "ro");
  EXPECT_EQ(error_of(storage_->open_file(mounted.path() + "/new", OpenMode::create_new(0600))).code, Errc::read_only);
}

TEST_F(PosixFile, WritesZeroesAndReadsBlockDevicesDirectly) {
  if (!test::may_mount()) GTEST_SKIP() << "needs root for a loop device";
  test::make_file(folder_ / "image", 4 * kMiB);
  const LoopDevice loop(folder_ / "image");
  const auto device = ok(storage_->open_file(loop.path(), direct(OpenMode::read_write())));
  EXPECT_EQ(ok(device->size()), 4 * kMiB);
  EXPECT_EQ(ok(device->status()).type, EntryType::block_device);
  const std::string content = pattern(4 * kMiB);
  ok(device->write_at(0, as_bytes(content)));
  ok(device->sync());
  EXPECT_EQ(ok(device->drop_cache()), ReadBackLevel::direct);
  EXPECT_EQ(read_all(*device), content);
  ok(device->zero(4096, 8192));
  std::string expected = content;
  std::memset(expected.data() + 4096, 0, 8192);
  EXPECT_EQ(read_all(*device), expected);
  EXPECT_EQ(error_of(device->zero(512, 100)).code, Errc::internal);
  ok(device->allocate(0, 4 * kMiB));
  EXPECT_EQ(error_of(device->allocate(4096, 4 * kMiB)).code, Errc::storage_full);
  ok(device->discard(0, 4096));
  EXPECT_EQ(error_of(device->write_at(4 * kMiB, as_bytes(content.substr(0, 4096)))).os_errno, ENOSPC);
  std::string past(10, '.');
  EXPECT_EQ(ok(device->read_at(4 * kMiB - 3, writable(past))), 3U);
  ok(device->close());

  const auto buffered = ok(storage_->open_file(loop.path(), OpenMode::read_only()));
  EXPECT_EQ(read_all(*buffered).substr(12288), expected.substr(12288));
  EXPECT_EQ(ok(buffered->drop_cache()), ReadBackLevel::cache_dropped);
}

}  // namespace
}  // namespace slotkeeper::io
