// The GRUB backend on a file in memory: what it reads, what it writes and when it writes nothing, and that a power cut
// or a fault at any call leaves the old or the new state in full.
#include <functional>
#include <set>

#include <gtest/gtest.h>

#include "bootloader-hooks/boot_control.hpp"
#include "bootloader-hooks/grub_environment.hpp"
#include "tests/support/fault_storage.hpp"
#include "tests/support/grub_bytes.hpp"
#include "tests/support/memory_storage.hpp"
#include "tests/support/unwrap.hpp"

namespace slotkeeper::boot {
namespace {

using test::error_of;
using test::grub_block;
using test::MemoryStorage;
using test::ok;

constexpr std::uint32_t kAttempts = 3;
constexpr std::uint64_t kExt4 = 0xEF53;
constexpr std::uint64_t kFat = 0x4D44;
const std::string kFolder = "/boot/grub";
const std::string kPath = kFolder + "/grubenv";
const std::string kLock = "/var/lock/slotkeeper-grubenv.lock";
const std::string kTransaction = "0123456789abcdef";
using Lines = std::vector<std::string>;
const Lines kFactory{"saved_entry=0", "ORDER=A B",           "A_OK=1",          "A_TRY=0", "B_OK=1",
                     "B_TRY=0",       "SLOTKEEPER_SCRIPT=3", "recordfail=unset"};
/// So many others that ours lie in both sectors.
const Lines kScattered{"a=" + std::string(200, 'a'), "ORDER=A B", "A_OK=1",  "A_TRY=0",
                       "b=" + std::string(245, 'b'), "B_OK=1",    "B_TRY=0", "SLOTKEEPER_SCRIPT=3"};

BootState start() {
  BootState state;
  state.order = {SlotId::a, SlotId::b};
  state.a = {.health = SlotHealth::good, .tries_left = 3};
  state.b = state.a;
  return state;
}

class GrubControl : public testing::Test {
 protected:
  GrubControl() {
    storage.space[kFolder].filesystem_magic = kExt4;
    put(grub_block(kFactory));
  }

  void put_bytes(io::ConstBytes bytes) {
    auto& node = storage.exists(kPath) ? storage.node(kPath) : storage.add_file(kPath, 0);
    node.contents.assign(bytes.begin(), bytes.end());
    node.durable = node.contents;
    node.unflushed.clear();
    node.layout = {.is_known = true, .extents = {{.offset = 0, .length = 4096, .physical = 1 << 20}}};
  }
  void put(const GrubBlock& block) { put_bytes(block); }
  [[nodiscard]] std::unique_ptr<BootControl> control(io::Storage& over) const {
    return ok(make_grub_control(over, settings));
  }
  [[nodiscard]] std::unique_ptr<BootControl> control() { return control(storage); }
  [[nodiscard]] Error refusal() { return error_of(make_grub_control(storage, settings)); }
  [[nodiscard]] GrubBlock block() {
    const auto& contents = storage.node(kPath).contents;
    EXPECT_EQ(contents.size(), kGrubBlockBytes);
    GrubBlock found{};
    std::copy_n(contents.begin(), std::min(contents.size(), kGrubBlockBytes), found.begin());
    return found;
  }
  void expect_file_says(const BootState& wanted) {
    EXPECT_TRUE(is_whole_grub_block(block()));
    EXPECT_FALSE(is_scattered(block()));
    const Variables variables = read_grub_variables(block());
    EXPECT_EQ(grub_state_of(variables, kAttempts), wanted);
    for (const std::string name : {"saved_entry", "recordfail", "SLOTKEEPER_SCRIPT"}) {
      EXPECT_TRUE(variables.contains(name)) << name;
    }
  }

  MemoryStorage storage;
  GrubSettings settings{.grubenv = kPath, .attempts = kAttempts, .lock_path = kLock, .lock_wait = {}};
};

TEST_F(GrubControl, PromisesWhatTheBlockCanKeep) {
  const auto boot = control();
  const BootTraits& traits = boot->traits();
  EXPECT_EQ(traits.backend, "grub");
  EXPECT_TRUE(traits.keeps_mark);
  EXPECT_TRUE(traits.counts_tries);
  EXPECT_TRUE(traits.has_one_copy);
  EXPECT_EQ(traits.attempts, kAttempts);
  EXPECT_EQ(traits.places, (Lines{kPath, kLock}));
  ASSERT_EQ(traits.weaknesses.size(), 1U);
  EXPECT_NE(traits.weaknesses[0].find("single copy"), std::string::npos);
  EXPECT_FALSE(ok(boot->booted()).has_value());
}

TEST_F(GrubControl, AttemptsFollowWhatTheBootScriptCounts) {
  const auto traits_with = [&](const Lines& lines, std::uint32_t attempts) {
    put(grub_block(lines));
    settings.attempts = attempts;
    return control()->traits();
  };
  BootTraits traits = traits_with({"ORDER=A B"}, 3);
  EXPECT_EQ(traits.attempts, 1U);
  EXPECT_NE(traits.weaknesses.at(0).find("gets one try"), std::string::npos);
  traits = traits_with({"SLOTKEEPER_SCRIPT=2"}, 3);
  EXPECT_EQ(traits.attempts, 2U);
  EXPECT_NE(traits.weaknesses.at(0).find("2 tries, but boot.attempts says 3"), std::string::npos);
  traits = traits_with({"SLOTKEEPER_SCRIPT=9"}, 3);
  EXPECT_EQ(traits.attempts, 3U);
  EXPECT_EQ(traits.weaknesses.size(), 2U);
  traits = traits_with({"SLOTKEEPER_SCRIPT=9"}, 9);
  EXPECT_EQ(traits.attempts, 9U);
  EXPECT_EQ(traits.weaknesses.size(), 1U);
}

TEST_F(GrubControl, ReadsWithoutWriting) {
  const BootReading reading = ok(control()->read());
  ok(control()->check_can_arm());
  EXPECT_EQ(reading.state, start());
  EXPECT_FALSE(reading.damaged_copy);
  EXPECT_FALSE(reading.behind_copy);
  EXPECT_EQ(storage.writes(), 0U);
  EXPECT_EQ(storage.syncs(), 0U);
}

TEST_F(GrubControl, StoresEveryStateOfAnUpdateWithOneWriteEach) {
  const auto boot = control();
  BootState state = start();
  for (int round = 0; round < 3; ++round) {
    for (const BootState& wanted :
         {only_slot(state, SlotId::a, kAttempts), armed(state, SlotId::b, kAttempts, kTransaction),
          confirmed(state, SlotId::b, kAttempts, kTransaction), rolled_back(state, SlotId::a, kAttempts)}) {
      const auto writes = storage.writes();
      const bool changes = ok(boot->read()).state != wanted;
      ok(boot->store(wanted));
      EXPECT_EQ(storage.writes(), writes + (changes ? 1 : 0));
      expect_file_says(wanted);
      EXPECT_EQ(ok(boot->read()).state, wanted);
    }
    state = ok(boot->read()).state;
  }
}

TEST_F(GrubControl, WritesNothingWhenTheBlockSaysSo) {
  const auto boot = control();
  const GrubBlock before = block();
  ok(boot->store(start()));
  ok(boot->repair());
  ok(boot->initialise(start()));
  EXPECT_EQ(storage.writes(), 0U);
  EXPECT_EQ(storage.syncs(), 0U);
  EXPECT_EQ(block(), before);
}

TEST_F(GrubControl, EmptiesTheJournalBeforeItWritesAndAfterItMadeTheFile) {
  test::FaultStorage watched(storage);
  watched.simulate_freezes();
  const auto boot = control(watched);
  const BootState wanted = only_slot(start(), SlotId::a, kAttempts);
  ok(boot->store(wanted));
  EXPECT_EQ(watched.freezes(), 1U);
  EXPECT_EQ(watched.writes_while_frozen(), 0U);
  ok(boot->store(wanted));
  EXPECT_EQ(watched.freezes(), 1U) << "nothing to write, nothing to hold up";
  put_bytes({});
  ok(boot->initialise(wanted));
  EXPECT_EQ(watched.freezes(), 2U);
  EXPECT_FALSE(watched.is_frozen());
}

TEST_F(GrubControl, FatHasNoJournalAndIsNotFrozen) {
  storage.space[kFolder].filesystem_magic = kFat;
  storage.node(kPath).layout = {};
  test::FaultStorage watched(storage);
  watched.simulate_freezes();
  ok(control(watched)->store(only_slot(start(), SlotId::a, kAttempts)));
  EXPECT_EQ(watched.freezes(), 0U);
  EXPECT_GE(storage.syncs(), 2U);
}

TEST_F(GrubControl, AFilesystemThatSomebodyElseFrozeMakesItBusyBeforeAnythingIsWritten) {
  const auto boot = control();
  const auto frozen = ok(storage.freeze(kFolder, std::chrono::milliseconds(1000)));
  const GrubBlock before = block();
  EXPECT_EQ(error_of(boot->store(only_slot(start(), SlotId::a, kAttempts))).code, Errc::busy);
  EXPECT_EQ(block(), before);
  EXPECT_EQ(storage.writes(), 0U);
}

// ---- damage ----

TEST_F(GrubControl, WithoutItsFirstLineNothingIsReadNorWrittenUntilItIsMadeAnew) {
  for (const std::string& contents : {std::string(), std::string("# GRUB Env"), std::string(1024, '\0'),
                                      std::string(1024, '\xff'), std::string(700, '#')}) {
    put_bytes(io::as_bytes(contents));
    const auto boot = control();
    EXPECT_EQ(boot->traits().attempts, 1U);
    for (const Error& error : {error_of(boot->read()), error_of(boot->store(start())), error_of(boot->repair())}) {
      EXPECT_EQ(error.code, Errc::boot_environment);
      EXPECT_NE(error.message.find("recover"), std::string::npos) << error.message;
    }
    EXPECT_EQ(storage.writes(), 0U);
    const BootState wanted = at_rest(only_slot({}, SlotId::a, 1), SlotId::a, 1);
    ok(boot->initialise(wanted));
    EXPECT_EQ(ok(boot->read()).state, wanted);
    EXPECT_EQ(read_grub_variables(block()),
              (Variables{{"ORDER", "A"}, {"A_OK", "1"}, {"A_TRY", "0"}, {"B_OK", "0"}, {"B_TRY", "1"}}));
    storage.plan_faults({});
  }
}

TEST_F(GrubControl, InitialisesWhereNoFileIs) {
  storage.space["/boot/other"].filesystem_magic = kExt4;
  settings.grubenv = "/boot/other/grubenv";
  const auto boot = control();
  const Error error = error_of(boot->read());
  EXPECT_EQ(error.code, Errc::boot_environment);
  EXPECT_NE(error.message.find("provision"), std::string::npos) << error.message;
  const BootState wanted = only_slot({}, SlotId::b, 1);
  ok(boot->initialise(wanted));
  EXPECT_EQ(ok(boot->read()).state, wanted);
  EXPECT_EQ(storage.node(settings.grubenv).durable.size(), kGrubBlockBytes);
}

TEST_F(GrubControl, AMalformedPartIsReportedAndRewrittenFromTheRest) {
  GrubBlock damaged = grub_block(kFactory);
  std::fill(damaged.begin() + 512, damaged.end(), std::byte{0});
  put(damaged);
  const auto boot = control();
  BootReading reading = ok(boot->read());
  EXPECT_TRUE(reading.damaged_copy);
  EXPECT_FALSE(reading.behind_copy);
  EXPECT_EQ(reading.state, start());
  ok(boot->repair());
  reading = ok(boot->read());
  EXPECT_FALSE(reading.damaged_copy);
  expect_file_says(start());
  const auto writes = storage.writes();
  ok(boot->repair());
  EXPECT_EQ(storage.writes(), writes);

  put(damaged);
  const BootState wanted = only_slot(start(), SlotId::b, kAttempts);
  ok(boot->store(wanted));
  expect_file_says(wanted);
}

TEST_F(GrubControl, InitialisingKeepsWhatOthersHaveInADamagedBlock) {
  Lines lines = kFactory;
  lines.insert(lines.begin() + 2, "rubbish");
  put(grub_block(lines));
  const BootState wanted = only_slot(start(), SlotId::a, kAttempts);
  ok(control()->initialise(wanted));
  expect_file_says(wanted);
}

TEST_F(GrubControl, DamageThatLeavesNoRoomIsNoReasonNotToInitialise) {
  put(grub_block({"ORDER=" + std::string(900, 'x'), "rubbish"}));
  const BootState wanted = only_slot({}, SlotId::a, 1);
  const auto boot = control();
  EXPECT_EQ(error_of(boot->store(wanted)).code, Errc::boot_environment);
  ok(boot->initialise(wanted));
  EXPECT_EQ(ok(boot->read()).state, wanted);
}

TEST_F(GrubControl, AScatteredBlockIsBehindAndIsRearranged) {
  put(grub_block(kScattered));
  const auto boot = control();
  const BootReading reading = ok(boot->read());
  EXPECT_TRUE(reading.behind_copy);
  EXPECT_FALSE(reading.damaged_copy);
  EXPECT_EQ(reading.state, start());
  ok(boot->repair());
  EXPECT_GE(storage.writes(), 2U);
  EXPECT_FALSE(ok(boot->read()).behind_copy);
  EXPECT_EQ(ok(boot->read()).state, start());
  const auto writes = storage.writes();
  ok(boot->store(only_slot(start(), SlotId::a, kAttempts)));
  EXPECT_EQ(storage.writes(), writes + 1);
}

TEST_F(GrubControl, ABlockWithoutRoomIsLeftAloneAndIsNotCalledBehind) {
  put(grub_block({"blob=" + std::string(485, 'x'), "ORDER=A B", "A_OK=1", "A_TRY=0", "B_OK=1", "B_TRY=0"}));
  const auto boot = control();
  const GrubBlock before = block();
  EXPECT_FALSE(ok(boot->read()).behind_copy);
  EXPECT_NE(error_of(boot->check_can_arm()).message.find("no room"), std::string::npos);
  const Error error = error_of(boot->store(only_slot(start(), SlotId::a, kAttempts)));
  EXPECT_EQ(error.code, Errc::boot_environment);
  EXPECT_NE(error.message.find("no room"), std::string::npos) << error.message;
  EXPECT_EQ(block(), before);
}

// ---- others ----

TEST_F(GrubControl, AnotherSlotkeeperThatHoldsTheLockMakesItBusy) {
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

TEST_F(GrubControl, GivesTheLockBackAfterEveryCall) {
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
  put_bytes({});
  EXPECT_FALSE(boot->store(start()).has_value());
  EXPECT_TRUE(is_free());
  ok(boot->initialise(start()));
  EXPECT_TRUE(is_free());
}

/// Lets somebody change the block whenever the filesystem is settled.
class Meddling final : public io::Storage {
 public:
  explicit Meddling(io::Storage& real) : real_(real) {}
  std::function<void()> meddle;

 protected:
  using Text = const std::string&;
  Result<std::unique_ptr<io::File>> do_open_file(Text path, io::OpenMode mode, io::Caller caller) override {
    return real_.open_file(path, mode, caller);
  }
  Result<std::unique_ptr<io::Directory>> do_open_directory(Text path, io::Caller caller) override {
    return real_.open_directory(path, caller);
  }
  Result<io::EntryStatus> do_status_of(Text path, io::Caller caller) override { return real_.status_of(path, caller); }
  Result<io::DeviceIdentity> do_identify(Text path, io::Caller caller) override { return real_.identify(path, caller); }
  Result<std::vector<io::Mount>> do_mounts(io::Caller caller) override { return real_.mounts(caller); }
  Result<std::string> do_holder_of(Text path, io::Caller caller) override { return real_.holder_of(path, caller); }
  Result<std::optional<int>> do_lock_holder(Text path, io::Caller caller) override {
    return real_.lock_holder(path, caller);
  }
  Result<std::optional<std::uint64_t>> do_filesystem_errors(Text path, io::Caller caller) override {
    return real_.filesystem_errors(path, caller);
  }
  Result<io::StorageHealth> do_health_of(Text path, io::Caller caller) override {
    return real_.health_of(path, caller);
  }
  Result<std::optional<std::uint64_t>> do_bytes_written(Text path, io::Caller caller) override {
    return real_.bytes_written(path, caller);
  }
  Result<io::DeviceIdentity> do_root_device(io::Caller caller) override { return real_.root_device(caller); }
  Result<std::string> do_kernel_command_line(io::Caller caller) override { return real_.kernel_command_line(caller); }
  Result<std::unique_ptr<io::Freeze>> do_freeze(Text path, std::chrono::milliseconds limit,
                                                io::Caller caller) override {
    meddle();
    return real_.freeze(path, limit, caller);
  }
  Result<bool> do_thaw(Text path, io::Caller caller) override { return real_.thaw(path, caller); }
  Result<std::vector<std::string>> do_lying_on(Text filesystem, const std::vector<std::string>& paths,
                                               io::Caller caller) override {
    return real_.lying_on(filesystem, paths, caller);
  }

 private:
  io::Storage& real_;
};

TEST_F(GrubControl, StartsOverWhenSomebodyChangedTheBlockMeanwhile) {
  Meddling meddling(storage);
  int times = 0;
  meddling.meddle = [&] {
    if (++times > 2) return;
    Lines lines = kFactory;
    lines.push_back("next_entry=" + std::to_string(times));
    put(grub_block(lines));
  };
  settings.lock_wait = std::chrono::milliseconds(5000);
  const BootState wanted = only_slot(start(), SlotId::a, kAttempts);
  ok(control(meddling)->store(wanted));
  EXPECT_EQ(times, 3);
  expect_file_says(wanted);
  EXPECT_EQ(read_grub_variables(block())["next_entry"], "2");
}

TEST_F(GrubControl, GivesUpWhenSomebodyChangesTheBlockAllTheTime) {
  Meddling meddling(storage);
  int times = 0;
  meddling.meddle = [&] {
    Lines lines = kFactory;
    lines.push_back("next_entry=" + std::to_string(++times));
    put(grub_block(lines));
  };
  settings.lock_wait = std::chrono::milliseconds(50);
  EXPECT_EQ(error_of(control(meddling)->store(only_slot(start(), SlotId::a, kAttempts))).code, Errc::busy);
  EXPECT_EQ(storage.writes(), 0U);
}

// ---- faults and power cuts ----

TEST_F(GrubControl, EveryFaultWhileStoringIsAnErrorAndLeavesOldOrNew) {
  for (const Lines& lines : {kFactory, kScattered}) {
    const BootState wanted = armed(start(), SlotId::b, kAttempts, kTransaction);
    put(grub_block(lines));
    ok(control()->read());  // makes the lock file
    test::FaultStorage faulty(storage);
    const auto counting = control(faulty);
    faulty.reset();
    ok(counting->store(wanted));
    const std::uint64_t calls = faulty.calls();
    ASSERT_GT(calls, 10U);
    std::set<Errc> codes;
    for (std::uint64_t call = 1; call <= calls; ++call) {
      SCOPED_TRACE("fault at call " + std::to_string(call) + " of " + std::to_string(calls));
      put(grub_block(lines));
      const auto boot = control(faulty);
      faulty.reset();
      faulty.set({.file = {}, .operation = {}, .nth = call});
      const auto stored = boot->store(wanted);
      ASSERT_FALSE(stored.has_value());
      codes.insert(stored.error().code);
      EXPECT_EQ(faulty.faults_met(), 1U);
      faulty.reset();
      const BootReading reading = ok(boot->read());
      EXPECT_TRUE(reading.state == start() || reading.state == wanted);
      ok(boot->store(wanted));
      EXPECT_EQ(ok(boot->read()).state, wanted);
    }
    EXPECT_TRUE(codes.contains(Errc::io_error));
    EXPECT_TRUE(codes.contains(Errc::sync_failed));
  }
}

TEST_F(GrubControl, AWriteThatIsNotReadBackIsAnError) {
  const auto boot = control();
  storage.plan_faults({.flip_in_write = 1});
  const Error error = error_of(boot->store(only_slot(start(), SlotId::a, kAttempts)));
  EXPECT_EQ(error.code, Errc::readback_mismatch);
  EXPECT_NE(error.message.find("old state"), std::string::npos) << error.message;
}

/// Cuts the power before each change of `run`, lets a random part of what was unflushed reach the device, and looks.
void expect_old_or_new_after_every_cut(MemoryStorage& storage, const std::function<void()>& reset,
                                       const std::function<std::unique_ptr<BootControl>()>& make,
                                       const BootState& before, const BootState& wanted) {
  constexpr std::uint64_t kSeeds = 20;
  std::set<bool> seen;
  reset();
  storage.plan_faults({});
  ok(make()->store(wanted));
  const std::uint64_t changes = storage.changes();
  ASSERT_GE(changes, 3U);  // a sync of everything, a write, a sync
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
      EXPECT_FALSE(reading.damaged_copy);
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
  EXPECT_EQ(seen.size(), 2U) << "the cuts must reach both sides of the switch";
}

TEST_F(GrubControl, APowerCutAtAnyWriteLeavesTheOldOrTheNewStateInFull) {
  const BootState staged = only_slot(start(), SlotId::a, kAttempts);
  const BootState trial = armed(staged, SlotId::b, kAttempts, kTransaction);
  const std::vector<std::pair<BootState, BootState>> steps{
      {start(), staged},
      {staged, trial},
      {trial, confirmed(trial, SlotId::b, kAttempts, kTransaction)},
      {trial, rolled_back(trial, SlotId::a, kAttempts)},
  };
  for (const auto& [before, wanted] : steps) {
    const auto reset = [&, state = before] {
      storage.plan_faults({});
      put(grub_block(kFactory));
      ok(control()->store(state));
    };
    expect_old_or_new_after_every_cut(
        storage, reset, [&] { return control(); }, before, wanted);
  }
}

TEST_F(GrubControl, APowerCutWhileTheBlockIsRearrangedLeavesTheOldStateAndTheVariablesOfOthers) {
  const auto reset = [&] {
    storage.plan_faults({});
    put(grub_block(kScattered));
  };
  const auto make = [&] {
    const Variables variables = read_grub_variables(block());
    EXPECT_EQ(variables.at("a"), std::string(200, 'a'));
    EXPECT_EQ(variables.at("b"), std::string(245, 'b'));
    EXPECT_EQ(variables.at("SLOTKEEPER_SCRIPT"), "3");
    return control();
  };
  expect_old_or_new_after_every_cut(storage, reset, make, start(), armed(start(), SlotId::b, kAttempts, kTransaction));
}

TEST_F(GrubControl, APowerCutWhileTheFileIsMadeLeavesNoneOrADamagedOrTheWholeOne) {
  const BootState wanted = only_slot({}, SlotId::a, 1);
  for (std::uint64_t cut = 1;; ++cut) {
    put_bytes({});
    auto boot = control();
    storage.plan_faults({.cut_at_change = cut});
    if (boot->initialise(wanted).has_value()) {
      EXPECT_GE(cut, 4U);
      break;
    }
    storage.crash(cut);
    boot = control();
    const auto reading = boot->read();
    if (reading.has_value()) {
      EXPECT_TRUE(reading.value().state == wanted || reading.value().damaged_copy);
    } else {
      EXPECT_EQ(reading.error().code, Errc::boot_environment);
    }
    ok(boot->initialise(wanted));
    EXPECT_EQ(ok(boot->read()).state, wanted);
    EXPECT_FALSE(ok(boot->read()).damaged_copy);
  }
}

// ---- refusals ----

TEST_F(GrubControl, RefusesAFilesystemThatDoesNotOverwriteInPlace) {
  for (const std::uint64_t magic : {0x9123683EULL, 0xF2F52010ULL, 0x24051905ULL, 0x794C7630ULL, 0x01021994ULL, 1ULL}) {
    storage.space[kFolder].filesystem_magic = magic;
    const Error error = refusal();
    EXPECT_EQ(error.code, Errc::config);
    EXPECT_NE(error.message.find("in place"), std::string::npos) << error.message;
  }
  storage.space[kFolder].filesystem_magic = 0x58465342;
  EXPECT_TRUE(make_grub_control(storage, settings).has_value());
}

TEST_F(GrubControl, RefusesAFileThatGrubWouldNotFindAtItsPlace) {
  auto& layout = storage.node(kPath).layout;
  const io::FileLayout good = layout;
  const auto refused = [&](const std::string& gist) {
    const Error error = refusal();
    EXPECT_EQ(error.code, Errc::config) << error.message;
    EXPECT_NE(error.message.find(gist), std::string::npos) << error.message;
    layout = good;
  };
  layout.extents[0].in_place = false;
  refused("inline");
  layout.extents[0].shared = true;
  refused("reflink");
  layout.is_encrypted = true;
  refused("encrypted");
  layout.is_compressed = true;
  refused("compressed");
  layout.is_journaled = true;
  refused("chattr +j");
  layout.extents[0].written = false;
  refused("hole");
  layout.extents[0].length = 512;
  refused("hole");
  layout.extents[0].offset = 512;
  refused("hole");
  layout.extents.clear();
  refused("hole");
  EXPECT_TRUE(make_grub_control(storage, settings).has_value());
}

TEST_F(GrubControl, AHoleInWhatIsNoBlockGoesAwayWhenItIsMade) {
  put_bytes(std::vector<std::byte>(kGrubBlockBytes));
  storage.node(kPath).layout.extents.clear();
  const auto boot = control();
  EXPECT_EQ(error_of(boot->read()).code, Errc::boot_environment);
  // Still a hole when it was written: not a filesystem for us.
  EXPECT_EQ(error_of(boot->initialise(start())).code, Errc::config);
}

TEST_F(GrubControl, RefusesAFileThatIsTooLongOrNoFile) {
  put_bytes(std::vector<std::byte>(2048));
  EXPECT_NE(refusal().message.find("2048 bytes"), std::string::npos);
  EXPECT_EQ(refusal().code, Errc::config);
  settings.grubenv = "/boot/grub/device";
  storage.add_device("/boot/grub/device", 4096);
  EXPECT_EQ(refusal().code, Errc::config);
  for (const std::string path : {"grubenv", "/boot/grub/", ""}) {
    settings.grubenv = path;
    EXPECT_EQ(refusal().code, Errc::config) << path;
  }
}

TEST_F(GrubControl, RefusesExt4ThatJournalsContents) {
  const std::string event = "MAJOR=0\nDEVNAME=sda3\n";
  auto& uevent = storage.add_file("/sys/dev/block/0:0/uevent", 0);
  uevent.contents.assign(io::as_bytes(event).begin(), io::as_bytes(event).end());
  auto& options = storage.add_file("/proc/fs/ext4/sda3/options", 0);
  const auto mounted_with = [&](const std::string& text) {
    options.contents.assign(io::as_bytes(text).begin(), io::as_bytes(text).end());
  };
  mounted_with("rw\ndata=ordered\n");
  EXPECT_TRUE(make_grub_control(storage, settings).has_value());
  mounted_with("rw\ndata=journal\n");
  EXPECT_EQ(refusal().code, Errc::config);
  EXPECT_NE(refusal().message.find("data=journal"), std::string::npos);
}

}  // namespace
}  // namespace slotkeeper::boot
