#include "partitions/io/storage.hpp"

#include <cerrno>
#include <sys/stat.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "tests/support/temporary_directory.hpp"
#include "tests/support/unwrap.hpp"

namespace slotkeeper::io {
namespace {

using test::error_of;
using test::ok;
using test::TemporaryDirectory;

class PosixStorage : public ::testing::Test {
 protected:
  void write(const std::string& name, const std::string& content) {
    const auto file = ok(storage_->open_file(folder_ / name, OpenMode::create_new(0600)));
    ok(file->write_at(0, as_bytes(content)));
  }
  TemporaryDirectory folder_;
  std::unique_ptr<Storage> storage_ = make_posix_storage();
};

TEST_F(PosixStorage, ReadsTextUpToItsLimit) {
  const std::string text(5000, 'x');
  write("text", text);
  EXPECT_EQ(ok(storage_->read_text(folder_ / "text", 5000)), text);
  EXPECT_EQ(error_of(storage_->read_text(folder_ / "text", 4999)).os_errno, EFBIG);
  write("empty", "");
  EXPECT_EQ(ok(storage_->read_text(folder_ / "empty", 0)), "");
  EXPECT_EQ(error_of(storage_->read_text(folder_ / "absent", 10)).os_errno, ENOENT);
  EXPECT_EQ(error_of(storage_->read_text(folder_.path(), 10)).os_errno, EISDIR);
  EXPECT_NE(ok(storage_->read_text("/proc/self/status", 65536)).find("Pid:"), std::string::npos);
  EXPECT_EQ(ok(storage_->kernel_command_line()).empty(), false);
}

TEST_F(PosixStorage, FollowsASymbolicLinkOnlyWhenAsked) {
  write("file", "x");
  ASSERT_EQ(::symlink("file", (folder_ / "link").c_str()), 0);
  EXPECT_EQ(error_of(storage_->open_file(folder_ / "link", OpenMode::read_only())).os_errno, ELOOP);
  OpenMode following = OpenMode::read_only();
  following.follow_symlink = true;
  EXPECT_EQ(ok(ok(storage_->open_file(folder_ / "link", following))->size()), 1U);
  EXPECT_EQ(ok(storage_->status_of(folder_ / "link")).type, EntryType::regular);
}

TEST_F(PosixStorage, CreatesOnlyWhatDoesNotExist) {
  write("file", "x");
  EXPECT_EQ(error_of(storage_->open_file(folder_ / "file", OpenMode::create_new(0600))).os_errno, EEXIST);
  EXPECT_EQ(ok(storage_->read_text(folder_ / "file", 10)), "x");
  ASSERT_EQ(::symlink("nowhere", (folder_ / "dangling").c_str()), 0);
  OpenMode following = OpenMode::create_new(0600);
  following.follow_symlink = true;
  EXPECT_EQ(error_of(storage_->open_file(folder_ / "dangling", following)).os_errno, EEXIST);
  EXPECT_EQ(error_of(storage_->open_file(folder_ / "absent/file", OpenMode::create_new(0600))).os_errno, ENOENT);
  // 1 << 12 is no permission bit: nothing may be left behind by the refusal.
  EXPECT_FALSE(storage_->open_file(folder_ / "odd", OpenMode::create_new(010600)).has_value());
  EXPECT_EQ(error_of(storage_->status_of(folder_ / "odd")).os_errno, ENOENT);
}

TEST_F(PosixStorage, RefusesWhatIsNeitherFileNorDevice) {
  ASSERT_EQ(::mkfifo((folder_ / "fifo").c_str(), 0600), 0);
  EXPECT_EQ(error_of(storage_->open_file(folder_ / "fifo", OpenMode::read_only())).os_errno, EINVAL);
  EXPECT_EQ(error_of(storage_->open_file("/dev/null", OpenMode::read_only())).os_errno, EINVAL);
  EXPECT_EQ(error_of(storage_->open_file(folder_.path(), OpenMode::read_only())).os_errno, EISDIR);
  write("file", "x");
  EXPECT_EQ(error_of(storage_->open_directory(folder_ / "file")).os_errno, ENOTDIR);
  EXPECT_EQ(error_of(storage_->open_file(std::string("a\0b", 3), OpenMode::read_only())).os_errno, EINVAL);
}

TEST_F(PosixStorage, LeavesNoDescriptorToOtherPrograms) {
  write("file", "x");
  const auto file = ok(storage_->open_file(folder_ / "file", OpenMode::read_only()));
  const auto directory = ok(storage_->open_directory(folder_.path()));
  const auto self = ok(storage_->open_directory("/proc/self/fdinfo"));
  int checked = 0;
  ok(self->visit_entries([&](const DirectoryEntry& entry) -> Result<void> {
    std::array<char, 4096> target{};
    const std::string link = "/proc/self/fd/" + entry.name;
    const auto length = ::readlink(link.c_str(), target.data(), target.size());
    if (length < 0 || std::string(target.data()).find(folder_.path()) == std::string::npos) return success();
    SK_TRY_ASSIGN(const std::string facts, storage_->read_text("/proc/self/fdinfo/" + entry.name, 65536));
    const auto flags = std::stoul(facts.substr(facts.find("flags:") + 6), nullptr, 8);
    EXPECT_NE(flags & 02000000U, 0U) << target.data();
    ++checked;
    return success();
  }));
  EXPECT_EQ(checked, 2);
}

TEST(DeviceIdentity, OverlapsWhenAnyMemberIsShared) {
  const DeviceIdentity disk_a{.backing = {"block 8:1"}};
  const DeviceIdentity mapped{.backing = {"block 253:0", "block 8:1", "block 8:2"}};
  const DeviceIdentity disk_c{.backing = {"block 8:3"}};
  EXPECT_TRUE(disk_a.overlaps(mapped));
  EXPECT_TRUE(mapped.overlaps(disk_a));
  EXPECT_TRUE(disk_a.overlaps(disk_a));
  EXPECT_FALSE(disk_a.overlaps(disk_c));
  EXPECT_FALSE(mapped.overlaps(disk_c));
  EXPECT_FALSE(DeviceIdentity{}.overlaps(DeviceIdentity{}));
}

}  // namespace
}  // namespace slotkeeper::io
