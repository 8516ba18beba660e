// Queued writes, by io_uring and by threads: all arrive, each result is its own, the queue takes more than it has
// places.
#include "partitions/io/posix_write_queue.hpp"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "partitions/io/aligned_buffer.hpp"
#include "partitions/io/posix_call.hpp"
#include "tests/support/file_contents.hpp"
#include "tests/support/temporary_directory.hpp"

namespace slotkeeper::io {
namespace {

constexpr std::size_t kBlock = 4096;

class PosixWriteQueue : public testing::TestWithParam<WriteQueue::Kind> {
 protected:
  [[nodiscard]] Descriptor open(int flags) const {
    return Descriptor(::open((folder_ / "file").c_str(), O_CREAT | O_CLOEXEC | flags, 0600));
  }
  test::TemporaryDirectory folder_;
};

TEST_P(PosixWriteQueue, WritesMoreThanItHasPlacesFor) {
  constexpr std::size_t kWrites = 3 * kQueuedWritesMax + 5;
  AlignedBuffer data(kWrites * kBlock);
  std::string expected;
  for (std::size_t i = 0; i < kWrites; ++i) {
    std::ranges::fill(data.bytes().subspan(i * kBlock, kBlock), static_cast<std::byte>(i));
    expected += std::string(kBlock, static_cast<char>(i));
  }
  const Descriptor file = open(O_RDWR | O_DIRECT);
  ASSERT_TRUE(file.is_open());
  const auto queue = WriteQueue::make(file.number(), GetParam());
  for (std::size_t i = kWrites; i-- > 0;) {
    ASSERT_EQ(queue->submit({.offset = i * kBlock, .data = data.bytes().subspan(i * kBlock, kBlock), .tag = i}), 0);
  }
  EXPECT_EQ(queue->pending(), kWrites);
  std::vector<bool> seen(kWrites);
  while (queue->pending() > 0) {
    const std::size_t before = queue->pending();
    const auto finished = queue->reap(1);
    ASSERT_FALSE(finished.empty());
    EXPECT_EQ(queue->pending(), before - finished.size());
    for (const FinishedWrite& write : finished) {
      EXPECT_EQ(write.os_errno, 0);
      EXPECT_FALSE(seen[write.request.tag]);
      seen[write.request.tag] = true;
    }
  }
  EXPECT_TRUE(std::ranges::all_of(seen, [](bool is_seen) { return is_seen; }));
  EXPECT_TRUE(test::contents_of(folder_ / "file") == expected);
}

TEST_P(PosixWriteQueue, EndsOnlyWhenEverythingIsWritten) {
  AlignedBuffer data(64 * kBlock);
  std::ranges::fill(data.bytes(), std::byte{7});
  const Descriptor file = open(O_RDWR);
  {
    const auto queue = WriteQueue::make(file.number(), GetParam());
    for (std::size_t i = 0; i < 64; ++i) {
      ASSERT_EQ(queue->submit({.offset = i * kBlock, .data = data.bytes().subspan(i * kBlock, kBlock), .tag = i}), 0);
    }
  }
  EXPECT_EQ(test::contents_of(folder_ / "file"), std::string(64 * kBlock, '\7'));
}

TEST_P(PosixWriteQueue, SaysWhatFailed) {
  const AlignedBuffer data(kBlock);
  ASSERT_TRUE(open(O_RDWR).is_open());
  const Descriptor file = open(O_RDONLY);
  const auto queue = WriteQueue::make(file.number(), GetParam());
  ASSERT_EQ(queue->submit({.offset = 0, .data = data.bytes(), .tag = 42}), 0);
  const auto finished = queue->reap(1);
  ASSERT_EQ(finished.size(), 1U);
  EXPECT_EQ(finished[0].request.tag, 42U);
  EXPECT_EQ(finished[0].os_errno, EBADF);
}

INSTANTIATE_TEST_SUITE_P(Kinds, PosixWriteQueue, testing::Values(WriteQueue::Kind::best, WriteQueue::Kind::threads),
                         [](const auto& kind) { return kind.param == WriteQueue::Kind::best ? "Best" : "Threads"; });

}  // namespace
}  // namespace slotkeeper::io
