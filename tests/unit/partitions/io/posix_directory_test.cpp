#include <cerrno>
#include <fcntl.h>
#include <map>
#include <string>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <gtest/gtest.h>

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

class PosixDirectory : public ::testing::Test {
 protected:
  void write(const std::string& path, const std::string& content) {
    const auto file = ok(root_->open_file(path, OpenMode::create_new(0600)));
    ok(file->write_at(0, as_bytes(content)));
    ok(file->close());
  }
  std::string read(const std::string& path) {
    const auto file = ok(root_->open_file(path, OpenMode::read_only()));
    std::string text(ok(file->size()), '\0');
    ok(file->read_exactly_at(0, std::as_writable_bytes(std::span(text.data(), text.size()))));
    return text;
  }
  std::map<std::string, EntryType> entries(Directory& directory) {
    std::map<std::string, EntryType> found;
    ok(directory.visit_entries([&](const DirectoryEntry& entry) -> Result<void> {
      EXPECT_TRUE(found.emplace(entry.name, entry.type).second) << "listed twice: " << entry.name;
      return success();
    }));
    return found;
  }
  TemporaryDirectory folder_;
  std::unique_ptr<Storage> storage_ = make_posix_storage();
  std::unique_ptr<Directory> root_ = ok(storage_->open_directory(folder_.path()));
};

TEST_F(PosixDirectory, WorksBelowSeveralComponents) {
  ok(root_->create_directory("a", 0750));
  ok(root_->create_directory("a/b", 0777));
  write("a/b/file", "content");
  EXPECT_EQ(read("a/b/file"), "content");
  EXPECT_EQ(ok(root_->status_of("a")).mode, 0750U);
  EXPECT_EQ(ok(root_->status_of("a/b")).mode, 0777U) << "whatever the umask";
  EXPECT_EQ(ok(root_->status_of(".")).inode, ok(storage_->status_of(folder_.path())).inode);
  const auto inner = ok(root_->open_directory("a/b"));
  EXPECT_EQ(inner->name(), folder_ / "a/b");
  EXPECT_EQ(ok(inner->status_of("file")).size_bytes, 7U);
  ok(inner->sync());
  ok(inner->sync_filesystem());
  EXPECT_EQ(error_of(root_->remove_directory("a/b")).os_errno, ENOTEMPTY);
  ok(root_->remove_file("a/b/file"));
  EXPECT_EQ(error_of(root_->remove_file("a/b")).os_errno, EISDIR);
  ok(root_->remove_directory("a/b"));
  EXPECT_EQ(error_of(root_->status_of("a/b")).os_errno, ENOENT);
  ok(inner->close());
  EXPECT_EQ(error_of(inner->status_of("file")).os_errno, EBADF);
  EXPECT_EQ(error_of(inner->sync()).code, Errc::sync_failed);
}

TEST_F(PosixDirectory, RefusesPathsThatLeadOutside) {
  ok(root_->create_directory("inside", 0700));
  write("inside/file", "x");
  const auto inside = ok(root_->open_directory("inside"));
  for (const std::string path : {"..", "../inside/file", "a/../../x", "/etc/passwd", "", "a//b", "file/"}) {
    EXPECT_FALSE(inside->open_file(path, OpenMode::read_only()).has_value()) << path;
    EXPECT_FALSE(inside->status_of(path).has_value()) << path;
    EXPECT_FALSE(inside->create_directory(path, 0700).has_value()) << path;
    EXPECT_FALSE(inside->remove_file(path).has_value()) << path;
    EXPECT_FALSE(inside->rename("file", path, RenameKind::replace).has_value()) << path;
  }
  EXPECT_EQ(error_of(inside->status_of("..")).os_errno, EXDEV);
  EXPECT_EQ(error_of(inside->status_of(std::string("file\0x", 6))).os_errno, EINVAL);
  EXPECT_EQ(read("inside/file"), "x");
}

TEST_F(PosixDirectory, FollowsNoSymbolicLink) {
  ok(root_->create_directory("real", 0700));
  write("real/file", "x");
  ok(root_->create_symlink("real", "folder-link"));
  ok(root_->create_symlink("real/file", "file-link"));
  EXPECT_EQ(error_of(root_->open_file("file-link", OpenMode::read_only())).os_errno, ELOOP);
  OpenMode following = OpenMode::read_only();
  following.follow_symlink = true;
  EXPECT_EQ(error_of(root_->open_file("file-link", following)).os_errno, ELOOP);
  EXPECT_EQ(error_of(root_->open_file("folder-link/file", OpenMode::read_only())).os_errno, ELOOP);
  EXPECT_EQ(error_of(root_->open_directory("folder-link")).os_errno, ELOOP);
  EXPECT_EQ(error_of(root_->status_of("folder-link/file")).os_errno, ELOOP);
  EXPECT_EQ(error_of(root_->remove_file("folder-link/file")).os_errno, ELOOP);
  EXPECT_EQ(error_of(root_->create_directory("folder-link/new", 0700)).os_errno, ELOOP);
  EXPECT_EQ(error_of(root_->rename("folder-link/file", "stolen", RenameKind::replace)).os_errno, ELOOP);
  EXPECT_EQ(error_of(root_->set_attributes_of("folder-link/file", {})).os_errno, ELOOP);
  EXPECT_EQ(error_of(root_->extended_attributes_of("folder-link/file")).os_errno, ELOOP);
  EXPECT_EQ(ok(root_->status_of("file-link")).type, EntryType::symlink);
  EXPECT_EQ(ok(root_->read_symlink("file-link")), "real/file");
  EXPECT_EQ(error_of(root_->read_symlink("real")).os_errno, EINVAL);
  EXPECT_EQ(error_of(root_->open_file("file-link", OpenMode::create_new(0600))).os_errno, EEXIST);
  ok(root_->create_hard_link("file-link", "second-link"));
  EXPECT_EQ(ok(root_->status_of("second-link")).type, EntryType::symlink);
}

TEST_F(PosixDirectory, ChangesASymbolicLinkAndNotItsTarget) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root to give entries away";
  write("target", "x");
  ok(root_->create_symlink("target", "link"));
  const EntryStatus before = ok(root_->status_of("target"));
  const Attributes attributes{.mode = 0644, .owner = 12, .group = 34, .accessed = {1, 2}, .modified = {3, 4}};
  ok(root_->set_attributes_of("link", attributes));
  const EntryStatus link = ok(root_->status_of("link"));
  EXPECT_EQ(link.owner, 12U);
  EXPECT_EQ(link.group, 34U);
  EXPECT_EQ(link.modified, (TimeStamp{3, 4}));
  EXPECT_EQ(link.mode, 0777U);
  const ExtendedAttribute origin{.name = "trusted.origin", .value = "link"};
  ok(root_->set_extended_attribute_of("link", origin));
  EXPECT_EQ(ok(root_->extended_attributes_of("link")), std::vector{origin});
  EXPECT_TRUE(ok(root_->extended_attributes_of("target")).empty());
  ok(root_->remove_extended_attribute_of("link", "trusted.origin"));
  EXPECT_TRUE(ok(root_->extended_attributes_of("link")).empty());
  const EntryStatus after = ok(root_->status_of("target"));
  EXPECT_EQ(after.changed, before.changed);
}

TEST_F(PosixDirectory, MakesNodesAndKeepsTheirAttributes) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root for device nodes";
  const std::uint64_t null_device = makedev(1, 3);
  ok(root_->create_node("fifo", EntryType::fifo, 0666, 0));
  ok(root_->create_node("socket", EntryType::socket, 0600, 0));
  ok(root_->create_node("null", EntryType::character_device, 0622, null_device));
  ok(root_->create_node("block", EntryType::block_device, 0600, makedev(7, 200)));
  EXPECT_EQ(ok(root_->status_of("fifo")).mode, 0666U);
  EXPECT_EQ(ok(root_->status_of("null")).node_device, null_device);
  EXPECT_EQ(error_of(root_->create_node("x", EntryType::regular, 0600, 0)).os_errno, EINVAL);
  const Attributes attributes{.mode = 02710, .owner = 7, .group = 8, .accessed = {1, 2}, .modified = {3, 4}};
  const ExtendedAttribute mark{.name = "trusted.mark", .value = "1"};
  for (const std::string name : {"fifo", "socket", "null", "block"}) {
    ok(root_->set_attributes_of(name, attributes));
    ok(root_->set_extended_attribute_of(name, mark));
    EXPECT_EQ(ok(root_->extended_attributes_of(name)), std::vector{mark}) << name;
    const EntryStatus status = ok(root_->status_of(name));
    EXPECT_EQ(status.mode, 02710U) << name;
    EXPECT_EQ(status.owner, 7U) << name;
    EXPECT_EQ(status.modified, (TimeStamp{3, 4})) << name;
  }
  // Opening one of them as a file neither waits for a writer nor touches the device.
  EXPECT_EQ(error_of(root_->open_file("fifo", OpenMode::read_only())).os_errno, EINVAL);
  EXPECT_EQ(error_of(root_->open_file("null", OpenMode::read_only())).os_errno, EINVAL);
  EXPECT_EQ(error_of(root_->open_file("socket", OpenMode::read_only())).os_errno, ENXIO);
  EXPECT_EQ(entries(*root_), (std::map<std::string, EntryType>{{"fifo", EntryType::fifo},
                                                               {"socket", EntryType::socket},
                                                               {"null", EntryType::character_device},
                                                               {"block", EntryType::block_device}}));
}

TEST_F(PosixDirectory, RenamesReplaceKeepOrExchange) {
  ok(root_->create_directory("d", 0700));
  write("one", "1");
  write("d/two", "2");
  EXPECT_EQ(error_of(root_->rename("one", "d/two", RenameKind::no_replace)).os_errno, EEXIST);
  ok(root_->rename("one", "d/two", RenameKind::exchange));
  EXPECT_EQ(read("one"), "2");
  EXPECT_EQ(read("d/two"), "1");
  ok(root_->rename("one", "d/two", RenameKind::replace));
  EXPECT_EQ(read("d/two"), "2");
  ok(root_->rename("d/two", "three", RenameKind::no_replace));
  EXPECT_EQ(entries(*root_),
            (std::map<std::string, EntryType>{{"d", EntryType::directory}, {"three", EntryType::regular}}));
  EXPECT_EQ(error_of(root_->rename("three", "absent", RenameKind::exchange)).os_errno, ENOENT);
}

TEST_F(PosixDirectory, HardLinksShareTheFile) {
  write("one", "1");
  ok(root_->create_hard_link("one", "two"));
  EXPECT_EQ(ok(root_->status_of("two")).links, 2U);
  EXPECT_EQ(ok(root_->status_of("two")).inode, ok(root_->status_of("one")).inode);
  EXPECT_EQ(error_of(root_->create_hard_link("one", "two")).os_errno, EEXIST);
}

TEST_F(PosixDirectory, TakesNamesOfEveryByte) {
  std::map<std::string, EntryType> expected;
  for (int byte = 1; byte < 256; ++byte) {
    if (byte == '/') continue;
    const std::string name = std::string("n") + static_cast<char>(byte) + static_cast<char>(byte);
    write(name, std::to_string(byte));
    expected[name] = EntryType::regular;
  }
  expected[std::string(255, '\xff')] = EntryType::directory;
  ok(root_->create_directory(std::string(255, '\xff'), 0700));
  EXPECT_EQ(entries(*root_), expected);
  EXPECT_EQ(entries(*root_), expected) << "a second walk starts at the beginning";
  EXPECT_EQ(read(std::string("n\xff\xff")), "255");
  EXPECT_EQ(error_of(root_->create_directory(std::string(256, 'x'), 0700)).os_errno, ENAMETOOLONG);
}

TEST_F(PosixDirectory, AnErrorOfTheVisitorEndsTheWalk) {
  write("a", "");
  write("b", "");
  int visited = 0;
  const Error error = error_of(root_->visit_entries([&](const DirectoryEntry&) -> Result<void> {
    ++visited;
    return make_error(Errc::cancelled, "enough");
  }));
  EXPECT_EQ(error.code, Errc::cancelled);
  EXPECT_EQ(visited, 1);
}

TEST_F(PosixDirectory, LookingWritesNoAccessTime) {
  ok(root_->create_directory("d", 0700));
  write("d/file", "x");
  const Attributes old{
      .mode = 0700, .owner = ::geteuid(), .group = ::getegid(), .accessed = {1, 0}, .modified = {2, 0}};
  ok(root_->set_attributes_of("d/file", old));
  ok(root_->set_attributes_of("d", old));
  EXPECT_EQ(read("d/file"), "x");
  EXPECT_EQ(entries(*ok(root_->open_directory("d"))).size(), 1U);
  EXPECT_EQ(ok(root_->status_of("d/file")).accessed, old.accessed);
  EXPECT_EQ(ok(root_->status_of("d")).accessed, old.accessed);
}

TEST_F(PosixDirectory, KeepsAccessControlLists) {
  if (!test::may_mount()) GTEST_SKIP() << "needs root for a filesystem of its own";
  test::make_ext4(folder_ / "image", 4 * kMiB);
  const LoopDevice loop(folder_ / "image");
  const MountedFilesystem mounted(loop.path(), folder_ / "mounted", "acl,user_xattr");
  const auto directory = ok(storage_->open_directory(mounted.path()));
  ok(ok(directory->open_file("source", OpenMode::create_new(0640)))->close());
  ok(ok(directory->open_file("copy", OpenMode::create_new(0640)))->close());
  test::run_tool({"setfacl", "-m", "u:1234:rw", mounted.path() + "/source"});
  const auto list = ok(directory->extended_attributes_of("source"));
  ASSERT_EQ(list.size(), 1U);
  EXPECT_EQ(list[0].name, "system.posix_acl_access");
  ok(directory->set_extended_attribute_of("copy", list[0]));
  EXPECT_EQ(ok(directory->extended_attributes_of("copy")), list);
  const std::string shown = test::run_tool({"getfacl", "-n", "-c", mounted.path() + "/copy"});
  EXPECT_NE(shown.find("user:1234:rw-"), std::string::npos) << shown;
}

TEST_F(PosixDirectory, CrossesNoMount) {
  if (!test::may_mount()) GTEST_SKIP() << "needs root for a mount";
  test::make_ext4(folder_ / "image", 4 * kMiB);
  const LoopDevice loop(folder_ / "image");
  const MountedFilesystem mounted(loop.path(), folder_ / "mounted");
  ok(ok(storage_->open_file(mounted.path() + "/file", OpenMode::create_new(0600)))->close());
  EXPECT_EQ(error_of(root_->open_directory("mounted")).os_errno, EXDEV);
  EXPECT_EQ(error_of(root_->open_file("mounted/file", OpenMode::read_only())).os_errno, EXDEV);
  EXPECT_EQ(error_of(root_->open_file("mounted/new", OpenMode::create_new(0600))).os_errno, EXDEV);
  EXPECT_EQ(error_of(root_->status_of("mounted")).os_errno, EXDEV);
  EXPECT_EQ(error_of(root_->remove_file("mounted/file")).os_errno, EXDEV);
  EXPECT_EQ(error_of(root_->remove_directory("mounted")).os_errno, EBUSY);
  EXPECT_EQ(entries(*root_).count("mounted"), 1U) << "it is listed, as a name of this directory";
}

TEST_F(PosixDirectory, TellsSpaceInBytes) {
  if (!test::may_mount()) GTEST_SKIP() << "needs root for a filesystem of its own";
  test::make_file(folder_ / "image", 8 * kMiB);
  test::run_tool({"mkfs.ext4", "-q", "-F", "-b", "1024", "-m", "10", "-N", "512", folder_ / "image"});
  const LoopDevice loop(folder_ / "image");
  {
    const MountedFilesystem mounted(loop.path(), folder_ / "mounted");
    const SpaceFacts space = ok(ok(storage_->open_directory(mounted.path()))->space());
    EXPECT_EQ(space.block_bytes, 1024U);
    EXPECT_GT(space.capacity_bytes, 4 * kMiB);
    EXPECT_LE(space.capacity_bytes, 8 * kMiB);
    EXPECT_GE(space.free_bytes - space.available_bytes, 8 * kMiB / 10 - 1024) << "10 % are reserved for root";
    EXPECT_GT(space.available_bytes, 0U);
    EXPECT_EQ(space.inodes, 512U);
    EXPECT_EQ(space.filesystem_magic, 0xEF53U);
    EXPECT_FALSE(space.read_only);
  }
  const MountedFilesystem mounted(loop.path(), folder_ / "mounted", "ro");
  EXPECT_TRUE(ok(ok(storage_->open_directory(mounted.path()))->space()).read_only);
}

TEST_F(PosixDirectory, TakesImmutableAndAppendOnlyOff) {
  if (!test::may_mount()) GTEST_SKIP() << "needs root for a filesystem that knows these flags";
  const std::string image = folder_ / "image";
  test::make_ext4(image, 4 * kMiB);
  const LoopDevice device(image);
  const MountedFilesystem mount(device.path(), folder_ / "mount");
  const auto root = ok(storage_->open_directory(mount.path()));
  ok(ok(root->open_file("file", OpenMode::create_new(0600)))->close());
  ok(root->create_directory("folder", 0700));
  ok(root->create_symlink("file", "link"));
  ok(root->create_node("fifo", EntryType::fifo, 0600, 0));
  for (const char* name : {"file", "folder", "link", "fifo", "."})
    EXPECT_FALSE(ok(root->clear_write_protection_of(name)));
  test::run_tool({"chattr", "+ia", mount.path() + "/file"});
  test::run_tool({"chattr", "+i", mount.path() + "/folder"});
  EXPECT_EQ(error_of(root->remove_file("file")).os_errno, EPERM);
  EXPECT_TRUE(ok(root->clear_write_protection_of("file")));
  EXPECT_TRUE(ok(root->clear_write_protection_of("folder")));
  EXPECT_FALSE(ok(root->clear_write_protection_of("file")));
  ok(root->remove_file("file"));
  ok(root->remove_directory("folder"));
  EXPECT_EQ(error_of(root->clear_write_protection_of("file")).os_errno, ENOENT);
}

}  // namespace
}  // namespace slotkeeper::io
