// The stand-in for the bootloader does what the boot script does, on environments that the backend writes.
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
const std::string kTransaction = "0123456789abcdef";
const std::string kProgram = std::string(SLOTKEEPER_SOURCE_DIR) + "/fixtures/bootloader/simulate-boot";

class SimulateBoot : public testing::Test {
 protected:
  SimulateBoot() {
    std::ofstream(image) << std::string(0x2000, '\0');
    std::ofstream(config) << image << " 0 1000\n" << image << " 0x1000 1000\n";
    boot = ok(make_uboot_control(*storage, {.fw_env_config = config, .attempts = kAttempts}));
    ok(boot->initialise(at_rest(only_slot({}, SlotId::a, kAttempts), SlotId::a, kAttempts)));
  }

  [[nodiscard]] std::string start(std::vector<std::string> options = {}) const {
    options.insert(options.begin(), {"bash", kProgram, "-c", config});
    return run_tool(options);
  }
  [[nodiscard]] BootState state() { return ok(boot->read()).state; }
  void arm(SlotId target) { ok(boot->store(armed(state(), target, kAttempts, kTransaction))); }
  void expect_nothing_starts(const std::vector<std::string>& options) const {
    try {
      FAIL() << start(options);
    } catch (const std::runtime_error& failure) {
      EXPECT_NE(std::string(failure.what()).find("nothing says what to start"), std::string::npos) << failure.what();
    }
  }
  void damage_both() { std::ofstream(image) << std::string(0x2000, 'x'); }

  test::TemporaryDirectory folder;
  std::unique_ptr<io::Storage> storage = io::make_posix_storage();
  std::string image = folder / "image";
  std::string config = folder / "fw_env.config";
  std::unique_ptr<BootControl> boot;
};

TEST_F(SimulateBoot, NeverCountsAtRest) {
  const BootState before = state();
  for (int i = 0; i < 5; ++i) EXPECT_EQ(start(), "slot=A tries_left=3\n");
  EXPECT_EQ(state(), before);
}

TEST_F(SimulateBoot, CountsTheTriesOfATrialAndThenFallsBackForEver) {
  arm(SlotId::b);
  EXPECT_EQ(start(), "slot=B tries_left=2\n");
  EXPECT_EQ(state().b.tries_left, 2U);
  EXPECT_EQ(start(), "slot=B tries_left=1\n");
  EXPECT_EQ(start(), "slot=B tries_left=0\n");
  EXPECT_EQ(state().b.tries_left, 0U);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(start(), "slot=A tries_left=3\n");
  EXPECT_EQ(state().a.tries_left, 3U);
}

TEST_F(SimulateBoot, CountsTheOtherWayRoundToo) {
  arm(SlotId::b);
  ok(boot->store(confirmed(state(), SlotId::b, kAttempts, kTransaction)));
  EXPECT_EQ(start(), "slot=B tries_left=3\n");
  arm(SlotId::a);
  EXPECT_EQ(start(), "slot=A tries_left=2\n");
}

TEST_F(SimulateBoot, NeverCountsAConfirmedSlot) {
  arm(SlotId::b);
  EXPECT_EQ(start(), "slot=B tries_left=2\n");
  ok(boot->store(confirmed(state(), SlotId::b, kAttempts, kTransaction)));
  for (int i = 0; i < 4; ++i) EXPECT_EQ(start(), "slot=B tries_left=3\n");
}

TEST_F(SimulateBoot, TakesTheOriginalAfterARollback) {
  arm(SlotId::b);
  ok(boot->store(rolled_back(state(), SlotId::a, kAttempts)));
  for (int i = 0; i < 4; ++i) EXPECT_EQ(start(), "slot=A tries_left=3\n");
}

TEST_F(SimulateBoot, WithoutCountingATrialNeverEnds) {
  arm(SlotId::b);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(start({"--no-count"}), "slot=B tries_left=3\n");
  EXPECT_EQ(state().b.tries_left, 3U);
}

TEST_F(SimulateBoot, TheFieldsScriptsCountEverySlotAndRefill) {
  arm(SlotId::b);
  for (const std::string expected :
       {"slot=B tries_left=2\n", "slot=B tries_left=1\n", "slot=B tries_left=0\n", "slot=A tries_left=2\n",
        "slot=A tries_left=1\n", "slot=A tries_left=0\n", "slot=B tries_left=2\n"}) {
    EXPECT_EQ(start({"--field"}), expected);
  }
  EXPECT_EQ(state().a.tries_left, 3U);
}

TEST_F(SimulateBoot, ReadsOneDamagedCopy) {
  arm(SlotId::b);
  std::fstream(image, std::ios::in | std::ios::out).seekp(100) << "damage";
  EXPECT_TRUE(ok(boot->read()).damaged_copy);
  EXPECT_EQ(start(), "slot=B tries_left=2\n");
}

TEST_F(SimulateBoot, WithoutAnEnvironmentItTakesTheLastConfirmedSlotOrNothing) {
  damage_both();
  expect_nothing_starts({});
  const std::string store_path = folder / "state";
  std::ofstream(store_path) << "";
  ok(StateStore::format(*storage, store_path, 8 << 20, "test"));
  expect_nothing_starts({"--state", store_path});
  auto store = ok(StateStore::open(*storage, store_path, StateStore::Access::write));
  for (const SlotId slot : {SlotId::b, SlotId::a}) {
    ok(store->write_last_confirmed(slot));
    EXPECT_EQ(start({"--state", store_path}), "slot=" + std::string(name_of(slot)) + " tries_left=0\n");
  }
  ok(store->close());
}

TEST_F(SimulateBoot, WithTheStateStoreTheLastConfirmedSlotIsTheOneThatIsNotCounted) {
  const std::string store_path = folder / "state";
  std::ofstream(store_path) << "";
  ok(StateStore::format(*storage, store_path, 8 << 20, "test"));
  auto store = ok(StateStore::open(*storage, store_path, StateStore::Access::write));
  ok(store->write_last_confirmed(SlotId::a));
  const std::vector<std::string> with_store{"--state", store_path};
  EXPECT_EQ(start(with_store), "slot=A tries_left=3\n");
  arm(SlotId::b);
  EXPECT_EQ(start(with_store), "slot=B tries_left=2\n");
  ok(boot->store(confirmed(state(), SlotId::b, kAttempts, kTransaction)));
  EXPECT_EQ(start(with_store), "slot=B tries_left=2\n");  // cut before the store knew
  ok(store->write_last_confirmed(SlotId::b));
  EXPECT_EQ(start(with_store), "slot=B tries_left=2\n");
  EXPECT_EQ(start(with_store), "slot=B tries_left=2\n");
  run_tool({"fw_setenv", "-c", config, "BOOT_B_LEFT", "0"});
  run_tool({"fw_setenv", "-c", config, "BOOT_A_LEFT", "0"});
  EXPECT_EQ(start(with_store), "slot=B tries_left=0\n");
  ok(store->close());
}

TEST_F(SimulateBoot, WithoutAnyTriesItStillStartsAConfirmedSlot) {
  arm(SlotId::b);
  run_tool({"fw_setenv", "-c", config, "BOOT_B_LEFT", "0"});
  run_tool({"fw_setenv", "-c", config, "BOOT_A_LEFT", "0"});
  EXPECT_EQ(start(), "slot=A tries_left=0\n");
}

}  // namespace
}  // namespace slotkeeper::boot
