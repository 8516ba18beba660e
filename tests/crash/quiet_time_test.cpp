// The last check before the switch: hooks around it, a freeze inside it, and what is left of both when the engine dies.
#include <cstdlib>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/crash/world.hpp"
#include "tests/support/fault_storage.hpp"

namespace slotkeeper::test {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class QuietTimeTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { world_ = new World; }
  static void TearDownTestSuite() {
    delete world_;
    world_ = nullptr;
  }
  void SetUp() override {
    world().load();
    world().host().runs.clear();
    world().host().outcomes.clear();
    world().host().during_run = nullptr;
    world().set_hook("quiesce");
    world().set_hook("resume");
    world().save();
    faulty_.simulate_freezes();
  }
  void TearDown() override {
    world().set_hook("quiesce", false);
    world().set_hook("resume", false);
  }
  static World& world() { return *world_; }
  CommandResult install() { return world().install(SlotId::a, 2, &faulty_); }

  static Json member(const CommandResult& result, std::string_view name) {
    const Json extra = result.extra;
    const Json* found = extra.find(name);
    return found == nullptr ? Json() : *found;
  }
  static std::string text_of(const CommandResult& result, std::string_view name) {
    return member(result, name).print();
  }

  FaultStorage faulty_{world().storage()};

  static World* world_;
};
World* QuietTimeTest::world_ = nullptr;

TEST_F(QuietTimeTest, HooksSurroundTheLastCheckAndAreToldWhatTheyAreFor) {
  const auto result = install();
  ASSERT_EQ(result.outcome, Outcome::armed) << result.failure->error.message;
  EXPECT_THAT(world().host().names_run(), ElementsAre("quiesce", "resume"));
  const auto& environment = world().host().runs.front().environment;
  for (const char* const expected :
       {"SLOTKEEPER_HOOK=quiesce", "SLOTKEEPER_PHASE=check", "SLOTKEEPER_SLOT=A", "SLOTKEEPER_TARGET=B",
        "SLOTKEEPER_VERSION=1.0.2", "SLOTKEEPER_QUIESCE_LIMIT_S=300"}) {
    EXPECT_THAT(environment, Contains(expected));
  }
  EXPECT_THAT(environment, Contains("SLOTKEEPER_PERMANENT=/permanent"));
  EXPECT_THAT(environment, Contains("SLOTKEEPER_TRANSACTION=" + *result.transaction));
  EXPECT_THAT(text_of(result, "hooks"), HasSubstr("\"name\":\"resume\""));
  EXPECT_THAT(text_of(result, "last_check"), HasSubstr("\"level\":\"frozen\""));
}

TEST_F(QuietTimeTest, WithoutQuiesceThereIsNoResume) {
  world().set_hook("quiesce", false);
  EXPECT_EQ(install().outcome, Outcome::armed);
  EXPECT_THAT(world().host().names_run(), IsEmpty());
}

TEST_F(QuietTimeTest, WritesNothingWhileFrozen) {
  ASSERT_EQ(install().outcome, Outcome::armed);
  EXPECT_EQ(faulty_.freezes(), 1u);
  EXPECT_EQ(faulty_.writes_while_frozen(), 0u);
  EXPECT_FALSE(faulty_.is_frozen());
}

TEST_F(QuietTimeTest, AFailingQuiesceEndsTheUpdateAndIsTakenBack) {
  const auto before = world().configuration();
  world().host().outcomes["quiesce"] = {
      .exit_status = 3, .timed_out = false, .standard_output = "busy\n", .standard_error = "the pump runs\n"};
  const auto result = install();
  ASSERT_TRUE(result.failure);
  EXPECT_EQ(result.failure->error.code, Errc::config_drift);
  EXPECT_THAT(result.failure->error.message, HasSubstr("'quiesce' ended with status 3: the pump runs"));
  EXPECT_EQ(result.outcome, Outcome::rolled_back);
  EXPECT_THAT(world().host().names_run(), ElementsAre("quiesce", "resume"));
  EXPECT_EQ(world().configuration(), before);
  EXPECT_EQ(world().boot(), SlotId::a);
}

TEST_F(QuietTimeTest, AQuiesceThatHangsEndsTheUpdateAndIsTakenBack) {
  world().host().outcomes["quiesce"] = {
      .exit_status = 137, .timed_out = true, .standard_output = "", .standard_error = ""};
  const auto result = install();
  ASSERT_TRUE(result.failure);
  EXPECT_EQ(result.failure->error.code, Errc::config_drift);
  EXPECT_THAT(result.failure->error.message, HasSubstr("'quiesce' did not end in time"));
  EXPECT_THAT(world().host().names_run(), ElementsAre("quiesce", "resume"));
}

TEST_F(QuietTimeTest, AFailingResumeIsToldAndStopsNothing) {
  world().host().outcomes["resume"] = {
      .exit_status = 1, .timed_out = false, .standard_output = "", .standard_error = "no such unit\n"};
  EXPECT_EQ(install().outcome, Outcome::armed);
  EXPECT_THAT(world().sink().notices, Contains(HasSubstr("'resume' ended with status 1: no such unit")));
}

TEST_F(QuietTimeTest, ACancelledUpdateResumes) {
  world().host().during_run = [](const std::string& name) { world().sink().cancel = name == "quiesce"; };
  const auto result = install();
  ASSERT_TRUE(result.failure);
  EXPECT_EQ(result.failure->error.code, Errc::cancelled);
  EXPECT_THAT(world().host().names_run(), ElementsAre("quiesce", "resume"));
  EXPECT_FALSE(faulty_.is_frozen());
}

TEST_F(QuietTimeTest, AnEditInTheQuietTimeIsSecuredAgainAndSurvivesARollback) {
  world().host().during_run = [](const std::string& name) {
    if (name == "quiesce") world().write_file("net/if.conf", "address = 10.0.0.9\n");
  };
  ASSERT_EQ(install().outcome, Outcome::armed);
  EXPECT_THAT(world().sink().notices, Contains(HasSubstr("(net/alias.conf); it is secured again")));
  const auto last = world().configuration();
  ASSERT_EQ(world().boot(), SlotId::b);
  ASSERT_FALSE(world().recover(SlotId::b).failure);
  world().write_file("net/if.conf", "address = broken\n");
  ASSERT_EQ(world().boot(), SlotId::b);
  ASSERT_EQ(world().boot(), SlotId::a);
  ASSERT_FALSE(world().recover(SlotId::a).failure);
  EXPECT_EQ(world().configuration(), last);
}

TEST_F(QuietTimeTest, ReadsTwiceWhatCannotBeFrozen) {
  for (const int refusal : {EOPNOTSUPP, EBUSY, EPERM}) {
    world().load();
    faulty_.reset();
    faulty_.set({.file = "", .line = 0, .operation = "freeze", .nth = 1, .os_errno = refusal, .persistent = true});
    const auto result = install();
    ASSERT_EQ(result.outcome, Outcome::armed) << result.failure->error.message;
    EXPECT_THAT(text_of(result, "last_check"), HasSubstr("\"level\":\"read-twice\",\"why\":"));
    EXPECT_THAT(world().sink().notices, Contains(HasSubstr("reads the configuration twice")));
  }
}

TEST_F(QuietTimeTest, AFilesystemThatFailsToFreezeEndsTheUpdate) {
  faulty_.set({.file = "", .line = 0, .operation = "freeze", .nth = 1, .os_errno = EIO, .persistent = true});
  const auto result = install();
  ASSERT_TRUE(result.failure);
  EXPECT_EQ(result.failure->error.code, Errc::io_error);
  EXPECT_EQ(result.outcome, Outcome::rolled_back);
}

TEST_F(QuietTimeTest, StatusNamesAFilesystemThatCannotBeFrozen) {
  world().machine().mounts[1].type = "tmpfs";
  world().machine().mounts[1].magic = 0x01021994;
  const auto status = world().run(SlotId::a, [](Engine& engine) { return engine.status(); });
  EXPECT_THAT(text_of(status, "weaker"), HasSubstr("the permanent partition is tmpfs, which cannot be frozen"));
}

/// The engine dies at every call, and its freezer with it; the device is not restarted.
TEST_F(QuietTimeTest, WhatAKilledCommandLeavesOpenIsEndedByTheNextOne) {
  std::uint64_t first_cut = 0;
  world().host().during_run = [&](const std::string&) {
    first_cut = first_cut == 0 ? faulty_.calls() - 10 : first_cut;
  };
  ASSERT_EQ(install().outcome, Outcome::armed);
  world().host().during_run = nullptr;
  const std::uint64_t calls = faulty_.calls();
  const auto before_cut = world().configuration();
  std::uint64_t left_frozen = 0;
  std::uint64_t left_quiet = 0;
  for (std::uint64_t cut = first_cut; cut < calls; cut += 3) {
    SCOPED_TRACE("killed after call " + std::to_string(cut) + " of " + std::to_string(calls));
    world().load();
    world().host().runs.clear();
    faulty_.reset();
    faulty_.cut_power_after(cut);
    static_cast<void>(install());
    faulty_.reset();
    const auto runs = world().host().names_run();
    const bool is_quiet = !runs.empty() && runs.back() == "quiesce";
    left_quiet += is_quiet ? 1 : 0;
    left_frozen += faulty_.is_frozen() ? 1 : 0;
    const auto recovered = world().recover(SlotId::a, &faulty_);
    ASSERT_FALSE(recovered.failure) << recovered.failure->error.message;
    ASSERT_FALSE(faulty_.is_frozen());
    ASSERT_EQ(faulty_.writes_while_frozen(), 0u);
    if (is_quiet) {
      ASSERT_EQ(world().host().names_run().back(), "resume");
    }
    const std::size_t count = world().host().runs.size();
    ASSERT_FALSE(world().recover(SlotId::a, &faulty_).failure);
    ASSERT_EQ(world().host().runs.size(), count) << "resume was run once more";
    ASSERT_EQ(world().configuration(), before_cut);
  }
  EXPECT_GT(left_frozen, 3u);
  EXPECT_GT(left_quiet, left_frozen);
}

TEST_F(QuietTimeTest, ARestartEndsThemByItself) {
  faulty_.set({.file = "", .line = 0, .operation = "freeze", .nth = 1, .os_errno = EOPNOTSUPP, .persistent = true});
  world().host().during_run = [this](const std::string& name) {
    if (name == "quiesce") faulty_.cut_power_after(faulty_.calls());
  };
  static_cast<void>(install());
  ASSERT_THAT(world().host().names_run(), ElementsAre("quiesce"));
  ASSERT_EQ(world().boot(), SlotId::a);
  ASSERT_FALSE(world().recover(SlotId::a).failure);
  EXPECT_THAT(world().host().names_run(), ElementsAre("quiesce"))
      << "resume was run for services that were started anew";
}

}  // namespace
}  // namespace slotkeeper::test
