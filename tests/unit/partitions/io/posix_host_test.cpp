#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <fstream>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "partitions/io/host.hpp"
#include "partitions/io/storage.hpp"
#include "tests/support/temporary_directory.hpp"
#include "tests/support/unwrap.hpp"

namespace slotkeeper::io {
namespace {

using namespace std::chrono_literals;
using test::error_of;
using test::ok;
using test::TemporaryDirectory;

class PosixHost : public ::testing::Test {
 protected:
  ProcessOutcome shell(const std::string& script, std::chrono::milliseconds limit = 60s) {
    ProcessRequest request;
    request.executable = "/bin/sh";
    request.arguments = {"-c", script};
    request.time_limit = limit;
    request.environment = {"FOLDER=" + folder_.path()};
    return ok(host_->run(request));
  }
  std::string read(const std::string& name) { return ok(make_posix_storage()->read_text(folder_ / name, 65536)); }
  TemporaryDirectory folder_;
  std::unique_ptr<Host> host_ = make_posix_host();
};

TEST_F(PosixHost, CapturesBothOutputsAndTheStatus) {
  const ProcessOutcome outcome = shell("echo out; echo err >&2; exit 3");
  EXPECT_EQ(outcome.exit_status, 3);
  EXPECT_EQ(outcome.standard_output, "out\n");
  EXPECT_EQ(outcome.standard_error, "err\n");
  EXPECT_FALSE(outcome.timed_out);
  EXPECT_EQ(shell("kill -TERM $$").exit_status, 128 + SIGTERM);
}

TEST_F(PosixHost, PriorityIsInheritedAndComesBack) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root may raise a priority again";
  const std::string nice_of_child = "cut -d' ' -f19 /proc/self/stat; ionice";
  const std::string usual = shell(nice_of_child).standard_output;
  const Priority before = ok(host_->set_priority({.nice = 7, .io = kIoIdle}));
  EXPECT_EQ(shell(nice_of_child).standard_output, "7\nidle\n");
  const Priority lower = ok(host_->set_priority({.nice = 3, .io = io_best_effort(6)}));
  EXPECT_EQ(lower.nice, 7);
  EXPECT_EQ(lower.io, kIoIdle);
  EXPECT_EQ(shell(nice_of_child).standard_output, "3\nbest-effort: prio 6\n");
  static_cast<void>(ok(host_->set_priority(before)));
  EXPECT_EQ(shell(nice_of_child).standard_output, usual);
}

TEST_F(PosixHost, AnImpossiblePriorityChangesNothing) {
  const Priority before = ok(host_->set_priority({}));
  EXPECT_EQ(error_of(host_->set_priority({.nice = 5, .io = 7 << 13})).code, Errc::io_error);
  EXPECT_EQ(ok(host_->set_priority(before)).nice, 0);
}

TEST_F(PosixHost, TellsHowMuchTheMachineWorked) {
  const auto before = host_->work_done();
  ASSERT_TRUE(before.has_value());
  // All processors of it, longer than a tick of the clock.
  static_cast<void>(shell("for i in $(seq $(nproc)); do timeout 0.5 sh -c 'while :; do :; done' & done; wait"));
  const auto after = host_->work_done();
  ASSERT_TRUE(after.has_value());
  EXPECT_GE(after->processors - before->processors, 100ms);
  EXPECT_GE(after->disks, before->disks);
}

TEST_F(PosixHost, GivesNoInputOwnSessionDefaultSignalsAndTheEnvironment) {
  ASSERT_EQ(::setenv("SLOTKEEPER_TEST_ONE", "ours", 1), 0);
  ASSERT_EQ(::setenv("SLOTKEEPER_TEST_TWO", "ours", 1), 0);
  const auto handler = std::signal(SIGPIPE, SIG_IGN);
  ProcessRequest request;
  request.executable = "/bin/sh";
  request.arguments = {"-c",
                       "cat; pwd; echo $SLOTKEEPER_TEST_ONE $SLOTKEEPER_TEST_TWO; echo \"$1\"; grep SigIgn "
                       "/proc/$$/status; cut -d' ' -f1,6 /proc/$$/stat",
                       "name", "a b"};
  request.environment = {"SLOTKEEPER_TEST_TWO=added"};
  const ProcessOutcome outcome = ok(host_->run(request));
  std::signal(SIGPIPE, handler);
  std::istringstream lines(outcome.standard_output);
  std::string line;
  std::getline(lines, line);
  EXPECT_EQ(line, "/");
  std::getline(lines, line);
  EXPECT_EQ(line, "ours added");
  std::getline(lines, line);
  EXPECT_EQ(line, "a b");
  std::getline(lines, line);
  EXPECT_EQ(line, "SigIgn:\t0000000000000000");
  int process = 0;
  int session = 1;
  lines >> process >> session;
  EXPECT_EQ(process, session);
}

TEST_F(PosixHost, LeavesNoDescriptorToThePrograms) {
  const int forgotten = ::open("/proc/self/status", O_RDONLY);  // without O_CLOEXEC
  ASSERT_GE(::fcntl(forgotten, F_DUPFD, 77), 77);
  const ProcessOutcome outcome = shell("for fd in /proc/self/fd/*; do [ -e $fd ] && echo ${fd##*/}; done");
  ::close(forgotten);
  ::close(77);
  EXPECT_EQ(outcome.standard_output.find("77"), std::string::npos) << outcome.standard_output;
  EXPECT_EQ(outcome.standard_output.substr(0, 6), "0\n1\n2\n");
}

TEST_F(PosixHost, CutsOffOutputAtTheLimitAndLetsTheProgramGoOn) {
  ProcessRequest request;
  request.executable = "/bin/sh";
  request.arguments = {"-c",
                       "head -c 3000000 /dev/zero | tr '\\0' x; head -c 3000000 /dev/zero | tr '\\0' y >&2; exit 9"};
  request.output_limit_bytes = 1000;
  request.time_limit = 60s;
  const ProcessOutcome outcome = ok(host_->run(request));
  EXPECT_EQ(outcome.exit_status, 9);
  EXPECT_EQ(outcome.standard_output, std::string(1000, 'x'));
  EXPECT_EQ(outcome.standard_error, std::string(1000, 'y'));
}

TEST_F(PosixHost, EndsTheWholeSessionWhenTimeIsUp) {
  // A grandchild in the background, and one in a process group of its own.
  const ProcessOutcome outcome = shell(
      "echo started; sleep 1000 & echo $! > $FOLDER/one; set -m; sleep 1000 & echo $! > $FOLDER/two; wait", 300ms);
  EXPECT_TRUE(outcome.timed_out);
  EXPECT_EQ(outcome.exit_status, 128 + SIGKILL);
  EXPECT_EQ(outcome.standard_output, "started\n");
  for (const char* name : {"one", "two"}) {
    const std::string process = read(name);
    const std::string number = process.substr(0, process.find('\n'));
    // Killed; perhaps not yet collected by its new parent.
    const auto status = make_posix_storage()->read_text("/proc/" + number + "/status", 65536);
    if (status.has_value()) {
      EXPECT_NE(status.assume_value().find("State:\tZ"), std::string::npos) << name;
    } else {
      EXPECT_TRUE(status.assume_error().os_errno == ENOENT || status.assume_error().os_errno == ESRCH);
    }
  }
}

TEST_F(PosixHost, KeepsTheTimeLimitAgainstAProgramThatNeverStopsTalking) {
  const ProcessOutcome outcome = shell("while :; do echo 0123456789012345678901234567890123456789; done", 200ms);
  EXPECT_TRUE(outcome.timed_out);
  EXPECT_EQ(outcome.standard_output.size(), 65536U);
}

TEST_F(PosixHost, DoesNotWaitForWhatAProgramLeavesRunning) {
  const auto begin = host_->monotonic();
  const ProcessOutcome outcome = shell("sleep 1000 & echo $!");
  EXPECT_LT(host_->monotonic() - begin, 50s);
  EXPECT_EQ(outcome.exit_status, 0);
  const int left = std::stoi(outcome.standard_output);
  ok(host_->ask_to_end(left));
}

TEST_F(PosixHost, TellsAProgramThatCannotBeStartedFromOneThatFailed) {
  ProcessRequest request;
  request.executable = folder_ / "absent";
  const Error absent = error_of(host_->run(request));
  EXPECT_EQ(absent.code, Errc::io_error);
  EXPECT_EQ(absent.os_errno, ENOENT);
  EXPECT_NE(absent.message.find(request.executable), std::string::npos);
  request.executable = folder_ / "data";
  std::ofstream(request.executable) << "no program";
  EXPECT_EQ(error_of(host_->run(request)).os_errno, EACCES);
  ASSERT_EQ(::chmod(request.executable.c_str(), 0700), 0);
  EXPECT_EQ(error_of(host_->run(request)).os_errno, ENOEXEC);
  EXPECT_EQ(shell("exit 127").exit_status, 127);
}

TEST_F(PosixHost, LeaksNoDescriptorOfItsOwn) {
  const auto count = [&] {
    int descriptors = 0;
    const auto folder = ok(make_posix_storage()->open_directory("/proc/self/fd"));
    ok(folder->visit_entries([&](const DirectoryEntry&) -> Result<void> {
      ++descriptors;
      return success();
    }));
    return descriptors;
  };
  const int before = count();
  for (int round = 0; round < 5; ++round) {
    shell("exit 0");
    ProcessRequest request;
    request.executable = "/absent";
    EXPECT_FALSE(host_->run(request).has_value());
  }
  EXPECT_EQ(count(), before);
}

TEST_F(PosixHost, ClocksGoForward) {
  const auto monotonic = host_->monotonic();
  const auto since_boot = host_->since_boot();
  host_->sleep(2ms);
  EXPECT_GE(host_->monotonic() - monotonic, 2ms);
  EXPECT_GE(host_->since_boot() - since_boot, 2ms);
  host_->sleep(-1s);
  EXPECT_GT(host_->now().seconds, 0);
}

TEST_F(PosixHost, KnowsTheBootAndMakesRandomBytes) {
  const std::string id = ok(host_->boot_id());
  EXPECT_EQ(id.size(), 36U);
  EXPECT_EQ(id, ok(host_->boot_id()));
  std::array<std::byte, 1000> one{};
  std::array<std::byte, 1000> two{};
  ok(host_->random(one));
  ok(host_->random(two));
  EXPECT_NE(one, two);
}

TEST_F(PosixHost, NeverSignalsAWholeGroup) {
  for (const int process : {0, -1, -::getpid()}) EXPECT_EQ(error_of(host_->ask_to_end(process)).os_errno, ESRCH);
}

TEST(PosixHostTask, IsRepeatedUntilToldToStopAndTakesNoSignals) {
  const auto host = make_posix_host();
  std::atomic<int> calls = 0;
  std::atomic<bool> blocks_signals = true;
  auto repetition = host->repeat(std::chrono::milliseconds(1), [&] {
    sigset_t blocked;
    ::pthread_sigmask(SIG_SETMASK, nullptr, &blocked);
    if (::sigismember(&blocked, SIGTERM) != 1) blocks_signals = false;
    ++calls;
  });
  ASSERT_NE(repetition, nullptr);
  for (int i = 0; i < 2000 && calls < 3; ++i) host->sleep(std::chrono::milliseconds(1));
  EXPECT_GE(calls, 3);
  EXPECT_TRUE(blocks_signals);
  repetition.reset();
  const int after = calls;
  host->sleep(std::chrono::milliseconds(20));
  EXPECT_EQ(calls, after);
  sigset_t own;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &own);
  EXPECT_EQ(::sigismember(&own, SIGTERM), 0) << "the caller's own mask must stay";
}

}  // namespace
}  // namespace slotkeeper::io
