// The U-Boot backend on devices in memory: what it reads, what it writes and when it writes nothing, and that a power
// cut at any write leaves the old or the new state in full.
#include <functional>
#include <set>

#include <gtest/gtest.h>

#include "bootloader-hooks/boot_control.hpp"
#include "tests/support/environment_bytes.hpp"
#include "tests/support/memory_storage.hpp"
#include "tests/support/unwrap.hpp"

namespace slotkeeper::boot {
namespace {

using test::environment_copy;
using test::error_of;
using test::MemoryStorage;
using test::ok;

constexpr std::uint32_t kAttempts = 3;
constexpr std::size_t kSize = 0x2000;
constexpr std::size_t kFirstAt = 0x400;  // not a multiple of a page, as on many boards
constexpr std::size_t kSecondAt = kFirstAt + kSize;
constexpr std::uint64_t kDeviceBytes = 0x8000;
const std::string kConfig = "/etc/fw_env.config";
const std::string kDevice = "/dev/env";
const std::string kLock = "/var/lock/fw_printenv.lock";
const std::string kTransaction = "0123456789abcdef";
const std::vector<std::string> kEntries{"BOOT_A_LEFT=3", "BOOT_B_LEFT=3", "BOOT_ORDER=A B", "bootcmd=source ${addr}",
                                        "serial#=0815"};

void put(MemoryStorage& storage, const std::string& path, std::size_t offset, io::ConstBytes bytes) {
  auto& node = storage.node(path);
  std::copy(bytes.begin(), bytes.end(), node.contents.begin() + static_cast<std::ptrdiff_t>(offset));
  node.durable = node.contents;
}

class UbootControl : public testing::Test {
 protected:
  UbootControl() {
    const std::string text = "# copies\n" + kDevice + " 0x400 2000\n" + kDevice + " 0x2400 2000\n";
    storage.add_file(kConfig, text.size());
    put(storage, kConfig, 0, io::as_bytes(text));
    storage.add_device(kDevice, kDeviceBytes);
    // What lies around the copies must stay.
    put(storage, kDevice, 0, std::vector<std::byte>(kDeviceBytes, std::byte{0xa5}));
    put(storage, kDevice, kFirstAt, environment_copy(kEntries, 1, kSize, std::byte{0xff}));
    put(storage, kDevice, kSecondAt, environment_copy(kEntries, 1, kSize, std::byte{0xff}));
  }

  [[nodiscard]] std::unique_ptr<BootControl> control() {
    return ok(make_uboot_control(storage, {.fw_env_config = kConfig, .attempts = kAttempts, .lock_wait = {}}));
  }
  [[nodiscard]] EnvironmentCopies copies() {
    const auto& bytes = storage.node(kDevice).contents;
    const auto at = [&](std::size_t offset) {
      const auto begin = bytes.begin() + static_cast<std::ptrdiff_t>(offset);
      return EnvironmentCopy(begin, begin + kSize);
    };
    return {at(kFirstAt), at(kSecondAt)};
  }
  [[nodiscard]] Variables variables_of(std::size_t copy) {
    const EnvironmentCopy one = copies()[copy];
    return ok(read_variables({one, one}));
  }
  void damage(std::size_t copy, std::size_t offset, std::size_t length = 1) {
    for (std::size_t i = 0; i < length; ++i) {
      storage.node(kDevice).contents[(copy == 0 ? kFirstAt : kSecondAt) + offset + i] ^= std::byte{0x40};
    }
    storage.node(kDevice).durable = storage.node(kDevice).contents;
  }
  void expect_both_copies_say(const BootState& wanted) {
    for (const std::size_t copy : {0U, 1U}) {
      ASSERT_TRUE(is_valid_copy(copies()[copy])) << copy;
      const Variables variables = variables_of(copy);
      EXPECT_EQ(boot_state_of(variables), wanted) << copy;
      EXPECT_EQ(variables.at("bootcmd"), "source ${addr}");
      EXPECT_EQ(variables.at("serial#"), "0815");
    }
    const auto& bytes = storage.node(kDevice).contents;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      if (i >= kFirstAt && i < kSecondAt + kSize) continue;
      ASSERT_EQ(bytes[i], std::byte{0xa5}) << "byte " << i << " outside the copies was written";
    }
  }

  MemoryStorage storage;
};

BootState start() {
  BootState state;
  state.order = {SlotId::a, SlotId::b};
  state.a = {.health = SlotHealth::good, .tries_left = 3};
  state.b = state.a;
  return state;
}

TEST_F(UbootControl, PromisesWhatTheEnvironmentCanKeep) {
  const auto boot = control();
  EXPECT_EQ(boot->traits().backend, "uboot");
  EXPECT_TRUE(boot->traits().keeps_mark);
  EXPECT_TRUE(boot->traits().counts_tries);
  EXPECT_EQ(boot->traits().attempts, kAttempts);
  EXPECT_FALSE(ok(boot->booted()).has_value());
}

TEST_F(UbootControl, ReadsWithoutWriting) {
  const BootReading reading = ok(control()->read());
  EXPECT_EQ(reading.state, start());
  EXPECT_FALSE(reading.damaged_copy);
  EXPECT_FALSE(reading.behind_copy);
  EXPECT_EQ(storage.writes(), 0U);
  EXPECT_EQ(storage.syncs(), 0U);
}

TEST_F(UbootControl, StoresEveryStateOfAnUpdateInBothCopies) {
  const auto boot = control();
  BootState state = start();
  for (int round = 0; round < 100; ++round) {  // flags wrap around
    for (const BootState& wanted :
         {only_slot(state, SlotId::a, kAttempts), armed(state, SlotId::b, kAttempts, kTransaction),
          confirmed(state, SlotId::b, kAttempts, kTransaction), rolled_back(state, SlotId::a, kAttempts)}) {
      ok(boot->store(wanted));
      expect_both_copies_say(wanted);
      const BootReading reading = ok(boot->read());
      EXPECT_EQ(reading.state, wanted);
      EXPECT_FALSE(reading.damaged_copy || reading.behind_copy);
      state = wanted;
    }
  }
}

TEST_F(UbootControl, WritesNothingWhenBothCopiesSaySo) {
  const auto boot = control();
  const auto before = storage.node(kDevice).contents;
  ok(boot->store(start()));
  ok(boot->repair());
  ok(boot->initialise(start()));
  EXPECT_EQ(storage.writes(), 0U);
  EXPECT_EQ(storage.node(kDevice).contents, before);
}

TEST_F(UbootControl, FindsDamageAnywhereInOneCopyAndRepairsIt) {
  for (const std::size_t copy : {0U, 1U}) {
    for (const std::size_t offset : {std::size_t{0}, std::size_t{3}, std::size_t{5}, std::size_t{20}, std::size_t{511},
                                     std::size_t{512}, kSize / 2, kSize - 1}) {
      const auto boot = control();
      damage(copy, offset);
      const BootReading reading = ok(boot->read());
      EXPECT_TRUE(reading.damaged_copy) << copy << " " << offset;
      EXPECT_EQ(reading.state, start());
      const EnvironmentCopy valid = copies()[1 - copy];
      ok(boot->repair());
      EXPECT_EQ(copies()[1 - copy], valid) << "the valid copy must not be touched";
      EXPECT_FALSE(ok(boot->read()).damaged_copy);
      expect_both_copies_say(start());
      const auto writes = storage.writes();
      ok(boot->repair());
      EXPECT_EQ(storage.writes(), writes);
    }
  }
}

TEST_F(UbootControl, FlagsAreNotCoveredByTheCrcAndOnlyPickTheCopy) {
  damage(1, 4);
  const BootReading reading = ok(control()->read());
  EXPECT_FALSE(reading.damaged_copy);
  EXPECT_EQ(reading.state, start());
}

TEST_F(UbootControl, AStoreMendsADamagedCopyOnTheWay) {
  const auto boot = control();
  damage(0, 100, 300);
  ok(boot->store(start()));
  expect_both_copies_say(start());
  damage(1, 100, 300);
  const BootState wanted = armed(start(), SlotId::b, kAttempts, kTransaction);
  ok(boot->store(wanted));
  expect_both_copies_say(wanted);
}

TEST_F(UbootControl, RefusesTwoDamagedCopiesAndChangesNothing) {
  const auto boot = control();
  damage(0, 30);
  damage(1, 30);
  const auto before = storage.node(kDevice).contents;
  EXPECT_EQ(error_of(boot->read()).code, Errc::boot_environment);
  EXPECT_EQ(error_of(boot->store(start())).code, Errc::boot_environment);
  EXPECT_EQ(error_of(boot->repair()).code, Errc::boot_environment);
  EXPECT_EQ(storage.node(kDevice).contents, before);
  EXPECT_EQ(storage.writes(), 0U);
}

TEST_F(UbootControl, SaysThatItWasNeverInitialised) {
  put(storage, kDevice, 0, std::vector<std::byte>(kDeviceBytes, std::byte{0xff}));
  const Error error = error_of(control()->read());
  EXPECT_EQ(error.code, Errc::boot_environment);
  EXPECT_NE(error.message.find("never initialised"), std::string::npos) << error.message;
}

TEST_F(UbootControl, InitialisesFromNothing) {
  for (const std::byte filling : {std::byte{0}, std::byte{0xff}, std::byte{0x5a}}) {
    put(storage, kDevice, kFirstAt, std::vector<std::byte>(2 * kSize, filling));
    const auto boot = control();
    const BootState wanted = at_rest(only_slot({}, SlotId::a, kAttempts), SlotId::a, kAttempts);
    ok(boot->initialise(wanted));
    const BootReading reading = ok(boot->read());
    EXPECT_EQ(reading.state, wanted);
    EXPECT_FALSE(reading.damaged_copy || reading.behind_copy);
    EXPECT_EQ(variables_of(0), (Variables{{"BOOT_ORDER", "A"}, {"BOOT_A_LEFT", "3"}, {"BOOT_B_LEFT", "0"}}));
    EXPECT_EQ(variables_of(1), variables_of(0));
  }
}

TEST_F(UbootControl, InitialisingKeepsTheVariablesOfAValidCopy) {
  damage(0, 0, kSize);
  const BootState wanted = only_slot(start(), SlotId::a, kAttempts);
  ok(control()->initialise(wanted));
  expect_both_copies_say(wanted);
}

TEST_F(UbootControl, ACopyThatIsBehindIsNoDamageButIsBroughtUpToDate) {
  std::vector<std::string> counted = kEntries;
  counted[1] = "BOOT_B_LEFT=2";
  put(storage, kDevice, kSecondAt, environment_copy(counted, 2, kSize));
  const auto boot = control();
  BootReading reading = ok(boot->read());
  EXPECT_EQ(reading.state.b.tries_left, 2U);
  EXPECT_FALSE(reading.damaged_copy);
  EXPECT_TRUE(reading.behind_copy);
  ok(boot->repair());
  reading = ok(boot->read());
  EXPECT_EQ(reading.state.b.tries_left, 2U);
  EXPECT_FALSE(reading.behind_copy);

  put(storage, kDevice, kFirstAt, environment_copy(kEntries, 1, kSize));
  put(storage, kDevice, kSecondAt, environment_copy(counted, 2, kSize));
  BootState wanted = start();
  wanted.b.tries_left = 2;
  ok(boot->store(wanted));
  expect_both_copies_say(wanted);
}

TEST_F(UbootControl, VariablesOfOthersDoNotMakeACopyBehind) {
  std::vector<std::string> edited = kEntries;
  edited.emplace_back("ipaddr=10.0.0.1");
  put(storage, kDevice, kSecondAt, environment_copy(edited, 2, kSize));
  const auto boot = control();
  EXPECT_FALSE(ok(boot->read()).behind_copy);
  ok(boot->store(start()));
  EXPECT_EQ(storage.writes(), 0U);
  const BootState wanted = only_slot(start(), SlotId::b, kAttempts);
  ok(boot->store(wanted));
  expect_both_copies_say(wanted);
  EXPECT_EQ(variables_of(0).at("ipaddr"), "10.0.0.1");
  EXPECT_EQ(variables_of(1).at("ipaddr"), "10.0.0.1");
}

TEST_F(UbootControl, NonsenseInOurVariablesIsReadAsUnknownAndReplacedByAStore) {
  const std::vector<std::string> nonsense{"BOOT_ORDER=X A  A",       "BOOT_A_LEFT=many",       "BOOT_B_LEFT=-7",
                                          "SLOTKEEPER_TX=yesterday", "bootcmd=source ${addr}", "serial#=0815"};
  put(storage, kDevice, kFirstAt, environment_copy(nonsense, 1, kSize));
  put(storage, kDevice, kSecondAt, environment_copy(nonsense, 1, kSize));
  const auto boot = control();
  const BootState state = ok(boot->read()).state;
  EXPECT_EQ(state.order, std::vector<SlotId>{SlotId::a});
  EXPECT_EQ(state.a, SlotBootState{});
  EXPECT_EQ(state.b, SlotBootState{});
  EXPECT_FALSE(state.mark.has_value());
  const BootState wanted = only_slot(state, SlotId::a, kAttempts);
  ok(boot->store(wanted));
  expect_both_copies_say(wanted);
  EXPECT_EQ(variables_of(0).at("BOOT_ORDER"), "A X");
}

TEST_F(UbootControl, AnEnvironmentWithoutRoomIsLeftAlone) {
  std::vector<std::string> full = kEntries;
  full.emplace_back("blob=" + std::string(kSize - 110, 'x'));
  put(storage, kDevice, kFirstAt, environment_copy(full, 1, kSize));
  put(storage, kDevice, kSecondAt, environment_copy(full, 1, kSize));
  const auto before = storage.node(kDevice).contents;
  const Error error = error_of(control()->store(armed(start(), SlotId::b, kAttempts, kTransaction)));
  EXPECT_EQ(error.code, Errc::boot_environment);
  EXPECT_NE(error.message.find("no room"), std::string::npos) << error.message;
  EXPECT_EQ(error_of(control()->check_can_arm()).code, Errc::boot_environment) << "only the switch finds out";
  EXPECT_EQ(storage.node(kDevice).contents, before);
}

TEST_F(UbootControl, AnEnvironmentWithRoomCanBeArmed) {
  const auto before = storage.node(kDevice).contents;
  ok(control()->check_can_arm());
  EXPECT_EQ(storage.node(kDevice).contents, before);
}

// ---- locking ----

TEST_F(UbootControl, AnotherToolThatHoldsTheLockMakesItBusy) {
  const auto boot = control();
  ok(boot->read());  // makes the lock file
  auto held = ok(storage.open_file(kLock, io::OpenMode::read_write()));
  ASSERT_TRUE(ok(held->try_lock(io::LockKind::exclusive)));
  EXPECT_EQ(error_of(boot->read()).code, Errc::busy);
  EXPECT_EQ(error_of(boot->store(start())).code, Errc::busy);
  EXPECT_EQ(error_of(boot->repair()).code, Errc::busy);
  EXPECT_EQ(error_of(boot->initialise(start())).code, Errc::busy);
  EXPECT_EQ(storage.writes(), 0U);
  ok(held->close());
  EXPECT_EQ(ok(boot->read()).state, start());
}

TEST_F(UbootControl, GivesTheLockBackAfterEveryCall) {
  const auto boot = control();
  const auto is_free = [&] {
    auto file = ok(storage.open_file(kLock, io::OpenMode::read_write()));
    const bool taken = ok(file->try_lock(io::LockKind::exclusive));
    ok(file->close());
    return taken;
  };
  ok(boot->read());
  EXPECT_TRUE(is_free());
  ok(boot->store(only_slot(start(), SlotId::a, kAttempts)));
  EXPECT_TRUE(is_free());
  ok(boot->store(only_slot(start(), SlotId::a, kAttempts)));
  EXPECT_TRUE(is_free());
  damage(0, 9);
  damage(1, 9);
  EXPECT_FALSE(boot->store(start()).has_value());
  EXPECT_TRUE(is_free());
}

// ---- faults ----

TEST_F(UbootControl, EveryFaultWhileStoringIsAnErrorAndLeavesOldOrNew) {
  const BootState wanted = armed(start(), SlotId::b, kAttempts, kTransaction);
  struct Case {
    test::MemoryFaults faults;
    Errc code;
    BootState left;
    std::string gist;
  };
  const std::string first = "first copy";
  const std::string second = "new state already";
  const std::vector<Case> cases{
      {{.fail_write = 1}, Errc::io_error, start(), first},
      {{.fail_sync = 1}, Errc::sync_failed, wanted, first},  // in the cache; a crash decides
      {{.flip_in_write = 1}, Errc::readback_mismatch, start(), first},
      {{.fail_write = 2}, Errc::io_error, wanted, second},
      {{.fail_sync = 2}, Errc::sync_failed, wanted, second},
      {{.flip_in_write = 2}, Errc::readback_mismatch, wanted, second},
  };
  for (std::size_t i = 0; i < cases.size(); ++i) {
    put(storage, kDevice, kFirstAt, environment_copy(kEntries, 1, kSize));
    put(storage, kDevice, kSecondAt, environment_copy(kEntries, 1, kSize));
    storage.node(kDevice).unflushed.clear();
    const auto boot = control();
    storage.plan_faults(cases[i].faults);
    const Error error = error_of(boot->store(wanted));
    EXPECT_EQ(error.code, cases[i].code) << i << ": " << error.message;
    EXPECT_NE(error.message.find(cases[i].gist), std::string::npos) << i << ": " << error.message;
    storage.plan_faults({});
    EXPECT_EQ(ok(boot->read()).state, cases[i].left) << i;
    // What the engine does then: the original alone again.
    const BootState disarmed = rolled_back(ok(boot->read()).state, SlotId::a, kAttempts);
    ok(boot->store(disarmed));
    expect_both_copies_say(disarmed);
  }
}

TEST_F(UbootControl, ReadErrorsAreReported) {
  auto boot = control();
  storage.node(kDevice).contents.resize(kSecondAt + 100);
  EXPECT_EQ(error_of(boot->read()).code, Errc::io_error);
}

/// Cuts the power before each change of `run`, lets a random part of what was unflushed reach the device, and looks.
void expect_old_or_new_after_every_cut(MemoryStorage& storage,
                                       const std::function<std::unique_ptr<BootControl>()>& make,
                                       const BootState& before, const BootState& wanted,
                                       const std::function<void()>& reset) {
  constexpr std::uint64_t kSeeds = 20;
  std::set<bool> seen;
  reset();
  storage.plan_faults({});
  ok(make()->store(wanted));
  const std::uint64_t changes = storage.changes();
  ASSERT_GE(changes, 2U);
  for (std::uint64_t cut = 1; cut <= changes; ++cut) {
    for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
      SCOPED_TRACE("cut before change " + std::to_string(cut) + ", seed " + std::to_string(seed));
      reset();
      auto boot = make();
      storage.plan_faults({.cut_at_change = cut});
      EXPECT_FALSE(boot->store(wanted).has_value());
      storage.crash(seed * 1000 + cut);
      boot = make();
      const BootReading reading = ok(boot->read());
      ASSERT_TRUE(reading.state == before || reading.state == wanted);
      seen.insert(reading.state == wanted);
      ok(boot->repair());
      const BootReading mended = ok(boot->read());
      EXPECT_EQ(mended.state, reading.state);
      EXPECT_FALSE(mended.damaged_copy || mended.behind_copy);
      const auto writes = storage.writes();
      ok(boot->repair());
      EXPECT_EQ(storage.writes(), writes);
      ok(boot->store(wanted));
      EXPECT_EQ(ok(boot->read()).state, wanted);
    }
  }
  EXPECT_EQ(seen.size(), before == wanted ? 1U : 2U) << "the cuts must reach both sides of the switch";
}

TEST_F(UbootControl, APowerCutAtAnyWriteLeavesTheOldOrTheNewStateInFull) {
  const BootState staged = only_slot(start(), SlotId::a, kAttempts);
  const BootState trial = armed(staged, SlotId::b, kAttempts, kTransaction);
  const std::vector<std::pair<BootState, BootState>> steps{
      {start(), staged},
      {staged, trial},
      {trial, confirmed(trial, SlotId::b, kAttempts, kTransaction)},
      {trial, rolled_back(trial, SlotId::a, kAttempts)},
  };
  // A variable over many sectors, so that a tear leaves mixed contents.
  std::string blob = "blob=";
  for (int i = 0; i < 900; ++i) blob += std::to_string(i);
  for (const auto& [before, wanted] : steps) {
    const auto reset = [&, state = before] {
      storage.plan_faults({});
      std::vector<std::string> entries = kEntries;
      entries.push_back(blob);
      put(storage, kDevice, kFirstAt, environment_copy(entries, 7, kSize));
      put(storage, kDevice, kSecondAt, environment_copy(entries, 7, kSize));
      ok(control()->store(state));
      storage.plan_faults({});
    };
    expect_old_or_new_after_every_cut(
        storage, [&] { return control(); }, before, wanted, reset);
  }
}

TEST_F(UbootControl, APowerCutWhileACopyIsDamagedNeverLosesTheOther) {
  const BootState trial = armed(start(), SlotId::b, kAttempts, kTransaction);
  for (const std::size_t damaged : {0U, 1U}) {
    const auto reset = [&] {
      storage.plan_faults({});
      put(storage, kDevice, kFirstAt, environment_copy(kEntries, 7, kSize));
      put(storage, kDevice, kSecondAt, environment_copy(kEntries, 7, kSize));
      damage(damaged, 600, 1000);
      storage.plan_faults({});
    };
    expect_old_or_new_after_every_cut(
        storage, [&] { return control(); }, start(), trial, reset);
    expect_old_or_new_after_every_cut(
        storage, [&] { return control(); }, start(), start(), reset);
  }
}

// A copy of which only the tail was damaged becomes valid again when a torn write mends the tail and nothing else.
TEST_F(UbootControl, ATornRepairNeverBringsBackWhatADamagedCopySaid) {
  constexpr std::uint64_t kSeeds = 200;
  const BootState withdrawn = rolled_back(start(), SlotId::a, kAttempts);
  for (const std::size_t damaged : {0U, 1U}) {
    std::uint64_t changes = 1;
    for (std::uint64_t cut = 1; cut <= changes; ++cut) {
      for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
        SCOPED_TRACE("cut before change " + std::to_string(cut) + ", seed " + std::to_string(seed));
        storage.plan_faults({});
        // The damaged copy is the newer one, and says that the target is to be tried.
        put(storage, kDevice, kFirstAt, environment_copy(kEntries, 7, kSize));
        put(storage, kDevice, kSecondAt, environment_copy(kEntries, 7, kSize));
        ok(control()->store(armed(start(), SlotId::b, kAttempts, kTransaction)));
        const EnvironmentCopy trial = copies()[damaged];
        ok(control()->store(withdrawn));
        put(storage, kDevice, damaged == 0 ? kFirstAt : kSecondAt, numbered_after(numbered_after(trial)));
        damage(damaged, kSize - 300, 200);
        storage.plan_faults({});
        ASSERT_EQ(ok(control()->read()).state, withdrawn);
        if (cut == 1 && seed == 1) {
          ok(control()->repair());
          changes = storage.changes();
          continue;
        }
        storage.plan_faults({.cut_at_change = cut});
        EXPECT_FALSE(control()->repair().has_value());
        storage.crash(seed * 1000 + cut);
        ASSERT_EQ(ok(control()->read()).state, withdrawn);
      }
    }
  }
}

// ---- configuration ----

TEST_F(UbootControl, RefusesAConfigurationThatIsMissingOrNamesWhatIsNotThere) {
  const auto refused = [&](const std::string& text) {
    auto& node = storage.node(kConfig);
    node.contents.assign(io::as_bytes(text).begin(), io::as_bytes(text).end());
    const Error error = error_of(make_uboot_control(storage, {.fw_env_config = kConfig}));
    EXPECT_EQ(error.code, Errc::config) << error.message;
    return error.message;
  };
  EXPECT_EQ(error_of(make_uboot_control(storage, {.fw_env_config = "/etc/none"})).code, Errc::config);
  EXPECT_NE(refused(kDevice + " 0x400 2000\n").find("names 1 copies"), std::string::npos);
  EXPECT_NE(refused(kDevice + " 0 2000\n/dev/none 0 2000\n").find("/dev/none"), std::string::npos);
  EXPECT_NE(refused(kDevice + " 0 2000\n" + kDevice + " 0x7000 2000\n").find("only 32768 bytes"), std::string::npos);
  storage.add_symlink("/dev/alias", kDevice);
  EXPECT_NE(refused(kDevice + " 0 2000\n/dev/alias 0x1000 2000\n").find("overlap"), std::string::npos);
}

}  // namespace
}  // namespace slotkeeper::boot
