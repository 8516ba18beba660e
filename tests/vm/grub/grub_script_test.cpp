// The boot script under a real GRUB, with an environment block that the backend wrote and a state store of ours. The
// power is cut after every store, with the boot filesystem mounted: GRUB reads what lies on the disk and no journal,
// writes to it, and the filesystem is mounted again afterwards, which replays the journal. What takes the place of a
// kernel says which slot was started.
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include "bootloader-hooks/boot_control.hpp"
#include "partitions/state_store.hpp"
#include "tests/support/loop_device.hpp"
#include "tests/support/temporary_directory.hpp"
#include "tests/support/unwrap.hpp"

namespace slotkeeper::boot {
namespace {

using test::ok;
using test::run_tool;

constexpr std::uint32_t kAttempts = 3;
constexpr std::uint64_t kBootBytes = 16ULL << 20U;
constexpr std::uint64_t kStoreBytes = 8ULL << 20U;
const std::string kTransaction = "0123456789abcdef";
const std::string kSource = SLOTKEEPER_SOURCE_DIR;

constexpr const char* kBoard = R"(
serial --unit=0 --speed=115200
terminal_output serial
set sk_attempts=3
set sk_confirmed=(hd0,msdos2)16+2
function sk_start {
  if [ -f (hd0,msdos1)/kernel-$sk_slot ]; then
    echo "STARTED $sk_slot"
    outb 0xf4 0
  fi
}
function sk_lost {
  echo "LOST"
  outb 0xf4 0
}
)";

class GrubScript : public testing::Test {
 protected:
  void SetUp() override {
    if (!test::may_mount()) GTEST_SKIP() << "needs root for loop devices";
    test::make_file(image, kBootBytes);
    run_tool({"mkfs.ext4", "-q", "-F", "-b", "4096", image});
    mount();
    run_tool({"mkdir", boot_folder + "/grub"});
    run_tool({"cp", kSource + "/bootloader-hooks/scripts/grub.cfg", boot_folder + "/grub/grub.cfg"});
    std::ofstream(boot_folder + "/grub/slotkeeper-board.cfg") << kBoard;
    set_kernel("A", true);
    set_kernel("B", true);
    run_tool({"sync", "-f", boot_folder});
    std::ofstream(store_path) << "";
    ok(StateStore::format(*storage, store_path, kStoreBytes, "test"));
    confirm(SlotId::a);
  }

  void mount() {
    loop = std::make_unique<test::LoopDevice>(image);
    mounted = std::make_unique<test::MountedFilesystem>(loop->path(), boot_folder);
  }
  void set_kernel(const std::string& slot, bool is_there) const {
    const std::string path = boot_folder + "/kernel-" + slot;
    if (is_there) {
      std::ofstream(path) << "kernel";
    } else {
      std::filesystem::remove(path);
    }
    run_tool({"sync", "-f", boot_folder});
  }
  void confirm(SlotId slot) {
    auto store = ok(StateStore::open(*storage, store_path, StateStore::Access::write));
    ok(store->write_last_confirmed(slot));
    ok(store->close());
  }
  /// Afresh every time: what the boot script left counts.
  [[nodiscard]] std::unique_ptr<BootControl> control() {
    return ok(make_grub_control(
        *storage, {.grubenv = boot_folder + "/grub/grubenv", .attempts = kAttempts, .lock_path = folder / "lock"}));
  }
  [[nodiscard]] BootState state() { return ok(control()->read()).state; }
  void store(const BootState& wanted) { ok(control()->store(wanted)); }

  /// The slot that GRUB starts after a power cut right now, "LOST" or what it said instead.
  std::string start() {
    const std::string disk = folder / "disk";
    run_tool({"bash", kSource + "/tests/vm/grub/make-disk", image, store_path, disk});
    mounted.reset();
    loop.reset();
    said = run_tool({"bash", kSource + "/tests/vm/grub/start-disk", disk, image}, std::chrono::minutes(4));
    mount();
    const std::string mark = "STARTED ";
    const std::size_t at = said.find(mark);
    if (at != std::string::npos) return said.substr(at + mark.size(), 1);
    return said.find("LOST") != std::string::npos ? "LOST" : said;
  }
  [[nodiscard]] std::string environment() const {
    return run_tool({"grub-editenv", boot_folder + "/grub/grubenv", "list"});
  }
  void write_environment(const std::string& contents) const {
    std::ofstream(boot_folder + "/grub/grubenv", std::ios::binary) << contents;
    run_tool({"sync", "-f", boot_folder});
  }

  test::TemporaryDirectory folder;
  std::string image = folder / "image";
  std::string boot_folder = folder / "boot";
  std::string store_path = folder / "state";
  std::unique_ptr<test::LoopDevice> loop;
  std::unique_ptr<test::MountedFilesystem> mounted;
  std::unique_ptr<io::Storage> storage = io::make_posix_storage();
  std::string said;  ///< on the serial line, by the last start
};

TEST_F(GrubScript, CountsTheTriesOfATrialThenFallsBackAndNeverCountsTheConfirmedSlot) {
  EXPECT_EQ(control()->traits().attempts, 1U);
  ok(control()->initialise(at_rest(only_slot({}, SlotId::a, 1), SlotId::a, 1)));
  EXPECT_EQ(start(), "A");
  EXPECT_EQ(control()->traits().attempts, kAttempts) << "the script has told that it counts: " << environment();
  EXPECT_EQ(state().a.tries_left, kAttempts);
  const std::string at_rest_before = environment();
  EXPECT_EQ(start(), "A");
  EXPECT_EQ(environment(), at_rest_before) << "a device at rest never writes its environment";

  store(armed(state(), SlotId::b, kAttempts, kTransaction));
  for (const std::uint32_t left : {2U, 1U, 0U}) {
    EXPECT_EQ(start(), "B") << said;
    EXPECT_EQ(state().b.tries_left, left);
    EXPECT_NE(said.find("try " + std::to_string(kAttempts - left) + " of 3"), std::string::npos) << said;
  }
  EXPECT_EQ(start(), "A") << said;
  EXPECT_EQ(state().a.tries_left, kAttempts);
  EXPECT_EQ(state().b.tries_left, 0U);
  EXPECT_EQ(state().order.front(), SlotId::b);
  EXPECT_EQ(state().mark->text(), kTransaction + ":trial");
}

TEST_F(GrubScript, StartsTheConfirmedTargetAndAfterARollbackTheOriginal) {
  ok(control()->initialise(at_rest(only_slot({}, SlotId::a, 1), SlotId::a, 1)));
  store(armed(state(), SlotId::b, control()->traits().attempts, kTransaction));
  EXPECT_EQ(start(), "B");
  store(confirmed(state(), SlotId::b, kAttempts, kTransaction));
  confirm(SlotId::b);
  EXPECT_EQ(start(), "B");
  EXPECT_EQ(state().b.tries_left, kAttempts);
  store(rolled_back(state(), SlotId::a, kAttempts));
  EXPECT_EQ(start(), "A");
}

TEST_F(GrubScript, TakesTheOtherSlotWhereAKernelCannotBeLoaded) {
  ok(control()->initialise(at_rest(only_slot({}, SlotId::a, 1), SlotId::a, 1)));
  store(armed(state(), SlotId::b, 1, kTransaction));
  set_kernel("B", false);
  EXPECT_EQ(start(), "A") << said;
  EXPECT_EQ(state().b.tries_left, kAttempts - 1) << "the try was counted before";
  set_kernel("A", false);
  EXPECT_EQ(start(), "LOST") << said;
}

TEST_F(GrubScript, ADamagedEnvironmentStartsTheLastConfirmedSlotAndIsLeftAlone) {
  const std::string signature = "# GRUB Environment Block\n";
  const std::string nothing(1024, '\0');
  const std::string malformed = signature + "rubbish" + std::string(1024 - signature.size() - 7, '#');
  for (const std::string& contents : {nothing, malformed, std::string()}) {
    for (const SlotId slot : {SlotId::b, SlotId::a}) {
      write_environment(contents);
      confirm(slot);
      EXPECT_EQ(start(), std::string(name_of(slot))) << said;
      std::ifstream file(boot_folder + "/grub/grubenv", std::ios::binary);
      EXPECT_EQ(std::string(std::istreambuf_iterator<char>(file), {}), contents);
    }
  }
}

TEST_F(GrubScript, WithoutTriesAnywhereItStartsTheLastConfirmedSlotWithoutCounting) {
  ok(control()->initialise(at_rest(only_slot({}, SlotId::a, 1), SlotId::a, 1)));
  const std::string environment_text = "ORDER=B A\nA_OK=1\nA_TRY=3\nB_OK=1\nB_TRY=7\n";
  run_tool({"grub-editenv", boot_folder + "/grub/grubenv", "set", "ORDER=B A", "A_TRY=3", "B_OK=1", "B_TRY=7"});
  run_tool({"sync", "-f", boot_folder});
  EXPECT_EQ(start(), "A") << said;
  EXPECT_EQ(environment(), environment_text);
  // A slot that is not OK, or whose counter is none, is not tried either.
  run_tool({"grub-editenv", boot_folder + "/grub/grubenv", "set", "A_OK=0", "A_TRY=0", "B_TRY=x"});
  run_tool({"sync", "-f", boot_folder});
  confirm(SlotId::b);
  EXPECT_EQ(start(), "B") << said;
}

TEST_F(GrubScript, WithoutAStateStoreEverySlotIsCountedAndWithoutAnythingAIsStarted) {
  ok(control()->initialise(at_rest(only_slot({}, SlotId::a, 1), SlotId::a, 1)));
  run_tool({"dd", "if=/dev/zero", "of=" + store_path, "bs=1M", "count=1", "conv=notrunc"});
  EXPECT_EQ(start(), "A");
  EXPECT_EQ(state().a.tries_left, kAttempts - 1);
  write_environment("");
  EXPECT_EQ(start(), "A") << said;
}

TEST_F(GrubScript, ATryThatCannotBeCountedIsNotMade) {
  std::string contents = "# GRUB Environment Block\nORDER=B A\nA_OK=1\nA_TRY=0\nB_OK=1\nB_TRY=0\n";
  contents.resize(1023, '#');
  contents += "x";  // GRUB loads such a block, but refuses to change it
  write_environment(contents);
  EXPECT_EQ(start(), "A") << said;
  EXPECT_NE(said.find("could not be counted"), std::string::npos) << said;
}

TEST_F(GrubScript, CountsUpToNine) {
  std::string board = kBoard;
  board.replace(board.find("sk_attempts=3"), 13, "sk_attempts=9");
  std::ofstream(boot_folder + "/grub/slotkeeper-board.cfg") << board;
  ok(control()->initialise(at_rest(only_slot({}, SlotId::a, 1), SlotId::a, 1)));
  store(armed(state(), SlotId::b, 1, kTransaction));
  for (int used = 1; used <= 9; ++used) {
    EXPECT_EQ(start(), "B") << said;
    EXPECT_NE(environment().find("B_TRY=" + std::to_string(used) + "\n"), std::string::npos) << environment();
  }
  EXPECT_EQ(start(), "A") << said;
}

}  // namespace
}  // namespace slotkeeper::boot
