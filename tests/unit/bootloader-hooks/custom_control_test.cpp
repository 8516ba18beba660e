// The custom backend over a real executable: a shell script that keeps its answers in files and a log of the calls.
#include <filesystem>
#include <fstream>
#include <sstream>
#include <sys/stat.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "bootloader-hooks/boot_control.hpp"
#include "tests/support/temporary_directory.hpp"
#include "tests/support/unwrap.hpp"

namespace slotkeeper::boot {
namespace {

using test::error_of;
using test::ok;

constexpr std::uint32_t kAttempts = 3;
const std::string kTransaction = "0123456789abcdef";
using Lines = std::vector<std::string>;

constexpr const char* kScript = R"sh(#!/bin/sh
d=${0%/*}
calls=$(wc -l <"$d/log")
echo "$*" >>"$d/log"
if [ -f "$d/fail-at" ] && [ "$calls" -ge "$(cat "$d/fail-at")" ]; then
  echo "flash is busy" >&2
  exit 3
fi
case "$1" in
  get-primary) cat "$d/primary" ;;
  set-primary) [ -f "$d/deaf" ] || echo "$2" >"$d/primary"; echo "$3" >"$d/attempts" ;;
  get-state) cat "$d/state-$2" ;;
  set-state) echo "$3" >"$d/state-$2" ;;
  get-booted) [ -f "$d/booted" ] && cat "$d/booted" ;;
  *) exit 9 ;;
esac
)sh";

class CustomControl : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "the executable has to belong to root";
    put("boot-hook", kScript);
    put("log", "");
    put("primary", "A\n");
    put("state-A", "good\n");
    put("state-B", "good\n");
    ASSERT_EQ(::chmod(command.c_str(), 0755), 0);
  }

  void put(const std::string& name, const std::string& text) const { std::ofstream(folder / name) << text; }
  [[nodiscard]] std::string get(const std::string& name) const {
    std::ifstream file(folder / name);
    std::string line;
    std::getline(file, line);
    return line;
  }
  [[nodiscard]] std::unique_ptr<BootControl> control() {
    return ok(make_custom_control(*storage, *host, {.command = command, .attempts = kAttempts}));
  }
  [[nodiscard]] Error refusal() { return error_of(make_custom_control(*storage, *host, {.command = command})); }
  /// The calls since the last look that change something.
  [[nodiscard]] Lines changes() const {
    Lines lines;
    std::ifstream file(folder / "log");
    for (std::string line; std::getline(file, line);) {
      if (line.starts_with("set-")) lines.push_back(line);
    }
    put("log", "");
    return lines;
  }

  test::TemporaryDirectory folder;
  std::string command = folder / "boot-hook";
  std::unique_ptr<io::Storage> storage = io::make_posix_storage();
  std::unique_ptr<io::Host> host = io::make_posix_host();
};

BootState both_good() {
  BootState state;
  state.order = {SlotId::a, SlotId::b};
  state.a.health = SlotHealth::good;
  state.b.health = SlotHealth::good;
  return state;
}

BootState kept(const BootState& state) { return as_kept(state, false, false); }

TEST_F(CustomControl, SaysWhatItCannotPromise) {
  const auto boot = control();
  EXPECT_EQ(boot->traits().backend, "custom");
  EXPECT_FALSE(boot->traits().keeps_mark);
  EXPECT_FALSE(boot->traits().counts_tries);
  EXPECT_EQ(boot->traits().attempts, kAttempts);
  EXPECT_FALSE(boot->traits().weaknesses.empty());
}

TEST_F(CustomControl, ReadsPrimaryAndStates) {
  const auto boot = control();
  EXPECT_EQ(ok(boot->read()).state, both_good());
  put("primary", "B");  // with or without the line's end
  EXPECT_EQ(ok(boot->read()).state.order, (std::vector<SlotId>{SlotId::b, SlotId::a}));
  put("state-A", "bad\n");
  const BootState state = ok(boot->read()).state;
  EXPECT_EQ(state.order, std::vector<SlotId>{SlotId::b});
  EXPECT_EQ(state.a.health, SlotHealth::bad);
  EXPECT_FALSE(state.a.tries_left.has_value());
  EXPECT_FALSE(ok(boot->read()).damaged_copy);
  EXPECT_TRUE(changes().empty());
}

TEST_F(CustomControl, KnowsTheBootedSlotWhereTheCommandDoes) {
  const auto boot = control();
  EXPECT_FALSE(ok(boot->booted()).has_value());
  put("booted", "B\n");
  EXPECT_EQ(ok(boot->booted()), SlotId::b);
  put("booted", "C\n");
  EXPECT_EQ(error_of(boot->booted()).code, Errc::boot_environment);
}

TEST_F(CustomControl, MakesNothingBadBeforeAnotherPrimaryIsSet) {
  const auto boot = control();
  const BootState staged = only_slot(both_good(), SlotId::a, kAttempts);
  ok(boot->store(staged));
  EXPECT_EQ(changes(), (Lines{"set-state B bad"}));
  EXPECT_EQ(ok(boot->read()).state, kept(staged));

  const BootState trial = armed(staged, SlotId::b, kAttempts, kTransaction);
  ok(boot->store(trial));
  EXPECT_EQ(changes(), (Lines{"set-state B good", "set-primary B 3"}));
  EXPECT_EQ(get("attempts"), "3");
  EXPECT_EQ(ok(boot->read()).state, kept(trial));

  ok(boot->store(rolled_back(trial, SlotId::a, kAttempts)));
  EXPECT_EQ(changes(), (Lines{"set-primary A 3", "set-state B bad"}));
}

TEST_F(CustomControl, TellsOfAConfirmationThoughNothingElseChanges) {
  const auto boot = control();
  ok(boot->store(armed(both_good(), SlotId::b, kAttempts, kTransaction)));
  static_cast<void>(changes());
  ok(boot->store(confirmed(both_good(), SlotId::b, kAttempts, kTransaction)));
  EXPECT_EQ(changes(), (Lines{"set-state B good"}));
  EXPECT_EQ(get("primary"), "B");
}

TEST_F(CustomControl, WritesNothingWhenTheStateIsThereAlready) {
  const auto boot = control();
  ok(boot->store(both_good()));
  ok(boot->repair());
  EXPECT_TRUE(changes().empty());
}

TEST_F(CustomControl, InitialisesWhereNothingCanBeRead) {
  put("primary", "");
  put("state-A", "");
  put("state-B", "");
  const auto boot = control();
  EXPECT_EQ(error_of(boot->read()).code, Errc::boot_environment);
  EXPECT_EQ(error_of(boot->store(both_good())).code, Errc::boot_environment);
  EXPECT_TRUE(changes().empty());
  ok(boot->initialise(only_slot({}, SlotId::a, kAttempts)));
  EXPECT_EQ(changes(), (Lines{"set-state A good", "set-primary A 3", "set-state B bad"}));
  EXPECT_EQ(ok(boot->read()).state.order, std::vector<SlotId>{SlotId::a});
}

/// What a bootloader would start: the primary where it is good, else the other one where that is good.
std::optional<SlotId> starts(const BootState& state) {
  const SlotId primary = *state.primary();
  if (state[primary].health == SlotHealth::good) return primary;
  if (state[other(primary)].health == SlotHealth::good) return other(primary);
  return std::nullopt;
}

TEST_F(CustomControl, AFailureAtAnyCallLeavesAGoodPrimaryAndARepetitionFinishes) {
  const BootState staged = only_slot(both_good(), SlotId::a, kAttempts);
  const BootState trial = armed(staged, SlotId::b, kAttempts, kTransaction);
  const std::vector<std::pair<BootState, BootState>> steps{
      {both_good(), staged},
      {staged, trial},
      {trial, rolled_back(trial, SlotId::a, kAttempts)},
      {trial, confirmed(trial, SlotId::b, kAttempts, kTransaction)},
      {staged, only_slot(staged, SlotId::b, kAttempts)}};
  for (const auto& [before, wanted] : steps) {
    bool finished = false;
    for (int fail_at = 0; !finished; ++fail_at) {
      const auto boot = control();
      ok(boot->initialise(before));
      put("log", "");
      put("fail-at", std::to_string(fail_at));
      const auto stored = boot->store(wanted);
      std::filesystem::remove(folder / "fail-at");
      finished = stored.has_value();
      if (!finished) {
        EXPECT_TRUE(stored.error().code == Errc::boot_environment || stored.error().code == Errc::io_error);
        EXPECT_NE(stored.error().message.find("flash is busy"), std::string::npos) << stored.error().message;
      }
      const BootState found = ok(boot->read()).state;
      const auto slot = starts(found);
      ASSERT_TRUE(slot == before.primary() || slot == wanted.primary());
      EXPECT_EQ(found[*found.primary()].health, SlotHealth::good) << "call " << fail_at;
      ok(boot->store(wanted));
      EXPECT_EQ(ok(boot->read()).state, kept(wanted));
    }
  }
}

TEST_F(CustomControl, ReadsBackWhatItTold) {
  put("deaf", "");
  const Error error = error_of(control()->store(armed(both_good(), SlotId::b, kAttempts, kTransaction)));
  EXPECT_EQ(error.code, Errc::readback_mismatch);
  EXPECT_NE(error.message.find("primary A"), std::string::npos) << error.message;
}

TEST_F(CustomControl, AnswersThatMakeNoSenseAreRefused) {
  const auto boot = control();
  for (const std::string answer : {"", "a", "A B", "A\nB", " A", "good"}) {
    put("primary", answer);
    const Error error = error_of(boot->read());
    EXPECT_EQ(error.code, Errc::boot_environment) << answer;
    EXPECT_NE(error.message.find("get-primary answered"), std::string::npos) << error.message;
  }
  put("primary", "A");
  for (const std::string answer : {"", "GOOD", "unknown", "good bad", "\x1b[31m"}) {
    put("state-B", answer);
    const Error error = error_of(boot->read());
    EXPECT_EQ(error.code, Errc::boot_environment) << answer;
    EXPECT_EQ(error.message.find('\x1b'), std::string::npos);
  }
}

TEST_F(CustomControl, RefusesAnExecutableThatOthersCouldChange) {
  EXPECT_TRUE(make_custom_control(*storage, *host, {.command = command}).has_value());
  for (const mode_t mode : {0775, 0757, 0777}) {
    ASSERT_EQ(::chmod(command.c_str(), mode), 0);
    EXPECT_EQ(refusal().code, Errc::config) << std::oct << mode;
  }
  ASSERT_EQ(::chmod(command.c_str(), 0755), 0);
  for (const mode_t mode : {0770, 0707, 01777}) {
    ASSERT_EQ(::chmod(folder.path().c_str(), mode), 0);
    const Error error = refusal();
    EXPECT_EQ(error.code, Errc::config);
    EXPECT_NE(error.message.find("writable by others"), std::string::npos) << error.message;
  }
  ASSERT_EQ(::chmod(folder.path().c_str(), 0700), 0);
  ASSERT_EQ(::chown(command.c_str(), 1, 0), 0);
  EXPECT_EQ(refusal().code, Errc::config);
  ASSERT_EQ(::chown(command.c_str(), 0, 0), 0);
  ASSERT_EQ(::chown(folder.path().c_str(), 1, 0), 0);
  EXPECT_EQ(refusal().code, Errc::config);
  ASSERT_EQ(::chown(folder.path().c_str(), 0, 0), 0);
  EXPECT_TRUE(make_custom_control(*storage, *host, {.command = command}).has_value());
}

TEST_F(CustomControl, RefusesWhatIsNoExecutable) {
  ASSERT_EQ(::chmod(command.c_str(), 0644), 0);
  EXPECT_EQ(refusal().code, Errc::config);
  const std::string script = command;
  ASSERT_EQ(::chmod(script.c_str(), 0755), 0);
  ASSERT_EQ(::symlink(script.c_str(), (folder / "link").c_str()), 0);
  for (const std::string& path : {folder / "link", folder / "none", folder.path(), folder.path() + "/", std::string(),
                                  std::string("boot-hook"), std::string("/none/at/all")}) {
    command = path;
    EXPECT_EQ(refusal().code, Errc::config) << path;
  }
}

TEST_F(CustomControl, LooksAgainBeforeEveryCall) {
  const auto boot = control();
  ASSERT_EQ(::chmod(command.c_str(), 0777), 0);
  EXPECT_EQ(error_of(boot->read()).code, Errc::config);
  EXPECT_TRUE(get("log").empty());
}

/// A host on which every program runs into its time limit.
class StuckHost final : public io::Host {
 public:
  io::TimeStamp now() override { return {}; }
  std::chrono::nanoseconds monotonic() override { return {}; }
  std::chrono::nanoseconds since_boot() override { return {}; }
  void sleep(std::chrono::nanoseconds) override {}
  Result<std::string> boot_id() override { return std::string(); }
  Result<void> random(io::Bytes) override { return success(); }
  Result<void> ask_to_end(int) override { return success(); }
  Result<io::ProcessOutcome> run(const io::ProcessRequest& request) override {
    limit = request.time_limit;
    return io::ProcessOutcome{.exit_status = 137, .timed_out = true, .standard_output = "A\n", .standard_error = {}};
  }
  std::chrono::milliseconds limit{0};
};

TEST_F(CustomControl, GivesEveryCallATimeLimit) {
  StuckHost stuck;
  const auto boot = ok(make_custom_control(*storage, stuck, {.command = command}));
  const Error error = error_of(boot->read());
  EXPECT_EQ(error.code, Errc::io_error);
  EXPECT_NE(error.message.find("did not end within 30 seconds"), std::string::npos) << error.message;
  EXPECT_GT(stuck.limit.count(), 0);
}

}  // namespace
}  // namespace slotkeeper::boot
