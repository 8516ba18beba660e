// Where the bytes of a file lie, as real filesystems tell it.
#include <fstream>

#include <gtest/gtest.h>

#include "partitions/io/storage.hpp"
#include "tests/support/loop_device.hpp"
#include "tests/support/temporary_directory.hpp"
#include "tests/support/unwrap.hpp"

namespace slotkeeper::io {
namespace {

using test::ok;
using test::run_tool;

class PosixLayout : public testing::Test {
 protected:
  void SetUp() override {
    if (!test::may_mount()) GTEST_SKIP() << "needs root for loop devices";
  }
  void mount_ext4(const std::vector<std::string>& options) {
    mounted.reset();
    loop.reset();
    test::make_file(folder / "image", 16ULL << 20U);
    std::vector<std::string> command{"mkfs.ext4", "-q", "-F", "-b", "4096"};
    command.insert(command.end(), options.begin(), options.end());
    command.push_back(folder / "image");
    run_tool(command);
    loop = std::make_unique<test::LoopDevice>(folder / "image");
    mounted = std::make_unique<test::MountedFilesystem>(loop->path(), folder / "mnt");
  }
  [[nodiscard]] FileLayout layout_of(const std::string& path) {
    auto file = ok(storage->open_file(path, OpenMode::read_only()));
    FileLayout layout = ok(file->layout());
    ok(file->close());
    return layout;
  }

  test::TemporaryDirectory folder;
  std::unique_ptr<test::LoopDevice> loop;
  std::unique_ptr<test::MountedFilesystem> mounted;
  std::unique_ptr<Storage> storage = make_posix_storage();
};

TEST_F(PosixLayout, NamesThePlaceOnTheDevice) {
  mount_ext4({});
  const std::string contents(5000, 'x');
  std::ofstream(folder / "mnt/file") << contents;  // not allocated before it is asked for
  const FileLayout layout = layout_of(folder / "mnt/file");
  ASSERT_TRUE(layout.is_known);
  EXPECT_FALSE(layout.is_journaled || layout.is_compressed || layout.is_encrypted);
  ASSERT_EQ(layout.extents.size(), 1U);
  const FileExtent& extent = layout.extents[0];
  EXPECT_EQ(extent.offset, 0U);
  EXPECT_EQ(extent.length, 8192U);
  EXPECT_TRUE(extent.in_place && extent.written && !extent.shared);
  auto device = ok(storage->open_file(loop->path(), OpenMode::read_only()));
  std::vector<std::byte> found(contents.size());
  ok(device->read_exactly_at(extent.physical, found));
  ok(device->close());
  EXPECT_EQ(as_text(found), contents);
}

TEST_F(PosixLayout, TellsHolesAndWhatWasNeverWritten) {
  mount_ext4({});
  run_tool({"truncate", "-s", "12288", folder / "mnt/sparse"});
  EXPECT_TRUE(layout_of(folder / "mnt/sparse").extents.empty());
  run_tool({"dd", "if=/dev/urandom", "of=" + (folder / "mnt/sparse"), "bs=4096", "seek=1", "count=1", "conv=notrunc"});
  const FileLayout sparse = layout_of(folder / "mnt/sparse");
  ASSERT_EQ(sparse.extents.size(), 1U);
  EXPECT_EQ(sparse.extents[0].offset, 4096U);
  run_tool({"fallocate", "-l", "8192", folder / "mnt/allocated"});
  const FileLayout allocated = layout_of(folder / "mnt/allocated");
  ASSERT_EQ(allocated.extents.size(), 1U);
  EXPECT_FALSE(allocated.extents[0].written);
}

TEST_F(PosixLayout, ReadsMoreExtentsThanOneAnswerHolds) {
  mount_ext4({});
  constexpr int kPieces = 150;
  for (int i = 0; i < kPieces; ++i) {
    run_tool({"dd", "if=/dev/zero", "of=" + (folder / "mnt/pieces"), "bs=4096", "seek=" + std::to_string(2 * i),
              "count=1", "conv=notrunc"});
  }
  const FileLayout layout = layout_of(folder / "mnt/pieces");
  ASSERT_EQ(layout.extents.size(), static_cast<std::size_t>(kPieces));
  EXPECT_EQ(layout.extents.back().offset, 2U * (kPieces - 1) * 4096U);
}

TEST_F(PosixLayout, TellsInlineContents) {
  mount_ext4({"-N", "64", "-I", "4096", "-O", "inline_data"});
  std::ofstream(folder / "mnt/inline") << std::string(1000, 'x');
  const FileLayout layout = layout_of(folder / "mnt/inline");
  ASSERT_EQ(layout.extents.size(), 1U);
  EXPECT_FALSE(layout.extents[0].in_place);
}

TEST_F(PosixLayout, KnowsNothingOfDevicesAndOfKernelFiles) {
  mount_ext4({});
  EXPECT_FALSE(layout_of(loop->path()).is_known);
  EXPECT_FALSE(layout_of("/proc/self/status").is_known);
  std::ofstream(folder / "mnt/empty") << "";
  EXPECT_TRUE(layout_of(folder / "mnt/empty").is_known);
}

}  // namespace
}  // namespace slotkeeper::io
