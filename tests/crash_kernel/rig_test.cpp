// The rig itself: each fault does what it says, seen through a loop device by direct I/O, and what is rebuilt from the
// log is what was there.
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "partitions/io/aligned_buffer.hpp"
#include "tests/support/fault_disk/crash_states.hpp"
#include "tests/support/fault_disk/fault_disk.hpp"
#include "tests/support/permanent_partition.hpp"

namespace slotkeeper::test {
namespace {

constexpr std::size_t kBlock = 4096;
constexpr std::uint64_t kDiskBytes = 1u << 20;

class FaultDiskRig : public testing::Test {
 protected:
  void SetUp() override {
    if (!may_mount()) GTEST_SKIP() << "needs root for loop devices and mounts";
    std::string contents(kDiskBytes, 'o');
    put_file(folder_ / "image", contents);
    make_file(folder_ / "other", kDiskBytes);
    disk_ = std::make_unique<FaultDisk>(
        std::vector<FaultDisk::Disk>{{"disk", folder_ / "image"}, {"other", folder_ / "other"}});
    device_ = ::open(disk_->path("disk").c_str(), O_RDWR | O_DIRECT | O_CLOEXEC);
    ASSERT_GE(device_, 0) << std::strerror(errno);
  }
  void TearDown() override {
    if (device_ >= 0) ::close(device_);
  }

  void rules(const std::string& text) { disk_->set_rules(parse_rules(text)); }

  /// 0, or the errno of the write.
  int write(std::uint64_t offset, char letter, std::size_t size = kBlock) {
    io::io::AlignedBuffer buffer(size);
    std::memset(buffer.bytes().data(), letter, size);
    const ssize_t count = ::pwrite(device_, buffer.bytes().data(), size, static_cast<off_t>(offset));
    return count == static_cast<ssize_t>(size) ? 0 : errno;
  }
  /// What the device says, past every cache; empty on an error.
  std::string read(std::uint64_t offset, std::size_t size = kBlock) {
    io::io::AlignedBuffer buffer(size);
    const ssize_t count = ::pread(device_, buffer.bytes().data(), size, static_cast<off_t>(offset));
    if (count != static_cast<ssize_t>(size)) return {};
    return {reinterpret_cast<const char*>(buffer.bytes().data()), size};
  }
  int flush() { return ::fsync(device_) == 0 ? 0 : errno; }

  TemporaryDirectory folder_;
  std::unique_ptr<FaultDisk> disk_;
  int device_ = -1;
};

std::string letters(char letter, std::size_t count = kBlock) { return std::string(count, letter); }

TEST_F(FaultDiskRig, KeepsWhatIsWrittenAndLogsIt) {
  EXPECT_EQ(read(0), letters('o'));
  const DiskCounters before = disk_->counters();
  ASSERT_EQ(write(8192, 'a'), 0);
  ASSERT_EQ(flush(), 0);
  EXPECT_EQ(read(8192), letters('a'));
  const DiskCounters after = disk_->counters();
  EXPECT_EQ(after.writes - before.writes, 1u);
  EXPECT_EQ(after.flushes - before.flushes, 1u);
  EXPECT_EQ(after.reads - before.reads, 1u);
  EXPECT_EQ(disk_->mark("here"), after.position);
  const auto log = read_disk_log(disk_->log_file());
  ASSERT_EQ(log.size(), after.position + 1);
  EXPECT_EQ(log.back().data, "here");
  const LogRecord& written = log[log.size() - 3];
  EXPECT_EQ(written.kind, LogKind::write);
  EXPECT_EQ(written.offset, 8192u);
  EXPECT_EQ(written.data, letters('a'));
  EXPECT_EQ(log[log.size() - 2].kind, LogKind::flush);
}

TEST_F(FaultDiskRig, FailsWritesAndReadsInARangeOnly) {
  rules("error write from=4096 to=8192\nerror read from=16384 to=20480\n");
  EXPECT_EQ(write(4096, 'a'), EIO);
  EXPECT_EQ(write(0, 'a'), 0);
  EXPECT_EQ(write(8192, 'a'), 0);
  EXPECT_EQ(read(4096), letters('o'));
  EXPECT_EQ(read(16384), "");
  EXPECT_EQ(errno, EIO);
  EXPECT_EQ(read(20480), letters('o'));
  disk_->heal();
  EXPECT_EQ(write(4096, 'a'), 0);
  EXPECT_EQ(read(16384), letters('o'));
}

TEST_F(FaultDiskRig, FailsTheNthCallOnly) {
  rules("error write errno=28 skip=2 count=1");
  EXPECT_EQ(write(0, 'a'), 0);
  EXPECT_EQ(write(0, 'b'), 0);
  EXPECT_EQ(write(0, 'c'), ENOSPC);
  EXPECT_EQ(write(4096, 'd'), 0);
  EXPECT_EQ(read(0), letters('b'));
  EXPECT_EQ(disk_->counters().struck, std::vector<std::uint64_t>{1});
}

TEST_F(FaultDiskRig, FailsAFlushOnce) {
  rules("error flush count=1");
  EXPECT_EQ(write(0, 'a'), 0);
  EXPECT_EQ(flush(), EIO);
  EXPECT_EQ(flush(), 0);
}

TEST_F(FaultDiskRig, TearsAWrite) {
  rules("torn write sectors=3 errno=0 count=1");
  EXPECT_EQ(write(4096, 'a'), 0);
  EXPECT_EQ(read(4096), letters('a', 3 * 512) + letters('o', kBlock - 3 * 512));
  rules("torn write sectors=1 count=1");
  EXPECT_EQ(write(8192, 'a'), EIO);
  EXPECT_EQ(read(8192), letters('a', 512) + letters('o', kBlock - 512));
}

TEST_F(FaultDiskRig, FlipsOneBit) {
  rules("flip write bit=8 count=1\nflip read bit=17 from=8192 to=12288\n");
  EXPECT_EQ(write(4096, 'a'), 0);
  std::string flipped = letters('a');
  flipped[1] = 'a' ^ 1;
  EXPECT_EQ(read(4096), flipped);
  flipped = letters('o');
  flipped[2] = 'o' ^ 2;
  EXPECT_EQ(read(8192), flipped);
  disk_->heal();
  EXPECT_EQ(read(8192), letters('o')) << "a flipped read leaves the disk as it is";
}

TEST_F(FaultDiskRig, LosesAWrite) {
  rules("lose write count=1");
  EXPECT_EQ(write(4096, 'a'), 0);
  EXPECT_EQ(read(4096), letters('o'));
  EXPECT_EQ(write(4096, 'b'), 0);
  EXPECT_EQ(read(4096), letters('b'));
}

TEST_F(FaultDiskRig, MisdirectsAWrite) {
  rules("misdirect write shift=8192 count=1");
  EXPECT_EQ(write(4096, 'a'), 0);
  EXPECT_EQ(read(4096), letters('o'));
  EXPECT_EQ(read(12288), letters('a'));
  rules("misdirect write shift=4096 count=1");
  EXPECT_EQ(write(kDiskBytes - kBlock, 'b'), 0) << "beyond the end it comes out at the begin";
  EXPECT_EQ(read(0), letters('b'));
}

TEST_F(FaultDiskRig, DelaysACall) {
  rules("delay write ms=30 count=1");
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(write(0, 'a'), 0);
  EXPECT_GE(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(30));
  EXPECT_EQ(read(0), letters('a'));
}

TEST_F(FaultDiskRig, RulesOfOneDiskLeaveTheOtherAlone) {
  rules("error write disk=other");
  EXPECT_EQ(write(0, 'a'), 0);
  const int other = ::open(disk_->path("other").c_str(), O_RDWR | O_DIRECT | O_CLOEXEC);
  io::io::AlignedBuffer buffer(kBlock);
  EXPECT_EQ(::pwrite(other, buffer.bytes().data(), kBlock, 0), -1);
  EXPECT_EQ(errno, EIO);
  ::close(other);
  EXPECT_THROW(rules("explode write"), std::exception) << "and a wrong rule is an error";
}

TEST_F(FaultDiskRig, DiscardedBlocksAreZeroAndLogged) {
  std::uint64_t range[2] = {8192, 4096};
  ASSERT_EQ(::ioctl(device_, BLKDISCARD, range), 0) << std::strerror(errno);
  EXPECT_EQ(read(8192), letters('\0'));
  EXPECT_EQ(read(4096), letters('o'));
  range[0] = 16384;
  ASSERT_EQ(::ioctl(device_, BLKZEROOUT, range), 0) << std::strerror(errno);
  EXPECT_EQ(read(16384), letters('\0'));
  std::uint64_t zeroed = 0;
  for (const LogRecord& record : read_disk_log(disk_->log_file())) {
    const bool zeros = record.kind == LogKind::discard ||
                       (record.kind == LogKind::write && record.data.find_first_not_of('\0') == std::string::npos);
    if (zeros) zeroed += record.length;
  }
  EXPECT_EQ(zeroed, 8192u);
}

class Rebuilt : public FaultDiskRig {
 protected:
  CrashStates states(CrashOptions options = {}) {
    return {read_disk_log(disk_->log_file()), {folder_ / "image", folder_ / "other"}, options};
  }
  /// The letter at the begin of each of the first blocks, for every state of the last cut.
  std::map<std::string, std::string> pictures(CrashStates& states, std::size_t blocks) {
    std::map<std::string, std::string> found;
    for (const CrashState& state : states.states()) {
      if (state.position != states.log().size()) continue;
      states.build(state, images_);
      std::ifstream image(images_[0], std::ios::binary);
      std::string picture;
      for (std::size_t block = 0; block < blocks; ++block) {
        image.seekg(static_cast<std::streamoff>(block * kBlock));
        picture += static_cast<char>(image.get());
      }
      found[state.name.substr(state.name.find(':') + 1)] = picture;
    }
    return found;
  }
  std::vector<std::string> images_ = {folder_ / "rebuilt", folder_ / "rebuilt-other"};
};

TEST_F(Rebuilt, WhatWasFlushedStaysAndAnyPartOfTheRestArrives) {
  ASSERT_EQ(write(0, 'a'), 0);
  ASSERT_EQ(flush(), 0);
  ASSERT_EQ(write(4096, 'b'), 0);
  ASSERT_EQ(write(8192, 'c'), 0);
  auto rebuilt = states({.tears = 0});
  const auto found = pictures(rebuilt, 4);
  EXPECT_THAT(found,
              testing::UnorderedElementsAre(testing::Pair("prefix-0", "aooo"), testing::Pair("prefix-1", "aboo"),
                                            testing::Pair("prefix-2", "abco"), testing::Pair("subset-2", "aoco")));
}

TEST_F(Rebuilt, ALostFlushMakesNothingDurable) {
  rules("lose flush");
  ASSERT_EQ(write(0, 'a'), 0);
  ASSERT_EQ(flush(), 0);
  auto rebuilt = states({.tears = 0});
  EXPECT_THAT(pictures(rebuilt, 1),
              testing::UnorderedElementsAre(testing::Pair("prefix-0", "o"), testing::Pair("prefix-1", "a")));
}

TEST_F(Rebuilt, AFlushOfOneDiskSaysNothingOfTheOther) {
  ASSERT_EQ(write(0, 'a'), 0);
  const int other = ::open(disk_->path("other").c_str(), O_RDWR | O_DIRECT | O_CLOEXEC);
  ASSERT_EQ(::fsync(other), 0);
  ::close(other);
  auto rebuilt = states({.tears = 0});
  EXPECT_EQ(pictures(rebuilt, 1).at("prefix-0"), "o");
}

TEST_F(Rebuilt, ATornWriteArrivesInParts) {
  ASSERT_EQ(write(0, 'a', 2 * kBlock), 0);
  auto rebuilt = states({.tears = 2, .tear_unit_bytes = kBlock});
  EXPECT_THAT(pictures(rebuilt, 2),
              testing::UnorderedElementsAre(testing::Pair("prefix-0", "oo"), testing::Pair("prefix-1", "aa"),
                                            testing::Pair("torn-0-0", "ao"), testing::Pair("torn-0-1", "oa")));
}

TEST_F(Rebuilt, ManyWritesInFlightAreSampledTheSameWayForTheSameSeed) {
  for (int block = 0; block < 20; ++block) ASSERT_EQ(write(static_cast<std::uint64_t>(block) * kBlock, 'a'), 0);
  const auto list = [](const CrashStates& all) {
    std::vector<std::vector<std::size_t>> survivors;
    for (const CrashState& state : all.states()) survivors.push_back(state.survivors);
    return survivors;
  };
  const auto first = list(states({.seed = 5}));
  EXPECT_EQ(first, list(states({.seed = 5})));
  EXPECT_NE(first, list(states({.seed = 6})));
  EXPECT_GE(first.size(), 21u + 12u);
}

TEST_F(Rebuilt, EverythingTogetherIsTheBackingFile) {
  rules(
      "torn write errno=0 skip=5 count=1\nflip write skip=7 count=1\nlose write skip=9 count=1\n"
      "misdirect write skip=11 count=1\nerror write skip=13 count=1\n");
  for (std::uint64_t block = 0; block < 32; ++block) {
    (void)write(block * 7 % 32 * kBlock, static_cast<char>('a' + block % 26), kBlock * (1 + block % 3));
    if (block % 6 == 0) {
      ASSERT_EQ(flush(), 0);
    }
  }
  std::uint64_t range[2] = {8192, 8192};
  ASSERT_EQ(::ioctl(device_, BLKDISCARD, range), 0);
  ASSERT_EQ(flush(), 0);
  auto rebuilt = states();
  const CrashState& last = rebuilt.states().back();
  EXPECT_TRUE(last.survivors.empty()) << "after a flush nothing is in flight";
  const std::uint64_t hash = rebuilt.build(last, images_);
  EXPECT_EQ(contents_of(images_[0]), contents_of(disk_->backing_file("disk")));
  EXPECT_EQ(contents_of(images_[1]), contents_of(disk_->backing_file("other")));
  const std::uint64_t earlier = rebuilt.build(rebuilt.states().front(), images_);
  EXPECT_NE(earlier, hash);
  EXPECT_EQ(rebuilt.build(last, images_), hash) << "forward, back and forward again";
}

/// Real ext4: what fsync promised is in every state after it.
TEST_F(Rebuilt, WhatExt4SyncedSurvivesEveryCut) {
  make_ext4(folder_ / "ext4", 8u << 20);
  FaultDisk disk({{"disk", folder_ / "ext4"}});
  {
    const PlainMount mount(disk.path("disk"), folder_ / "mount");
    put_file(mount.path() + "/kept", "kept");
    const int file = ::open((mount.path() + "/kept").c_str(), O_RDONLY | O_CLOEXEC);
    ASSERT_EQ(::fsync(file), 0);
    ::close(file);
    disk.mark("synced");
    put_file(mount.path() + "/later", "later");
  }
  CrashStates all(read_disk_log(disk.log_file()), {folder_ / "ext4"}, {.tear_unit_bytes = 4096});
  std::size_t synced = 0;
  for (const CrashState& state : all.states()) {
    if (all.marks_before(state, "synced") == 0) continue;
    ++synced;
    all.build(state, {folder_ / "rebuilt"});
    const DirectLoop loop(folder_ / "rebuilt", DirectLoop::Access::cached);
    const PlainMount mount(loop.path(), folder_ / "mount");
    EXPECT_EQ(contents_of(mount.path() + "/kept"), "kept") << state.name;
  }
  EXPECT_GT(synced, 3u);
}

}  // namespace
}  // namespace slotkeeper::test
