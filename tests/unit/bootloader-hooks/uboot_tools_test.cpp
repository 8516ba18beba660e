// The U-Boot backend on real files and loop devices, against the real tools: what fw_setenv and mkenvimage write is
// read here, what is stored here is read by fw_printenv, and they wait for each other.
#include <fstream>
#include <thread>

#include <gtest/gtest.h>

#include "bootloader-hooks/boot_control.hpp"
#include "tests/support/environment_bytes.hpp"
#include "tests/support/loop_device.hpp"
#include "tests/support/temporary_directory.hpp"
#include "tests/support/unwrap.hpp"

namespace slotkeeper::boot {
namespace {

using test::ok;
using test::run_tool;

constexpr std::uint32_t kAttempts = 3;
constexpr std::size_t kSize = 0x3000;
const std::string kTransaction = "0123456789abcdef";

void write_file(const std::string& path, std::string_view text) {
  std::ofstream file(path, std::ios::binary);
  file.write(text.data(), static_cast<std::streamsize>(text.size()));
}

/// An environment with both copies on one file or loop device; the copies begin between pages.
class UbootTools : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (GetParam() && !test::may_mount()) GTEST_SKIP() << "needs root for loop devices";
    write_file(folder / "image", std::string(0x10000, '\xff'));
    path = folder / "image";
    if (GetParam()) {
      loop = std::make_unique<test::LoopDevice>(path);
      path = loop->path();
    }
    write_file(config, "# made by a test\n" + path + " 0x1200 3000 200\n" + path + " 0x4200 3000 200\n");
    write_file(folder / "factory.txt", "BOOT_ORDER=A B\nBOOT_A_LEFT=3\nBOOT_B_LEFT=3\nbootcmd=run a; run b\n");
    make_factory_image();
  }

  /// As a board's factory image comes: both copies the same, with the same flags, padded with 0xff.
  void make_factory_image() {
    run_tool({"mkenvimage", "-r", "-s", std::to_string(kSize), "-o", folder / "copy", folder / "factory.txt"});
    for (const std::string offset : {"9", "33"}) {  // 0x1200 and 0x4200 in sectors
      run_tool({"dd", "if=" + (folder / "copy"), "of=" + path, "bs=512", "seek=" + offset, "conv=notrunc,fsync"});
    }
  }

  [[nodiscard]] std::unique_ptr<BootControl> control() {
    return ok(make_uboot_control(*storage, {.fw_env_config = config, .attempts = kAttempts}));
  }
  [[nodiscard]] std::string print(const std::string& variable) const {
    std::string text = run_tool({"fw_printenv", "-c", config, "-n", variable});
    while (!text.empty() && text.back() == '\n') text.pop_back();
    return text;
  }
  void set(const std::string& variable, const std::string& value) const {
    run_tool({"fw_setenv", "-c", config, variable, value});
  }
  void damage(std::uint64_t offset, std::uint64_t length) const {
    write_file(folder / "garbage", std::string(length, '\x37'));
    run_tool({"dd", "if=" + (folder / "garbage"), "of=" + path, "bs=1", "seek=" + std::to_string(offset),
              "conv=notrunc,fsync"});
  }

  test::TemporaryDirectory folder;
  std::unique_ptr<test::LoopDevice> loop;
  std::unique_ptr<io::Storage> storage = io::make_posix_storage();
  std::string path;
  std::string config = folder / "fw_env.config";
};

TEST_P(UbootTools, ReadsWhatTheFactoryAndFwSetenvWrote) {
  const auto boot = control();
  EXPECT_EQ(ok(boot->read()).state.order, (std::vector<SlotId>{SlotId::a, SlotId::b}));
  EXPECT_FALSE(ok(boot->read()).damaged_copy);
  set("BOOT_ORDER", "B A");
  set("BOOT_B_LEFT", "1");
  set("SLOTKEEPER_TX", kTransaction + ":trial");
  const BootReading reading = ok(boot->read());
  EXPECT_EQ(reading.state.primary(), SlotId::b);
  EXPECT_EQ(reading.state.b.tries_left, 1U);
  EXPECT_EQ(reading.state.mark->text(), kTransaction + ":trial");
  EXPECT_TRUE(reading.behind_copy);  // fw_setenv writes one copy
}

TEST_P(UbootTools, FwPrintenvReadsWhatIsStoredHereWhenFlagsWrapAround) {
  for (const std::string offset : {"4612", "16900"}) {  // the flags bytes
    run_tool({"sh", "-c", "printf '\\371' | dd of=" + path + " bs=1 seek=" + offset + " conv=notrunc,fsync"});
  }
  const auto boot = control();
  for (int round = 0; round < 6; ++round) {
    const SlotId target = round % 2 == 0 ? SlotId::b : SlotId::a;
    const BootState before = ok(boot->read()).state;
    ok(boot->store(only_slot(before, other(target), kAttempts)));
    ASSERT_EQ(print("BOOT_ORDER"), name_of(other(target))) << round;
    ok(boot->store(armed(before, target, kAttempts, kTransaction)));
    ASSERT_EQ(print("BOOT_ORDER"), target == SlotId::b ? "B A" : "A B") << round;
    set("round", std::to_string(round));
    ASSERT_EQ(ok(boot->read()).state.primary(), target) << round;
  }
  EXPECT_EQ(print("bootcmd"), "run a; run b");
  EXPECT_EQ(print("SLOTKEEPER_TX"), kTransaction + ":trial");
  EXPECT_EQ(print("round"), "5");
  ok(boot->store(rolled_back(ok(boot->read()).state, SlotId::a, kAttempts)));
  EXPECT_EQ(print("SLOTKEEPER_TX"), "");
}

TEST_P(UbootTools, FwPrintenvReadsEitherCopyAloneAfterAStore) {
  const auto boot = control();
  ok(boot->store(armed(ok(boot->read()).state, SlotId::b, kAttempts, kTransaction)));
  const std::string whole = run_tool({"fw_printenv", "-c", config});
  for (const std::uint64_t offset : {0x1200, 0x4200}) {
    damage(offset + 700, 512);
    EXPECT_EQ(run_tool({"fw_printenv", "-c", config}), whole);
    EXPECT_TRUE(ok(boot->read()).damaged_copy);
    ok(boot->repair());
    EXPECT_FALSE(ok(boot->read()).damaged_copy);
  }
  EXPECT_EQ(run_tool({"fw_printenv", "-c", config}), whole);
}

TEST_P(UbootTools, NothingOutsideTheCopiesIsWritten) {
  const auto boot = control();
  ok(boot->store(armed(ok(boot->read()).state, SlotId::b, kAttempts, kTransaction)));
  auto file = ok(storage->open_file(path, io::OpenMode::read_only()));
  std::vector<std::byte> bytes(0x10000);
  ok(file->read_exactly_at(0, bytes));
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (i >= 0x1200 && i < 0x7200) continue;
    ASSERT_EQ(bytes[i], std::byte{0xff}) << i;
  }
}

TEST_P(UbootTools, InitialisesABlankDeviceForTheTools) {
  damage(0x1200, 0x6000);
  const auto boot = control();
  EXPECT_EQ(test::error_of(boot->read()).code, Errc::boot_environment);
  ok(boot->initialise(only_slot({}, SlotId::a, kAttempts)));
  EXPECT_EQ(run_tool({"fw_printenv", "-c", config}), "BOOT_A_LEFT=3\nBOOT_B_LEFT=0\nBOOT_ORDER=A\n");
}

TEST_P(UbootTools, ALinkToTheDeviceIsFollowed) {
  run_tool({"ln", "-s", path, folder / "by-label"});
  write_file(config, (folder / "by-label") + " 0x1200 3000\n" + (folder / "by-label") + " 0x4200 3000\n");
  const auto boot = control();
  ok(boot->store(only_slot(ok(boot->read()).state, SlotId::b, kAttempts)));
  EXPECT_EQ(print("BOOT_ORDER"), "B");
}

TEST_P(UbootTools, SizesWithoutAPrefixAreHexadecimalForTheToolsToo) {
  // 3000 is 0x3000: were it decimal, neither the CRC nor the second copy would be found.
  write_file(config, path + " 0x1200 3000\n" + path + " 16896 0x3000\n");
  EXPECT_EQ(print("BOOT_ORDER"), "A B");
  EXPECT_EQ(ok(control()->read()).state.primary(), SlotId::a);
}

TEST_P(UbootTools, NeitherLosesWhatTheOtherWritesAtTheSameTime) {
  constexpr int kRounds = 15;
  std::thread other([&] {
    for (int i = 1; i <= kRounds; ++i) set("round", std::to_string(i));
  });
  const auto boot = control();
  BootState wanted = ok(boot->read()).state;
  for (int i = 0; i < kRounds; ++i) {
    wanted = i % 2 == 0 ? armed(wanted, SlotId::b, kAttempts, kTransaction) : rolled_back(wanted, SlotId::a, kAttempts);
    const auto stored = boot->store(wanted);
    if (!stored.has_value()) {
      ADD_FAILURE() << stored.error().message;
      break;
    }
    EXPECT_EQ(ok(boot->read()).state, wanted);
  }
  other.join();
  EXPECT_EQ(ok(boot->read()).state, wanted);
  EXPECT_EQ(print("round"), std::to_string(kRounds));
  EXPECT_EQ(print("bootcmd"), "run a; run b");
}

INSTANTIATE_TEST_SUITE_P(On, UbootTools, testing::Bool(),
                         [](const auto& test) { return test.param ? "LoopDevice" : "File"; });

TEST(UbootToolsLock, IsTheOneThatTheToolsTake) {
  test::TemporaryDirectory folder;
  write_file(folder / "image", std::string(0x2000, '\xff'));
  const std::string config = folder / "fw_env.config";
  write_file(config, (folder / "image") + " 0 1000\n" + (folder / "image") + " 0x1000 1000\n");
  const std::string trace = run_tool(
      {"sh", "-c", "strace -f -e trace=openat,flock fw_setenv -c " + config + " a 1 2>&1 | grep -A1 lock || true"});
  EXPECT_NE(trace.find(UbootSettings{}.lock_path), std::string::npos) << trace;
}

}  // namespace
}  // namespace slotkeeper::boot
