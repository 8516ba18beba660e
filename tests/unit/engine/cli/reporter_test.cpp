#include "engine/cli/reporter.hpp"

#include <algorithm>
#include <array>
#include <csignal>
#include <fcntl.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace slotkeeper::cli {
namespace {

using std::chrono::milliseconds;

class StringOutput final : public Output {
 public:
  void write(std::string_view text) override { written += text; }
  [[nodiscard]] bool has_room() const override { return room; }
  std::string written;
  bool room = true;
};

// A reporter with a clock that only moves when told, 2026-11-24T02:03:04Z at the beginning.
class Reporting : public testing::Test {
 protected:
  Reporter& reporter() {
    if (!reporter_) {
      reporter_ = make_reporter(ReporterSettings{.output = output,
                                                 .error = error,
                                                 .now =
                                                     [this] {
                                                       return io::TimeStamp{1795485784 + elapsed.count() / 1000, 0};
                                                     },
                                                 .monotonic = [this] { return std::chrono::nanoseconds(elapsed); },
                                                 .cancelled = [this] { return cancelled; },
                                                 .width = [this] { return width; },
                                                 .terminal = settings.terminal,
                                                 .json = settings.json,
                                                 .quiet = settings.quiet,
                                                 .verbose = settings.verbose});
    }
    return *reporter_;
  }
  /// One that has said nothing yet.
  Reporter& new_reporter() {
    reporter_.reset();
    return reporter();
  }

  struct {
    TerminalFacts terminal;
    bool json = false;
    bool quiet = false;
    bool verbose = false;
  } settings;
  StringOutput output;
  StringOutput error;
  milliseconds elapsed{0};
  bool cancelled = false;
  unsigned width = 80;

 private:
  std::unique_ptr<Reporter> reporter_;
};

const permanent::Gate kPassing{.code = Errc::no_space,
                               .pass = true,
                               .measured = 4'194'304,
                               .limit = 20'971'520,
                               .unit = "bytes",
                               .message = "the update needs less than what is free"};
const permanent::Gate kFailing{.code = Errc::fill_level,
                               .pass = false,
                               .measured = 33'660'000,
                               .limit = 33'659'904,
                               .unit = "bytes",
                               .message = "54 percent may be used after compaction"};

CommandResult postponed() {
  CommandResult result = failed_command(make_error(Errc::fill_level, "the permanent partition is 61 % full")
                                            .with_detail({"compacted", true})
                                            .with_detail({"largest", std::vector<std::string>{"log/a\n", "log/b"}}),
                                        Phase::preflight);
  return result;
}

using JsonLines = Reporting;

TEST_F(JsonLines, PrintOneDocumentedLineForEachEvent) {
  settings.json = true;
  reporter().progress(Phase::stage, 1024, 4096);
  reporter().gate(kFailing);
  reporter().planned_write({.where = "slot B, volume rootfs (/dev/loop3)", .what = "image 3.5.1", .bytes = 4096});
  reporter().notice("the reserve was made");
  CommandResult result;
  result.outcome = Outcome::armed;
  result.transaction = "01234567-89ab-4cde-8f01-23456789abcd";
  result.extra = {{"reboot_needed", true}};
  result.lines = {"not for machines"};
  reporter().result("install", result);
  // One documented example of each event.
  const std::string expected =
      R"json({"event":"progress","phase":"stage","done":1024,"total":4096,"unit":"bytes","time":"2026-11-24T02:03:04Z"}
{"event":"gate","gate":"fill-level","pass":false,"measured":33660000,"limit":33659904,"unit":"bytes",)json"
      R"json("message":"54 percent may be used after compaction","time":"2026-11-24T02:03:04Z"}
{"event":"write","where":"slot B, volume rootfs (/dev/loop3)","what":"image 3.5.1","bytes":4096,)json"
      R"json("time":"2026-11-24T02:03:04Z"}
{"event":"notice","message":"the reserve was made","time":"2026-11-24T02:03:04Z"}
{"event":"result","command":"install","outcome":"armed","transaction":"01234567-89ab-4cde-8f01-23456789abcd",)json"
      R"json("error":null,"reboot_needed":true,"time":"2026-11-24T02:03:04Z"}
)json";
  EXPECT_EQ(output.written, expected);
  EXPECT_EQ(error.written, "");
}

TEST_F(JsonLines, CarryTheErrorAndTheCause) {
  settings.json = true;
  CommandResult result = postponed();
  result.cause = Failure{make_error(Errc::health, "check 10-network failed"), std::nullopt};
  reporter().result("install", result);
  const std::string expected =
      R"json({"event":"result","command":"install","outcome":"postponed","transaction":null,)json"
      R"json("error":{"code":"fill-level","phase":"preflight","message":"the permanent partition is 61 % full",)json"
      R"json("detail":{"compacted":true,"largest":["log/a\\x0a","log/b"]}},)json"
      R"json("cause":{"code":"health","phase":null,"message":"check 10-network failed","detail":{}},)json"
      R"json("time":"2026-11-24T02:03:04Z"}
)json";
  EXPECT_EQ(output.written, expected);
  EXPECT_TRUE(error.written.starts_with("slotkeeper: install postponed (fill-level): "));
}

TEST_F(JsonLines, HaveTheResultOnceAndLastWhereTheDeviceIsRestarted) {
  settings.json = true;
  CommandResult result;
  result.outcome = Outcome::rolled_back;
  reporter().restarting("recover", result);
  EXPECT_THAT(output.written, testing::HasSubstr(R"("command":"recover","outcome":"rolled-back")"));
  const std::string printed = output.written;
  reporter().notice("the device could not be restarted\n");
  reporter().result("recover", result);
  EXPECT_EQ(output.written, printed);
  EXPECT_EQ(error.written, "slotkeeper: the device could not be restarted\\x0a\n");
}

TEST_F(JsonLines, EscapeACommandThatIsNotUtf8) {
  settings.json = true;
  reporter().result("in\xff\nstall", CommandResult{});
  EXPECT_NE(output.written.find(R"("command":"in\\xff\\x0astall")"), std::string::npos) << output.written;
}

std::size_t lines_in(const std::string& text) { return static_cast<std::size_t>(std::ranges::count(text, '\n')); }

TEST_F(JsonLines, AreThrottledButShowFirstAndLastOfEachPhase) {
  settings.json = true;
  for (std::uint64_t done = 0; done <= 1000; ++done) {
    reporter().progress(Phase::stage, done, 1000);
    elapsed += milliseconds(1);
  }
  EXPECT_EQ(lines_in(output.written), 11u);  // 0, then one each 100 ms, the last one included
  EXPECT_NE(output.written.find(R"("done":0,)"), std::string::npos);
  EXPECT_NE(output.written.find(R"("done":1000,)"), std::string::npos);
  output.written.clear();
  reporter().progress(Phase::check, 0, 100);
  reporter().progress(Phase::check, 60, 100);  // held back, shown when the phase is left
  reporter().progress(Phase::switch_over, 1, 1);
  EXPECT_EQ(lines_in(output.written), 3u);
  EXPECT_NE(output.written.find(R"("done":60,)"), std::string::npos);
}

TEST_F(JsonLines, ShowProgressThatWasHeldBackBeforeTheResult) {
  settings.json = true;
  reporter().progress(Phase::stage, 0, 100);
  reporter().progress(Phase::stage, 70, 100);
  reporter().result("install", CommandResult{});
  const std::size_t held_back = output.written.find(R"("done":70,)");
  ASSERT_NE(held_back, std::string::npos);
  EXPECT_LT(held_back, output.written.find(R"("event":"result")"));
}

TEST_F(JsonLines, DropProgressThatNobodyReadsButNeverTheResult) {
  settings.json = true;
  output.room = false;
  reporter().progress(Phase::stage, 0, 100);
  EXPECT_EQ(output.written, "");
  reporter().result("install", CommandResult{});
  EXPECT_EQ(lines_in(output.written), 1u);
}

TEST_F(JsonLines, LeaveOutProgressAndNoticesWhenQuiet) {
  settings.json = true;
  settings.quiet = true;
  reporter().progress(Phase::stage, 1, 2);
  reporter().notice("x");
  EXPECT_EQ(output.written, "");
  reporter().gate(kPassing);
  EXPECT_EQ(lines_in(output.written), 1u);
}

using PlainLines = Reporting;

TEST_F(PlainLines, ShowBeginTenthsAndEndOfAPhase) {
  for (std::uint64_t done = 0; done <= 100; done += 4) {
    reporter().progress(Phase::stage, done * 1'048'576, 100 * 1'048'576);
    elapsed += milliseconds(100);
  }
  reporter().progress(Phase::stage, 100 * 1'048'576, 100 * 1'048'576);  // said twice, shown once
  EXPECT_EQ(output.written,
            "stage: begins, 100.0 MiB\nstage: 10 %\nstage: 20 %\nstage: 30 %\nstage: 40 %\nstage: 50 %\nstage: 60 %\n"
            "stage: 70 %\nstage: 80 %\nstage: 90 %\nstage: done, 100.0 MiB in 2.5 s\n");
}

TEST_F(PlainLines, ShowAPhaseWithoutAmountOnce) {
  reporter().progress(Phase::switch_over, 0, 0);
  EXPECT_EQ(output.written, "switch: done\n");
}

TEST_F(PlainLines, ShowGatesWithVerdictFirst) {
  reporter().gate(kPassing);
  reporter().gate(kFailing);
  reporter().planned_write({.where = "slot B, volume rootfs", .what = "image 3.5.1", .bytes = 256'901'120});
  EXPECT_EQ(output.written,
            "pass  no-space          the update needs less than what is free\n"
            "FAIL  fill-level        54 percent may be used after compaction\n"
            "write  245.0 MiB  slot B, volume rootfs: image 3.5.1\n");
}

TEST_F(PlainLines, AddTheExactFiguresOfGatesWhenVerbose) {
  settings.verbose = true;
  reporter().gate(kFailing);
  EXPECT_EQ(output.written,
            "FAIL  fill-level        54 percent may be used after compaction (measured\n"
            "                        33660000, limit 33659904 bytes)\n");
}

TEST_F(PlainLines, SayWhatHappenedHowTheDeviceIsAndWhatToDo) {
  reporter().result("install", postponed());
  EXPECT_EQ(output.written, "");
  EXPECT_EQ(error.written,
            "slotkeeper: install postponed (fill-level): the permanent partition is 61 % full\n"
            "  device: The permanent partition was compacted with its contents preserved; nothing else was changed.\n"
            "  next: " +
                std::string(info(Errc::fill_level).next) + "\n");
}

TEST_F(PlainLines, SayThatNothingChangedWhenNothingWasCompacted) {
  CommandResult refused = postponed();
  refused.failure->error.details.clear();
  reporter().result("install", refused);
  EXPECT_NE(error.written.find("  device: Nothing was changed on the device.\n"), std::string::npos);
}

TEST_F(PlainLines, ClaimNoRollbackWhereNoTransactionWasBegun) {
  reporter().result("verify", failed_command(make_error(Errc::readback_mismatch, "slot B differs")));
  EXPECT_NE(error.written.find("  device: No transaction was begun;"), std::string::npos) << error.written;
  EXPECT_EQ(error.written.find("marked bad"), std::string::npos);
}

TEST_F(PlainLines, SayWhetherTheTargetSlotWasTouched) {
  for (const Errc code : {Errc::cancelled, Errc::io_error}) {
    for (const Phase phase : {Phase::compact, Phase::snapshot, Phase::stage, Phase::check}) {
      CommandResult result = failed_command(make_error(code, "so it is"), phase);
      result.transaction = "3f0e6c1e-8f0b-4a52-9d57-6a1c6f7f9b11";
      result.outcome = code == Errc::cancelled ? result.outcome : Outcome::rolled_back;
      error.written.clear();
      new_reporter().result("install", result);
      const bool touched = phase >= Phase::stage;
      EXPECT_EQ(error.written.find("target slot was not touched") == std::string::npos, touched) << error.written;
      EXPECT_EQ(error.written.find("target slot is marked bad") != std::string::npos, touched) << error.written;
      // A trial takes a snapshot as well, and then the target slot holds the firmware that runs.
      error.written.clear();
      new_reporter().result("recover", result);
      EXPECT_EQ(error.written.find("not touched"), std::string::npos) << error.written;
    }
  }
}

TEST_F(PlainLines, AddPhaseAndDetailsWhenVerbose) {
  settings.verbose = true;
  reporter().result("install", postponed());
  EXPECT_TRUE(error.written.ends_with("\n  phase: preflight\n  compacted: yes\n  largest: log/a\\x0a, log/b\n"));
}

TEST_F(PlainLines, NeverPassControlCharactersOn) {
  reporter().notice("a\x1b[2Jb");
  CommandResult result = failed_command(make_error(Errc::corrupt, "file \x1b]0;x\x07"));
  result.lines = {"line \x1b[31m"};
  reporter().result("install", result);
  EXPECT_EQ((output.written + error.written).find('\x1b'), std::string::npos);
  EXPECT_NE(error.written.find("install refused (corrupt): file \\x1b]0;x\\x07"), std::string::npos);
}

TEST_F(PlainLines, SayNoMoreThanTheVerdictWhenQuiet) {
  settings.quiet = true;
  reporter().progress(Phase::stage, 1, 2);
  reporter().notice("x");
  reporter().gate(kPassing);
  CommandResult result;
  result.lines = {"The verdict.", "More."};
  reporter().result("install", result);
  EXPECT_EQ(output.written, "The verdict.\n");
}

TEST_F(PlainLines, ShowWhyRecoveryRolledBack) {
  CommandResult result;
  result.outcome = Outcome::rolled_back;
  result.lines = {"Rolled back."};
  result.cause = Failure{make_error(Errc::health, "check 10-network failed"), std::nullopt};
  reporter().result("recover", result);
  EXPECT_EQ(output.written, "Rolled back.\ncause (health): check 10-network failed\n");
}

class OnATerminal : public Reporting {
 protected:
  void SetUp() override {
    settings.terminal = {.output_is_terminal = true, .error_is_terminal = true, .colours = false};
  }
};

TEST_F(OnATerminal, TheBarShowsPhaseShareAmountsRateAndTimeLeft) {
  const std::uint64_t total = 200 * 1'048'576;
  for (std::uint64_t step = 0; step <= 10; ++step) {
    output.written.clear();
    reporter().progress(Phase::stage, step * 10 * 1'048'576, total);
    elapsed += milliseconds(1000);
  }
  EXPECT_EQ(output.written, "\rstage      [######......]  50 %  100.0 MiB of 200.0 MiB  10.0 MiB/s  0:10 left\x1b[K");
}

TEST_F(OnATerminal, TheBarNeverWrapsOnNarrowOnes) {
  for (const unsigned columns : {1u, 10u, 20u, 40u, 60u, 79u, 80u, 200u}) {
    width = columns;
    output.written.clear();
    elapsed += milliseconds(1000);
    reporter().progress(Phase::stage, columns * 1000, 1'000'000);
    ASSERT_TRUE(output.written.starts_with("\r")) << columns;
    ASSERT_TRUE(output.written.ends_with("\x1b[K"));
    EXPECT_LT(output.written.size() - 4, std::max(columns, 2u)) << output.written;
  }
}

TEST_F(OnATerminal, TheBarIsDrawnAtMostTenTimesASecond) {
  for (int i = 0; i < 1000; ++i) {
    reporter().progress(Phase::stage, static_cast<std::uint64_t>(i), 1000);
    elapsed += milliseconds(1);
  }
  EXPECT_EQ(std::ranges::count(output.written, '\r'), 10);
}

TEST_F(OnATerminal, OtherLinesReplaceTheBar) {
  reporter().progress(Phase::stage, 1, 100);
  output.written.clear();
  reporter().notice("news");
  EXPECT_EQ(output.written, "\r\x1b[Knews\n");
  output.written.clear();
  reporter().progress(Phase::stage, 100, 100);
  EXPECT_EQ(output.written, "stage      done  100 B in 0.0 s\n");
}

TEST_F(OnATerminal, TheBarIsGoneBeforeAnErrorIsPrinted) {
  reporter().progress(Phase::stage, 1, 100);
  output.written.clear();
  reporter().result("install", postponed());
  EXPECT_EQ(output.written, "\r\x1b[K");
}

TEST_F(OnATerminal, VerdictsAreColouredOnlyWhereColoursAreWanted) {
  reporter().gate(kFailing);
  EXPECT_EQ(output.written.find('\x1b'), std::string::npos);
}

TEST_F(OnATerminal, ColoursMarkTheVerdict) {
  settings.terminal.colours = true;
  reporter().gate(kFailing);
  EXPECT_TRUE(output.written.starts_with("\x1b[1;31mFAIL\x1b[0m  fill-level"));
}

TEST_F(Reporting, CancellationIsPassedOn) {
  EXPECT_FALSE(reporter().cancel_requested());
  cancelled = true;
  EXPECT_TRUE(reporter().cancel_requested());
  EXPECT_EQ(reporter().check_cancelled().error().code, Errc::cancelled);
}

TEST(StreamOutput, SwallowsTheErrorsOfAClosedPipe) {
  std::array<int, 2> ends{};
  ASSERT_EQ(pipe(ends.data()), 0);
  std::FILE* stream = fdopen(ends[1], "w");
  ASSERT_NE(stream, nullptr);
  StreamOutput output(stream);
  EXPECT_TRUE(output.has_room());
  output.write("one\n");
  close(ends[0]);
  const auto before = std::signal(SIGPIPE, SIG_IGN);
  output.write("two\n");
  output.write("three\n");
  EXPECT_FALSE(output.has_room());
  std::fclose(stream);
  std::signal(SIGPIPE, before);
}

TEST(StreamOutput, SaysWhenAPipeIsFull) {
  std::array<int, 2> ends{};
  ASSERT_EQ(pipe2(ends.data(), O_NONBLOCK), 0);
  const std::string block(4096, 'x');
  while (write(ends[1], block.data(), block.size()) > 0) {
  }
  std::FILE* stream = fdopen(ends[1], "w");
  ASSERT_NE(stream, nullptr);
  EXPECT_FALSE(StreamOutput(stream).has_room());
  std::fclose(stream);
  close(ends[0]);
}

}  // namespace
}  // namespace slotkeeper::cli
