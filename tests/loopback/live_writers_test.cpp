// The real program on a permanent partition that others write to all the time.
#include <csignal>
#include <filesystem>
#include <fstream>
#include <list>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/loopback/device_rig.hpp"
#include "tests/support/live_writer.hpp"

namespace slotkeeper::test {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

constexpr auto kFreezeLimit = 2s;

void put(const std::string& path, const std::string& contents) {
  std::ofstream file(path, std::ios::trunc);
  file << contents;
}

class LiveWriters : public testing::Test {
 protected:
  void SetUp() override {
    if (!may_mount()) GTEST_SKIP() << "loop devices and mounts need root";
    device = std::make_unique<DeviceRig>();
  }
  [[nodiscard]] std::string permanent(const std::string& name) const { return device->permanent(name); }
  static std::string bundle() { return Material::get().bundle("2.0.0"); }

  /// What services do with logs and state all day, in four processes.
  void start_services() {
    // A journal: every line flushed, rotated when it is 16 KiB.
    writers.emplace_back([file = permanent("log/system/journal")](std::uint64_t number) {
      append_line(file, "line " + std::to_string(number), true);
      if (number % 800 == 799) ::rename(file.c_str(), (file + "." + std::to_string(number / 800 % 3)).c_str());
    });
    writers.emplace_back([file = permanent("log/security/security.log")](std::uint64_t number) {
      append_line(file, "event " + std::to_string(number));
    });
    // Leases: a new file renamed over the old one, and others that come and go.
    writers.emplace_back([folder = permanent("state/")](std::uint64_t number) {
      put(folder + "leases.new", "lease " + std::to_string(number) + "\n");
      ::rename((folder + "leases.new").c_str(), (folder + "dhcp.leases").c_str());
      put(folder + "session-" + std::to_string(number % 7), "s");
      ::unlink((folder + "session-" + std::to_string((number + 3) % 7)).c_str());
    });
    writers.emplace_back([folder = permanent("log/")](std::uint64_t number) {
      const std::string module = folder + "module-" + std::to_string(number % 5);
      ::mkdir(module.c_str(), 0755);
      put(module + "/trace", "t");
      ::unlink((module + "/trace").c_str());
      ::rmdir(module.c_str());
    });
    for (const LiveWriter& writer : writers) ASSERT_TRUE(writer.does(1, 20s));
  }

  /// As an editor does it: a new file over the old one.
  [[nodiscard]] LiveWriter::Step edits(const std::string& name) const {
    return [file = permanent(name), draft = permanent("download/draft")](std::uint64_t number) {
      put(draft, "edit " + std::to_string(number) + "\n");
      ::rename(draft.c_str(), file.c_str());
    };
  }

  /// Runs the program through a shell, which redirects.
  [[nodiscard]] Answer run_redirected(const std::vector<std::string>& arguments, const std::string& redirection) const {
    std::string line;
    for (const std::string& word : device->command(arguments)) line += "'" + word + "' ";
    return run_program({"sh", "-c", "exec " + line + redirection});
  }

  void expect_thawed() const {
    const LiveWriter probe([file = permanent("log/probe")](std::uint64_t) { append_line(file, "x"); });
    EXPECT_TRUE(probe.does(2, 10s)) << "the permanent partition is still frozen";
  }

  std::unique_ptr<DeviceRig> device;
  std::list<LiveWriter> writers;
};

TEST_F(LiveWriters, OfLogsAndStateDoNotKeepAnUpdateFromBeingArmed) {
  ASSERT_NO_FATAL_FAILURE(start_services());
  const Answer answer = device->install(bundle());
  ASSERT_EQ(answer.exit_status, 0) << answer.story();
  EXPECT_EQ(answer.outcome(), "armed");
  EXPECT_EQ(answer.text("last_check/level"), "frozen") << answer.story();
  const Json held = answer.at("last_check/frozen_ms");
  ASSERT_NE(held.as_integer(), nullptr) << answer.story();
  EXPECT_LT(*held.as_integer(), 2000);
  for (const LiveWriter& writer : writers) EXPECT_TRUE(writer.does(2, 20s)) << "a writer hangs";
}

TEST_F(LiveWriters, WaitNoLongerThanTheFreezeMayLast) {
  LiveWriter journal([file = permanent("log/system/journal")](std::uint64_t number) {
    append_line(file, "line " + std::to_string(number), true);
  });
  LiveWriter plain([file = permanent("log/system/plain")](std::uint64_t number) {
    append_line(file, "line " + std::to_string(number));
  });
  const Answer answer = device->install(bundle());
  ASSERT_EQ(answer.text("last_check/level"), "frozen") << answer.story();
  RecordProperty("frozen_ms", answer.text("last_check/frozen_ms"));
  RecordProperty("longest_wait_of_a_plain_writer_us", std::to_string(plain.longest().count() / 1000));
  EXPECT_LT(plain.longest(), kFreezeLimit);
  // A flush waits for the device as well, and for everybody else who flushes.
  EXPECT_LT(journal.longest(), kFreezeLimit + 4s);
}

TEST_F(LiveWriters, WhoEditConfigurationAllTheTimePostponeTheUpdate) {
  const Fingerprint before = device->fingerprint();
  LiveWriter editor(edits("services/ntp.conf"), 200us);
  ASSERT_TRUE(editor.does(1, 20s));
  const Answer answer = device->install(bundle());
  editor.stop();
  EXPECT_EQ(answer.exit_status, 3) << answer.story();
  EXPECT_EQ(answer.code(), "config-busy");
  EXPECT_EQ(answer.outcome(), "postponed");
  EXPECT_THAT(answer.message(), HasSubstr("services/ntp.conf"));
  EXPECT_THAT(answer.text("error/detail/paths"), HasSubstr("services/ntp.conf"));
  EXPECT_EQ(answer.text("error/detail/compacted"), "false");
  const std::vector<std::string> may_differ = {"store", "permanent ./services/ntp.conf", "permanent ./.slotkeeper",
                                               "permanent ./download/draft"};
  EXPECT_EQ(difference(without(before, may_differ), without(device->fingerprint(), may_differ)), "");
  EXPECT_FALSE(std::filesystem::exists(permanent(".slotkeeper/reserve")));
}

class EditedWhileStaging : public LiveWriters {
 protected:
  /// Starts an install, and an editor once it stages; calls `meanwhile` then.
  Answer install(const std::function<void(LiveWriter&)>& meanwhile) {
    Program program(device->command({"install", bundle()}));
    EXPECT_TRUE(program.read_until(progress_of("stage")));
    LiveWriter editor(edits("network/added.conf"), 200us);
    meanwhile(editor);
    return program.finish();
  }
};

TEST_F(EditedWhileStaging, WithoutEndEndsInDrift) {
  const Answer answer = install([](LiveWriter&) {});
  EXPECT_EQ(answer.exit_status, 5) << answer.story();
  EXPECT_EQ(answer.code(), "config-drift");
  EXPECT_EQ(answer.outcome(), "rolled-back");
  EXPECT_THAT(answer.message(), HasSubstr("network/added.conf"));
  EXPECT_THAT(answer.text("error/detail/paths"), HasSubstr("network/added.conf"));
  EXPECT_EQ(device->variable("BOOT_ORDER"), "A");
  EXPECT_FALSE(std::filesystem::exists(permanent(".slotkeeper/reserve")));
  expect_thawed();
}

TEST_F(EditedWhileStaging, ForAWhileIsSecuredAgainAndComesBackAfterARollback) {
  const Answer answer = install([](LiveWriter& editor) {
    EXPECT_TRUE(editor.does(2, 20s));
    editor.stop();
  });
  ASSERT_EQ(answer.exit_status, 0) << answer.story();
  EXPECT_THAT(answer.diagnostics + answer.output, HasSubstr("it is secured again"));
  const Fingerprint last = device->protected_files();
  ASSERT_TRUE(std::filesystem::exists(permanent("network/added.conf")));
  ASSERT_EQ(device->boot(), 'B');
  ASSERT_EQ(device->run({"recover"}).exit_status, 0);
  std::filesystem::remove(permanent("network/added.conf"));
  put(permanent("services/ntp.conf"), "of the trial");
  ASSERT_EQ(device->run({"rollback"}).exit_status, 0);
  ASSERT_EQ(device->boot(), 'A');
  const Answer recovered = device->run({"recover"});
  ASSERT_EQ(recovered.exit_status, 0) << recovered.story();
  EXPECT_EQ(difference(last, device->protected_files()), "");
}

// ---- what of ours lies on the permanent partition -------------------------------------------------------------------

TEST_F(LiveWriters, StandardOutputOnThePartitionIsNoDeadlock) {
  const std::string file = permanent("log/update.log");
  const Answer answer = run_redirected({"install", bundle()}, ">'" + file + "'");
  EXPECT_EQ(answer.exit_status, 0) << answer.story();
  const std::string output = contents_of(file);
  EXPECT_THAT(output,
              HasSubstr("\"level\":\"read-twice\",\"why\":\"standard output lies on the permanent partition\""));
  expect_thawed();
}

TEST_F(LiveWriters, ABundleOnThePartitionIsNoDeadlock) {
  const std::string file = permanent("download/update.skb");
  std::filesystem::copy_file(bundle(), file);
  const Answer answer = device->install(file);
  ASSERT_EQ(answer.outcome(), "armed") << answer.story();
  EXPECT_EQ(answer.text("last_check/level"), "read-twice");
  EXPECT_THAT(answer.text("last_check/why"), HasSubstr("download/update.skb lies on the permanent partition"));
}

TEST_F(LiveWriters, AStandingPlaceOnThePartitionIsNoDeadlock) {
  std::string line;
  for (const std::string& word : device->command({"install", bundle()})) line += "'" + word + "' ";
  const Answer answer = run_program({"sh", "-c", "cd '" + permanent("log") + "' && exec " + line});
  ASSERT_EQ(answer.outcome(), "armed") << answer.story();
  EXPECT_THAT(answer.text("last_check/why"), HasSubstr("the current directory"));
}

// ---- hooks ----------------------------------------------------------------------------------------------------------

class QuietHooks : public LiveWriters {
 protected:
  void set_hook(const std::string& name, const std::string& body) const {
    write_file(device->path("hooks.d/" + name),
               "#!/bin/sh\necho " + name + " >>'" + device->path("calls") + "'\n" + body, 0755);
  }
  [[nodiscard]] std::string calls() const {
    return std::filesystem::exists(device->path("calls")) ? contents_of(device->path("calls")) : std::string();
  }
};

TEST_F(QuietHooks, AreRunAroundTheCheckAndShown) {
  set_hook("quiesce", "echo services stopped\n");
  set_hook("resume", "test \"$SLOTKEEPER_PERMANENT\" = '" + device->path("permanent") + "'\n");
  const Answer answer = device->install(bundle());
  ASSERT_EQ(answer.outcome(), "armed") << answer.story();
  EXPECT_EQ(calls(), "quiesce\nresume\n");
  EXPECT_EQ(answer.text("hooks"), R"([{"name":"quiesce","exit":0,"timed_out":false,"output":"services stopped\\x0a"},)"
                                  R"({"name":"resume","exit":0,"timed_out":false,"output":""}])");
}

TEST_F(QuietHooks, ResumeIsRunAfterASignal) {
  set_hook("quiesce", "kill -TERM $PPID\nsleep 0.2\n");
  set_hook("resume", "");
  const Answer answer = device->install(bundle());
  EXPECT_EQ(answer.exit_status, 130) << answer.story();
  EXPECT_EQ(calls(), "quiesce\nresume\n");
  EXPECT_EQ(device->variable("BOOT_ORDER"), "A");
}

TEST_F(QuietHooks, ResumeIsRunByRecoverWhenTheEngineWasKilled) {
  set_hook("quiesce", "kill -KILL $PPID\n");
  set_hook("resume", "");
  const Answer answer = device->install(bundle());
  EXPECT_EQ(answer.exit_status, 128 + SIGKILL) << answer.story();
  EXPECT_EQ(calls(), "quiesce\n");
  EXPECT_EQ(device->run({"recover"}).outcome(), "rolled-back");
  EXPECT_EQ(calls(), "quiesce\nresume\n");
  EXPECT_EQ(device->run({"recover"}).outcome(), "nothing-to-do");
  EXPECT_EQ(calls(), "quiesce\nresume\n");
}

TEST_F(QuietHooks, AFailingQuiesceRollsBack) {
  set_hook("quiesce", "echo the pump runs >&2; exit 4\n");
  set_hook("resume", "");
  const Fingerprint original = device->protected_files();
  const Answer answer = device->install(bundle());
  EXPECT_EQ(answer.exit_status, 5) << answer.story();
  EXPECT_EQ(answer.code(), "config-drift");
  EXPECT_THAT(answer.message(), HasSubstr("'quiesce' ended with status 4: the pump runs"));
  EXPECT_EQ(calls(), "quiesce\nresume\n");
  EXPECT_EQ(difference(original, device->protected_files()), "");
}

TEST_F(QuietHooks, OfOthersThanRootAreNotRun) {
  set_hook("quiesce", "");
  ASSERT_EQ(::chown(device->path("hooks.d/quiesce").c_str(), 1000, 0), 0);
  const Answer answer = device->install(bundle());
  EXPECT_EQ(answer.code(), "config") << answer.story();
  EXPECT_EQ(calls(), "");
}

// ---- killed while frozen --------------------------------------------------------------------------------------------

class KilledWhileFrozen : public LiveWriters {
 protected:
  static constexpr auto kHeld = 1200ms;  ///< of the limit of 2 s

  void SetUp() override {
    LiveWriters::SetUp();
    if (IsSkipped()) return;
    probe.emplace([file = permanent("log/probe")](std::uint64_t) { append_line(file, "x"); });
    // The first ioctl of the freezer is the one that freezes: strace holds it up on its way back, so that there is time
    // to kill somebody. It holds up others, too, which is no harm.
    std::vector<std::string> command = {
        "strace",
        "-f",
        "-qq",
        "-o",
        device->path("trace"),
        "-E",
        "ASAN_OPTIONS=detect_leaks=0",
        "-e",
        "trace=ioctl",
        "-e",
        "inject=ioctl:delay_exit=" + std::to_string(std::chrono::microseconds(kHeld).count()) + ":when=1"};
    const auto words = device->command({"install", bundle()});
    command.insert(command.end(), words.begin(), words.end());
    install.emplace(command);
    ASSERT_TRUE(install->read_until(progress_of("check")));
    ASSERT_TRUE(probe->waits(300ms, 60s)) << "it was never frozen";
    for (const char* const name : {"slotkeeper", "slotkeeper-frz"}) processes[name] = find(name);
    ASSERT_GT(processes["slotkeeper"], 0);
    ASSERT_GT(processes["slotkeeper-frz"], 0);
  }

  /// A process of this name whose command line names this device.
  [[nodiscard]] pid_t find(const std::string& name) const {
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
      const std::string number = entry.path().filename();
      if (number.find_first_not_of("0123456789") != std::string::npos) continue;
      std::ifstream comm(entry.path() / "comm"), line(entry.path() / "cmdline");
      std::string is, words;
      std::getline(comm, is);
      std::getline(line, words);
      if (is == name && words.find(device->path("system.toml")) != std::string::npos) return std::stoi(number);
    }
    return -1;
  }

  void expect_rolled_back() const {
    const Answer recovered = device->run({"recover"});
    EXPECT_EQ(recovered.exit_status, 0) << recovered.story();
    EXPECT_EQ(recovered.outcome(), "rolled-back");
    EXPECT_TRUE(probe->does(2, 20s)) << "a writer hangs";
    EXPECT_EQ(device->variable("BOOT_ORDER"), "A");
  }

  std::optional<LiveWriter> probe;
  std::optional<Program> install;
  std::map<std::string, pid_t> processes;
};

TEST_F(KilledWhileFrozen, TheEngineLeavesNobodyWaiting) {
  ::kill(processes["slotkeeper"], SIGKILL);
  ASSERT_TRUE(probe->does(1, 10s));
  EXPECT_LT(probe->longest(), kFreezeLimit + 500ms);
  RecordProperty("longest_wait_us", std::to_string(probe->longest().count() / 1000));
  expect_rolled_back();
}

TEST_F(KilledWhileFrozen, TheFreezerIsReplacedByTheEngine) {
  ::kill(processes["slotkeeper-frz"], SIGKILL);
  ASSERT_TRUE(probe->does(1, 10s));
  const Answer answer = install->finish();
  EXPECT_EQ(answer.outcome(), "armed") << answer.story();
  EXPECT_EQ(answer.text("last_check/level"), "read-twice") << answer.story();
  EXPECT_TRUE(probe->does(2, 20s));
}

TEST_F(KilledWhileFrozen, BothLeaveItToTheNextCommand) {
  ::kill(processes["slotkeeper"], SIGSTOP);
  ::kill(processes["slotkeeper-frz"], SIGKILL);
  ::kill(processes["slotkeeper"], SIGKILL);
  EXPECT_TRUE(probe->waits(2500ms, 20s)) << "somebody else thawed it";
  const Answer recovered = device->run({"recover"});
  EXPECT_THAT(recovered.output, HasSubstr("was still frozen by a command that was killed")) << recovered.story();
  EXPECT_EQ(recovered.outcome(), "rolled-back");
  EXPECT_TRUE(probe->does(2, 20s)) << "a writer hangs";
}

}  // namespace
}  // namespace slotkeeper::test
