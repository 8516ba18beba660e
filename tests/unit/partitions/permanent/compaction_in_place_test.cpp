// Compaction of a partition on which not a byte, or not an inode, is free.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "tests/support/compaction_rig.hpp"

namespace slotkeeper::permanent {
namespace {

using namespace slotkeeper::test;  // NOLINT: the words of the tests
using testing::ElementsAre;
using testing::IsEmpty;

class CompactionInPlace : public CompactionRig {
 protected:
  void SetUp() override {
    CompactionRig::SetUp();
    if (IsSkipped()) return;
    use({.size_bytes = 8u << 20, .inodes = 128});
    std::filesystem::create_directories(at("log/flood"));
    put_file(at("log/system.log"), log_lines(20'001, 10));
    put_file(at("log/system.log.1"), lines_);
    put_time(at("log/system.log.1"), days_ago(3), 123'456'789);
  }
  void fill_up_bytes() {
    struct statvfs space {};
    space.f_bavail = 1;
    // What was promised is written down more tightly sometimes, and a block is free again.
    for (int attempt = 0; attempt < 10 && space.f_bavail > 0; ++attempt) {
      fill_bytes(at("log/flood"));
      ASSERT_TRUE(partition_->open()->sync_filesystem().has_value());
      ASSERT_EQ(::statvfs(partition_->path().c_str(), &space), 0);
    }
    ASSERT_LE(space.f_bavail, 1U);  // of 1 KiB, which ext4 keeps for its own sometimes
  }
  [[nodiscard]] bool scratch_is_empty() {
    const auto pending = half_compressed(scratch());
    return pending.has_value() && !pending.assume_value();
  }
  struct stat facts_of(const std::string& path) const {
    struct stat facts {};
    EXPECT_EQ(::stat(at(path).c_str(), &facts), 0) << path;
    return facts;
  }

  std::string lines_ = log_lines(1, 20'000);  // about 2 MB, many pieces for these scratch areas
};

TEST_F(CompactionInPlace, WorksWithoutAFreeByte) {
  fill_up_bytes();
  const struct stat before = facts_of("log/system.log.1");
  const CompactionPlan planned = plan();
  ASSERT_THAT(texts(planned), ElementsAre("compress log/system.log.1"));
  const CompactionReport report = carry_out(planned);
  ASSERT_EQ(report.compressed.size(), 1U);
  EXPECT_FALSE(exists("log/system.log.1"));
  EXPECT_TRUE(read_log(at("log/system.log.1.zst")) == lines_);
  const struct stat after = facts_of("log/system.log.1.zst");
  EXPECT_EQ(after.st_ino, before.st_ino) << "this was not the way without room";
  EXPECT_EQ(after.st_mtim.tv_sec, before.st_mtim.tv_sec);
  EXPECT_EQ(after.st_mtim.tv_nsec, before.st_mtim.tv_nsec);
  EXPECT_EQ(after.st_mode, before.st_mode);
  EXPECT_EQ(static_cast<std::uint64_t>(after.st_size), report.compressed[0].after_bytes);
  EXPECT_GE(report.freed.bytes, planned.frees.bytes);
  EXPECT_TRUE(scratch_is_empty());
  EXPECT_TRUE(own_directory_is_empty());
  EXPECT_FALSE(recover());
  EXPECT_THAT(texts(plan()), IsEmpty());
  put_file(at("log/again"), std::string(500'000, 'x'));
}

TEST_F(CompactionInPlace, WorksWithoutAFreeInode) {
  fill_inodes(at("log/flood"));
  const struct stat before = facts_of("log/system.log.1");
  ASSERT_EQ(compact().compressed.size(), 1U);
  EXPECT_TRUE(read_log(at("log/system.log.1.zst")) == lines_);
  EXPECT_EQ(facts_of("log/system.log.1.zst").st_ino, before.st_ino);
}

TEST_F(CompactionInPlace, WorksWithNeitherAndWithoutADirectoryOfItsOwn) {
  ASSERT_TRUE(std::filesystem::remove(at(".slotkeeper")));
  put_file(at("log/flood/filler"), "");
  fill_inodes(at("log/flood"));
  fill_up_bytes();
  ASSERT_EQ(compact().compressed.size(), 1U);
  EXPECT_TRUE(read_log(at("log/system.log.1.zst")) == lines_);
}

TEST_F(CompactionInPlace, WhatItFreesServesTheNextOnes) {
  put_file(at("log/system.log.2"), log_lines(1, 9000));
  put_file(at("log/system.log.3"), log_lines(1, 5000));
  fill_up_bytes();
  const struct stat second = facts_of("log/system.log.2");
  EXPECT_EQ(compact().compressed.size(), 3U);
  EXPECT_NE(facts_of("log/system.log.2.zst").st_ino, second.st_ino) << "there was room again";
  EXPECT_TRUE(read_log(at("log/system.log.2.zst")) == log_lines(1, 9000));
  EXPECT_TRUE(read_log(at("log/system.log.3.zst")) == log_lines(1, 5000));
}

TEST_F(CompactionInPlace, IsDurableWhenItReturns) {
  fill_up_bytes();
  compact();
  const auto later_on = partition_->after_power_cut();
  EXPECT_TRUE(read_log(*later_on / "log/system.log.1.zst") == lines_);
}

TEST_F(CompactionInPlace, LeavesALogThatSomebodyReadsAlone) {
  fill_up_bytes();
  const CompactionPlan planned = plan();
  const int reader = ::open(at("log/system.log.1").c_str(), O_RDONLY | O_CLOEXEC);
  const CompactionReport report = carry_out(planned);
  ::close(reader);
  EXPECT_THAT(texts(report.left_alone), ElementsAre("log/system.log.1: in use"));
  EXPECT_TRUE(contents_of(at("log/system.log.1")) == lines_);
}

TEST_F(CompactionInPlace, LeavesALogWithHolesAlone) {
  put_file(at("log/system.log.1"), log_lines(1, 4000));
  ASSERT_EQ(::truncate(at("log/system.log.1").c_str(), 3'000'000), 0);
  append_file(at("log/system.log.1"), log_lines(4001, 4000));
  const std::string contents = contents_of(at("log/system.log.1"));
  fill_up_bytes();
  EXPECT_THAT(texts(compact().left_alone), ElementsAre("log/system.log.1: no room to compress it"));
  EXPECT_TRUE(contents_of(at("log/system.log.1")) == contents);
}

TEST_F(CompactionInPlace, ALogWhoseBeginningDoesNotShrinkIsLeftAlone) {
  // The samples of the plan lie elsewhere: its beginning and its middle shrink, the rest of the first piece does not.
  first_area_.emplace(32 * 1024);
  second_area_.emplace(32 * 1024);
  put_file(at("log/system.log.1"), log_lines(1, 52) + noise(600'000, 1) + log_lines(53, 50'000));
  const std::string contents = contents_of(at("log/system.log.1"));
  fill_up_bytes();
  const CompactionPlan planned = plan();
  ASSERT_EQ(planned.actions.size(), 1U);
  EXPECT_THAT(texts(carry_out(planned).left_alone), ElementsAre("log/system.log.1: nothing to gain"));
  EXPECT_TRUE(contents_of(at("log/system.log.1")) == contents);
  EXPECT_TRUE(scratch_is_empty());
}

TEST_F(CompactionInPlace, PiecesThatDoNotShrinkLaterOnAreNoProblem) {
  const std::string contents = log_lines(1, 12'000) + noise(600'000, 1) + log_lines(12'001, 4000);
  put_file(at("log/system.log.1"), contents);
  fill_up_bytes();
  EXPECT_EQ(compact().compressed.size(), 1U);
  EXPECT_TRUE(read_log(at("log/system.log.1.zst")) == contents);
}

TEST_F(CompactionInPlace, SmallScratchAreasDo) {
  first_area_.emplace(32 * 1024);
  second_area_.emplace(32 * 1024);
  fill_up_bytes();
  EXPECT_EQ(compact().compressed.size(), 1U);
  EXPECT_TRUE(read_log(at("log/system.log.1.zst")) == lines_);
}

}  // namespace
}  // namespace slotkeeper::permanent
