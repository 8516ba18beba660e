// The GRUB backend on real filesystems and against grub-editenv: each reads what the other one wrote, and what was
// written is where a reader without the journal finds it.
#include <fstream>
#include <sys/stat.h>

#include <gtest/gtest.h>

#include "bootloader-hooks/boot_control.hpp"
#include "bootloader-hooks/grub_environment.hpp"
#include "tests/support/grub_bytes.hpp"
#include "tests/support/loop_device.hpp"
#include "tests/support/temporary_directory.hpp"
#include "tests/support/unwrap.hpp"

namespace slotkeeper::boot {
namespace {

using test::error_of;
using test::ok;
using test::run_tool;

constexpr std::uint32_t kAttempts = 3;
constexpr std::uint64_t kImageBytes = 16ULL << 20U;
const std::string kTransaction = "0123456789abcdef";

std::string contents_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

class GrubTools : public testing::Test {
 protected:
  void SetUp() override {
    if (!test::may_mount()) GTEST_SKIP() << "needs root for loop devices";
  }
  /// A boot partition with this filesystem.
  void mount_with(const std::vector<std::string>& make_filesystem, const std::string& options = "") {
    mounted.reset();
    loop.reset();
    test::make_file(image, kImageBytes);
    std::vector<std::string> command = make_filesystem;
    command.push_back(image);
    run_tool(command);
    loop = std::make_unique<test::LoopDevice>(image);
    mounted = std::make_unique<test::MountedFilesystem>(loop->path(), folder / "boot", options);
  }
  void mount_ext4() { mount_with({"mkfs.ext4", "-q", "-F", "-b", "4096"}); }

  [[nodiscard]] std::unique_ptr<BootControl> control() { return ok(make_grub_control(*storage, settings())); }
  [[nodiscard]] Error refusal() { return error_of(make_grub_control(*storage, settings())); }
  [[nodiscard]] GrubSettings settings() const {
    return {.grubenv = path, .attempts = kAttempts, .lock_path = folder / "lock"};
  }
  void edit(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), {"grub-editenv", path});
    run_tool(arguments);
  }
  [[nodiscard]] std::string listed() const { return run_tool({"grub-editenv", path, "list"}); }
  [[nodiscard]] std::string inode() const {
    struct stat facts {};
    EXPECT_EQ(::stat(path.c_str(), &facts), 0);
    return std::to_string(facts.st_ino);
  }
  /// What a reader finds that goes by the device alone and replays no journal. The file below the loop device: the
  /// device's own cache holds metadata that were not written yet.
  [[nodiscard]] std::string seen_without_journal() const { return run_tool({"debugfs", "-R", "cat /grubenv", image}); }

  test::TemporaryDirectory folder;
  std::string image = folder / "image";
  std::unique_ptr<test::LoopDevice> loop;
  std::unique_ptr<test::MountedFilesystem> mounted;
  std::unique_ptr<io::Storage> storage = io::make_posix_storage();
  std::string path = folder / "boot/grubenv";
};

TEST_F(GrubTools, ReadsWhatGrubEditenvWrote) {
  mount_ext4();
  edit({"create"});
  edit({"set", "saved_entry=0", "ORDER=B A", "A_OK=1", "A_TRY=1", "B_OK=1", "B_TRY=0", R"(path=C:\boot)",
        "SLOTKEEPER_SCRIPT=3"});
  const auto boot = control();
  EXPECT_EQ(boot->traits().attempts, 3U);
  const BootReading reading = ok(boot->read());
  EXPECT_FALSE(reading.damaged_copy || reading.behind_copy);
  EXPECT_EQ(reading.state.order, (std::vector<SlotId>{SlotId::b, SlotId::a}));
  EXPECT_EQ(reading.state.a, (SlotBootState{.health = SlotHealth::good, .tries_left = 2}));
  EXPECT_EQ(reading.state.b, (SlotBootState{.health = SlotHealth::good, .tries_left = 3}));
}

TEST_F(GrubTools, GrubEditenvReadsWhatIsStored) {
  mount_ext4();
  edit({"create"});
  edit({"set", "saved_entry=0", R"(path=C:\boot)", "SLOTKEEPER_SCRIPT=3"});
  const auto boot = control();
  const std::string file = inode();
  BootState state = only_slot({}, SlotId::a, kAttempts);
  ok(boot->store(state));
  EXPECT_EQ(listed(), "ORDER=A\nA_OK=1\nA_TRY=0\nB_OK=0\nB_TRY=3\nsaved_entry=0\npath=C:\\boot\nSLOTKEEPER_SCRIPT=3\n");
  state = armed(state, SlotId::b, kAttempts, kTransaction);
  ok(boot->store(state));
  EXPECT_EQ(listed(), "ORDER=B A\nA_OK=1\nA_TRY=0\nB_OK=1\nB_TRY=0\nSLOTKEEPER_TX=" + kTransaction +
                          ":trial\nsaved_entry=0\npath=C:\\boot\nSLOTKEEPER_SCRIPT=3\n");
  edit({"set", "B_TRY=2"});  // as a boot script counts
  EXPECT_EQ(ok(boot->read()).state.b.tries_left, 1U);
  edit({"unset", "saved_entry"});
  ok(boot->store(rolled_back(state, SlotId::a, kAttempts)));
  EXPECT_EQ(listed(), "ORDER=A\nA_OK=1\nA_TRY=0\nB_OK=0\nB_TRY=3\npath=C:\\boot\nSLOTKEEPER_SCRIPT=3\n");
  EXPECT_EQ(inode(), file);
  EXPECT_EQ(contents_of(path).size(), kGrubBlockBytes);
}

TEST_F(GrubTools, WhatGrubEditenvPutsBehindTheFirstSectorIsBroughtToTheFront) {
  mount_ext4();
  edit({"create"});
  edit({"set", "a=" + std::string(240, 'a'), "b=" + std::string(200, 'b'), "ORDER=A B", "A_OK=1", "A_TRY=0", "B_OK=1",
        "B_TRY=0", "c=" + std::string(100, 'c')});
  const auto boot = control();
  const BootState before = ok(boot->read()).state;
  EXPECT_TRUE(ok(boot->read()).behind_copy);
  ok(boot->repair());
  EXPECT_FALSE(ok(boot->read()).behind_copy);
  EXPECT_EQ(ok(boot->read()).state, before);
  const std::string text = listed();
  for (const std::string& line : {"a=" + std::string(240, 'a'), "b=" + std::string(200, 'b'),
                                  "c=" + std::string(100, 'c'), std::string("ORDER=A B"), std::string("B_TRY=0")}) {
    EXPECT_NE(text.find(line + "\n"), std::string::npos) << line;
    EXPECT_EQ(text.find(line + "\n"), text.rfind(line + "\n")) << line;
  }
  edit({"set", "d=1"});  // the tool finds the free space behind our comments
  EXPECT_EQ(ok(boot->read()).state, before);
  EXPECT_FALSE(ok(boot->read()).damaged_copy);
}

TEST_F(GrubTools, AReaderWithoutJournalSeesTheFileAsSoonAsItIsMadeAndEveryStore) {
  mount_ext4();
  std::ofstream(folder / "boot/other") << "metadata that is in the journal";
  auto boot = control();
  BootState state = only_slot({}, SlotId::a, 1);
  ok(boot->initialise(state));
  EXPECT_EQ(seen_without_journal(), contents_of(path));
  // grub-editenv truncates the file; its new block is known to the journal alone.
  edit({"set", "x=1"});
  state = armed(state, SlotId::b, 1, kTransaction);
  ok(boot->store(state));
  EXPECT_EQ(seen_without_journal(), contents_of(path));
  EXPECT_NE(seen_without_journal().find("ORDER=B A\n"), std::string::npos);
  // Another file under the same name.
  run_tool({"cp", path, path + ".new"});
  run_tool({"mv", path + ".new", path});
  ok(boot->store(rolled_back(state, SlotId::a, 1)));
  EXPECT_EQ(seen_without_journal(), contents_of(path));
}

TEST_F(GrubTools, WhatGrubEditenvSyncedStaysHiddenInTheJournalUntilAStoreEmptiesIt) {
  mount_ext4();
  auto boot = control();
  ok(boot->initialise(only_slot({}, SlotId::a, 1)));
  edit({"set", "x=1"});  // ends with an fsync
  EXPECT_EQ(seen_without_journal().find("x=1"), std::string::npos);
  ok(boot->store(only_slot({}, SlotId::b, 1)));
  EXPECT_NE(seen_without_journal().find("x=1"), std::string::npos);
}

TEST_F(GrubTools, WorksOnEveryFilesystemThatOverwritesInPlace) {
  const std::vector<std::vector<std::string>> kinds{
      {"mkfs.ext4", "-q", "-F", "-b", "1024"},
      {"mkfs.ext4", "-q", "-F", "-b", "4096", "-O", "^has_journal"},
      {"mkfs.ext2", "-q", "-F"},
  };
  for (const auto& kind : kinds) {
    SCOPED_TRACE(kind.front() + " " + kind.back());
    mount_with(kind);
    const auto boot = control();
    BootState state = only_slot({}, SlotId::a, 1);
    ok(boot->initialise(state));
    state = armed(state, SlotId::b, 1, kTransaction);
    ok(boot->store(state));
    EXPECT_EQ(ok(boot->read()).state, state);
    EXPECT_EQ(seen_without_journal(), contents_of(path));
  }
}

TEST_F(GrubTools, WorksOnXfsUnlessTheBlockIsShared) {
  constexpr std::uint64_t kXfsBytes = 320ULL << 20U;  // the least that mkfs.xfs makes
  test::make_file(image, kXfsBytes);
  run_tool({"mkfs.xfs", "-q", "-f", "-m", "reflink=1", image});
  loop = std::make_unique<test::LoopDevice>(image);
  mounted = std::make_unique<test::MountedFilesystem>(loop->path(), folder / "boot");
  {
    const auto boot = control();
    ok(boot->initialise(only_slot({}, SlotId::a, 1)));
    const BootState state = armed(ok(boot->read()).state, SlotId::b, 1, kTransaction);
    ok(boot->store(state));
    EXPECT_EQ(ok(boot->read()).state, state);
  }
  run_tool({"cp", "--reflink=always", path, path + ".copy"});
  const Error error = refusal();
  EXPECT_EQ(error.code, Errc::config);
  EXPECT_NE(error.message.find("reflink"), std::string::npos) << error.message;
}

TEST_F(GrubTools, RefusesWhatGrubWouldNotFind) {
  mount_with({"mkfs.ext4", "-q", "-F", "-b", "4096", "-N", "64", "-I", "4096", "-O", "inline_data"});
  edit({"create"});
  EXPECT_NE(refusal().message.find("inline"), std::string::npos) << refusal().message;
  EXPECT_EQ(refusal().code, Errc::config);

  mount_with({"mkfs.ext4", "-q", "-F"}, "data=journal");
  edit({"create"});
  EXPECT_NE(refusal().message.find("data=journal"), std::string::npos) << refusal().message;
  EXPECT_EQ(refusal().code, Errc::config);

  mount_ext4();
  edit({"create"});
  run_tool({"ln", "-s", path, folder / "boot/link"});
  path = folder / "boot/link";
  EXPECT_NE(refusal().message.find("symbolic link"), std::string::npos) << refusal().message;
  path = folder / "boot";
  EXPECT_EQ(refusal().code, Errc::config);
  EXPECT_NE(refusal().message.find("mounted"), std::string::npos) << refusal().message;
  path = folder / "boot/lost+found";
  EXPECT_NE(refusal().message.find("not a regular file"), std::string::npos) << refusal().message;
  path = folder / "none/grubenv";
  EXPECT_NE(refusal().message.find("mounted"), std::string::npos) << refusal().message;
}

TEST_F(GrubTools, RefusesBtrfs) {
  constexpr std::uint64_t kBtrfsBytes = 128ULL << 20U;
  test::make_file(image, kBtrfsBytes);
  run_tool({"mkfs.btrfs", "-q", "-f", image});
  loop = std::make_unique<test::LoopDevice>(image);
  mounted = std::make_unique<test::MountedFilesystem>(loop->path(), folder / "boot");
  edit({"create"});
  const Error error = refusal();
  EXPECT_EQ(error.code, Errc::config);
  EXPECT_NE(error.message.find("btrfs"), std::string::npos) << error.message;
}

TEST_F(GrubTools, ASparseFileIsNoBlockAndIsWrittenInFull) {
  mount_ext4();
  run_tool({"truncate", "-s", "1024", path});
  const auto boot = control();
  EXPECT_EQ(error_of(boot->read()).code, Errc::boot_environment);
  const BootState state = only_slot({}, SlotId::a, 1);
  ok(boot->initialise(state));
  EXPECT_EQ(ok(control()->read()).state, state);
  EXPECT_EQ(seen_without_journal(), contents_of(path));
}

}  // namespace
}  // namespace slotkeeper::boot
