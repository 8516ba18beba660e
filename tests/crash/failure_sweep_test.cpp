// Lets every storage call of every command fail, in every way it can, once or for good; falsifies what every read
// returns. After each: a stable code and the exit status that goes with it, a device that is as the contract says, and
// one that comes to rest with the invariants intact.
//
//   SLOTKEEPER_SEED=N           another choice where not all are taken
//   SLOTKEEPER_SWEEP_ONE_IN=N   one in so many failures (1: all)
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include <gtest/gtest.h>

#include "tests/crash/explorer.hpp"
#include "tests/crash/scenes.hpp"

namespace slotkeeper::test {
namespace {

/// How a call fails.
struct Failing {
  enum class Kind : std::uint8_t { error, short_read, flipped, old_block, misdirected };
  Kind kind = Kind::error;
  int os_errno = 0;
  bool for_good = false;

  [[nodiscard]] std::string describe() const {
    constexpr std::array kNames = {"error", "short read", "flipped bit", "old block", "other block"};
    std::string text = kNames[static_cast<std::size_t>(kind)];
    if (kind == Kind::error) text += std::string(" ") + ::strerrorname_np(os_errno);
    return text + (for_good ? " for good" : " once");
  }
};

bool is_one_of(std::string_view operation, std::initializer_list<std::string_view> names) {
  return std::ranges::find(names, operation) != names.end();
}
bool writes(std::string_view operation) {
  return is_one_of(operation, {"write_at", "submit", "allocate", "zero", "resize", "discard"});
}
bool changes_names(std::string_view operation) {
  return is_one_of(operation, {"create_directory", "create_symlink", "create_hard_link", "create_node", "rename",
                               "remove_file", "remove_directory"});
}
bool changes_attributes(std::string_view operation) {
  return is_one_of(operation, {"set_attributes", "set_extended_attribute", "remove_extended_attribute",
                               "set_attributes_of", "set_extended_attribute_of", "remove_extended_attribute_of"});
}
bool syncs(std::string_view operation) { return is_one_of(operation, {"sync", "sync_filesystem"}); }
/// What must not fail unnoticed.
bool is_durable(std::string_view operation) {
  return writes(operation) || changes_names(operation) || changes_attributes(operation) || syncs(operation);
}

/// All ways in which a call of this kind can fail.
std::vector<Failing> failures_of(std::string_view operation) {
  std::vector<int> errors = {EIO};
  if (writes(operation)) errors = {EIO, ENOSPC, EROFS, EDQUOT, ENODEV, EINTR, EAGAIN};
  if (changes_names(operation)) errors = {EIO, ENOSPC, EROFS, EDQUOT, ENODEV};
  if (changes_attributes(operation)) errors = {EIO, ENOSPC, EROFS, EDQUOT};
  if (syncs(operation)) errors = {EIO, ENOSPC, EDQUOT, EROFS, EINTR, ENODEV};
  if (is_one_of(operation, {"open_file", "open_directory"})) errors = {EIO, ENODEV, EAGAIN, EMFILE, EROFS};
  if (operation == "read_at") errors = {EIO, ENODEV, EINTR, EAGAIN};
  if (operation == "close") errors = {EIO, ENOSPC, EDQUOT, EINTR};
  std::vector<Failing> failures;
  for (const int error : errors) {
    failures.push_back({.os_errno = error});
    failures.push_back({.os_errno = error, .for_good = true});
  }
  if (operation == "read_at") {
    using enum Failing::Kind;
    for (const Failing::Kind kind : {short_read, flipped, old_block, misdirected}) failures.push_back({.kind = kind});
  }
  return failures;
}

/// "/dev/store", "/permanent": what dies as a whole.
std::string device_below(const std::string& object) { return object.starts_with("/permanent") ? "/permanent" : object; }

class Fault {
 public:
  Fault(const Failing& failing, std::uint64_t nth, SimulatedMachine before)
      : failing_(failing), nth_(nth), before_(std::move(before)) {}

  void apply_to(World& world) {
    world.before_call = [this](const SimulatedCall& call) { return meet(call); };
    world.after_read = [this](const SimulatedCall& call, std::uint64_t offset, io::Bytes bytes) {
      return falsify(call, offset, bytes);
    };
  }
  [[nodiscard]] bool was_met() const { return met_ > 0; }
  [[nodiscard]] bool hit_something_durable() const { return durable_; }

 private:
  Result<void> meet(const SimulatedCall& call) {
    ++calls_;
    if (failing_.kind != Failing::Kind::error) return success();
    bool strikes = calls_ == nth_;
    if (strikes) device_ = device_below(call.object);
    if (failing_.for_good && calls_ > nth_ && device_below(call.object) == device_) {
      const bool only_writes = failing_.os_errno == EROFS || failing_.os_errno == ENOSPC || failing_.os_errno == EDQUOT;
      strikes = !only_writes || is_durable(call.operation);
    }
    if (!strikes) return success();
    ++met_;
    durable_ = durable_ || is_durable(call.operation);
    return make_error(code_of(failing_.os_errno),
                      call.object + ": " + std::string(call.operation) + " failed (injected)", failing_.os_errno);
  }
  static Errc code_of(int number) {
    if (number == ENOSPC || number == EDQUOT) return Errc::storage_full;
    return number == EROFS ? Errc::read_only : Errc::io_error;
  }

  std::size_t falsify(const SimulatedCall& call, std::uint64_t offset, io::Bytes bytes) {
    if (failing_.kind == Failing::Kind::error || calls_ != nth_ || bytes.empty()) return bytes.size();
    ++met_;
    switch (failing_.kind) {
      case Failing::Kind::short_read:
        return bytes.size() / 2;
      case Failing::Kind::flipped:
        bytes[(nth_ * 131) % bytes.size()] ^= std::byte{0x10};
        break;
      case Failing::Kind::old_block:
        if (const auto node = before_.tree.seen().find(call.object); node) {
          before_.tree.seen().at(*node).contents.read(offset, bytes);
        }
        break;
      case Failing::Kind::misdirected:
        if (const auto node = before_.tree.seen().find(call.object); node) {
          before_.tree.seen().at(*node).contents.read(offset < 8192 ? offset + 4096 : offset - 4096, bytes);
        }
        break;
      case Failing::Kind::error:
        break;
    }
    return bytes.size();
  }

  Failing failing_;
  std::uint64_t nth_;
  SimulatedMachine before_;
  std::uint64_t calls_ = 0;
  std::uint64_t met_ = 0;
  bool durable_ = false;
  std::string device_;
};

struct Call {
  std::string operation;
  std::string site;
};

/// "partitions/state_store.cpp:120 write_at"
std::string site_of(const SimulatedCall& call) {
  std::string_view file = call.caller.file_name();
  for (const std::string_view top : {"/engine/", "/partitions/", "/bootloader-hooks/"}) {
    if (const std::size_t found = file.rfind(top); found != std::string_view::npos) file.remove_prefix(found + 1);
  }
  return std::string(file) + ":" + std::to_string(call.caller.line()) + " " + std::string(call.operation);
}

class FailureSweep : public testing::TestWithParam<Scene> {};

TEST_P(FailureSweep, EndsWithAStableCodeAndAnIntactDevice) {
  const Scene& scene = GetParam();
  const std::uint64_t one_in = number_from_environment("SLOTKEEPER_SWEEP_ONE_IN", 1);
  const std::uint64_t seed = number_from_environment("SLOTKEEPER_SEED", 1);
  Explorer explorer(scene, {});
  World prepared;
  const auto expected = explorer.prepare(prepared);

  std::optional<State> begun_in;
  if (const auto record = recorded_transaction(prepared); record) begun_in = record->state;
  std::vector<Call> calls;
  World whole(prepared);
  whole.before_call = [&](const SimulatedCall& call) -> Result<void> {
    calls.push_back({.operation = std::string(call.operation), .site = site_of(call)});
    return success();
  };
  const CommandResult good = scene.command(whole);
  ASSERT_FALSE(good.failure) << good.failure->error.message;
  ASSERT_GT(calls.size(), 5U);

  std::map<std::string, std::uint64_t> swept;
  for (const Call& call : calls) swept[call.site];
  std::uint64_t failures = 0;
  std::uint64_t tolerated = 0;
  std::uint64_t number = seed;
  for (std::uint64_t nth = 1; nth <= calls.size(); ++nth) {
    const Call& call = calls[nth - 1];
    for (const Failing& failing : failures_of(call.operation)) {
      // Every site is swept, whatever the choice.
      if (++number % one_in != 0 && swept[call.site] > 0) continue;
      const std::string story = scene.name + ": call " + std::to_string(nth) + " of " + std::to_string(calls.size()) +
                                ", " + call.site + ": " + failing.describe();
      World world(prepared);
      Fault fault(failing, nth, prepared.machine());
      fault.apply_to(world);
      world.before_call = [&world, &explorer, meet = world.before_call,
                           state = begun_in](const SimulatedCall& one) mutable {
        explorer.note_recorded_state(world.machine().tree, state);
        return meet(one);
      };
      const CommandResult result = scene.command(world);
      if (failing.for_good) static_cast<void>(world.recover(scene.slot));
      world.before_call = nullptr;
      world.after_read = nullptr;
      ++swept[call.site];
      ++failures;
      ASSERT_TRUE(fault.was_met()) << story << ": the run took another way";
      if (!result.failure && !result.cause) {
        ++tolerated;
        // A segment for whose compressed form there is no room stays as it is.
        const bool no_room = call.site.starts_with("partitions/permanent/compaction") &&
                             (failing.os_errno == ENOSPC || failing.os_errno == EDQUOT);
        ASSERT_TRUE(no_room || !fault.hit_something_durable()) << story << "\nand the command says that it succeeded";
      } else if (result.failure) {
        ASSERT_NE(result.failure->error.code, Errc::internal) << story << "\n" << result.failure->error.message;
        ASSERT_FALSE(result.failure->error.message.empty()) << story;
      }
      if (scene.changes_nothing) {
        ASSERT_EQ(world.everything(), prepared.everything()) << story << "\nand something was written";
      }
      if (scene.original_runs) {
        ASSERT_EQ(difference(expected.original, world.configuration()), "") << story;
      }
      ASSERT_TRUE(explorer.settle(world, expected, {.path = "", .depth = 0})) << story << "\n" << explorer.story();
    }
  }
  for (const auto& [from, to] : explorer.counts().recorded) {
    std::printf("recorded: %s>%s\n", std::string(name_of(from)).c_str(), std::string(name_of(to)).c_str());
  }
  for (const auto& [site, count] : swept) EXPECT_GT(count, 0U) << site << " was not swept";
  std::printf("sweep %s: calls=%zu sites=%zu cases=%llu tolerated=%llu violations=0\n", scene.name.c_str(),
              calls.size(), swept.size(), static_cast<unsigned long long>(failures),
              static_cast<unsigned long long>(tolerated));
}

/// Invariant 5: whenever the running slot goes bad before the last look at it, the update is not armed.
TEST(DamagedFallback, IsNeverArmed) {
  World prepared;
  std::uint64_t calls = 0;
  std::uint64_t last_look = 0;
  World whole(prepared);
  whole.before_call = [&](const SimulatedCall& call) -> Result<void> {
    ++calls;
    if (call.operation == "read_at" && call.object == "/dev/slot-a") last_look = calls;
    return success();
  };
  ASSERT_EQ(whole.install(SlotId::a).outcome, Outcome::armed);
  ASSERT_GT(last_look, calls / 2) << "nobody looks at the fallback before the switch";
  for (std::uint64_t moment = 1; moment <= last_look; moment += 5) {
    World world(prepared);
    std::uint64_t call_number = 0;
    world.before_call = [&](const SimulatedCall&) -> Result<void> {
      if (++call_number == moment) world.damage_slot(SlotId::a, 50'000);
      return success();
    };
    const CommandResult result = world.install(SlotId::a);
    world.before_call = nullptr;
    ASSERT_TRUE(result.failure) << "damaged before call " << moment << " and armed";
    EXPECT_TRUE(world.boot_order().starts_with("A"));
    EXPECT_NE(result.failure->error.code, Errc::internal);
  }
}

INSTANTIATE_TEST_SUITE_P(Scenes, FailureSweep, testing::ValuesIn(sweep_scenes()),
                         [](const auto& scene) { return scene.param.name; });

}  // namespace
}  // namespace slotkeeper::test
