// SIGKILL at random moments of compact, snapshot and restore, under storming log services; then `recover`. Every log
// entry is there exactly once, the configuration is whole, and the device goes on.
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <thread>

#include <gtest/gtest.h>

#include "tests/loopback/device_rig.hpp"
#include "tests/support/log_writers.hpp"

namespace slotkeeper::test {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kSegmentBytes = 48 * 1024;

/// SLOTKEEPER_SEED replays, SLOTKEEPER_CASES changes how many moments there are.
std::uint64_t number_from_environment(const char* name, std::uint64_t otherwise) {
  const char* const text = std::getenv(name);
  return text != nullptr && *text != '\0' ? std::strtoull(text, nullptr, 10) : otherwise;
}

class SuddenDeath : public testing::Test {
 protected:
  void SetUp() override {
    if (!may_mount()) GTEST_SKIP() << "loop devices and mounts need root";
    RigSettings settings;
    settings.permanent_bytes = 24ull << 20;
    device = std::make_unique<DeviceRig>(settings);
    seed_ =
        number_from_environment("SLOTKEEPER_SEED", static_cast<std::uint64_t>(Clock::now().time_since_epoch().count()));
    cases_ = number_from_environment("SLOTKEEPER_CASES", 70);
    random_.seed(seed_);
    RecordProperty("seed", std::to_string(seed_));
    for (const char* folder : {"log/security/audit", "log/system/net", "log/system/vpn"}) {
      std::filesystem::create_directory(device->permanent(folder));
      const std::string path = device->permanent(folder);
      writers_.push_back(std::make_unique<LogWriter>(LogWriterSettings{.folder = path,
                                                                       .name = path.substr(path.rfind('/') + 1),
                                                                       .segment_bytes = kSegmentBytes,
                                                                       .segments_max = 12,
                                                                       .lines_per_pause = 100,
                                                                       .pause_us = 5000,
                                                                       .syncs = true}));
    }
  }

  [[nodiscard]] std::string replay() const {
    return "replay: SLOTKEEPER_SEED=" + std::to_string(seed_) + " SLOTKEEPER_CASES=" + std::to_string(cases_) + " " +
           testing::UnitTest::GetInstance()->current_test_info()->name();
  }

  /// Runs the program and kills it at a random moment of what an undisturbed run took. True when it was killed.
  bool run_and_kill(const std::vector<std::string>& arguments, std::chrono::microseconds undisturbed) {
    std::uniform_int_distribution<std::int64_t> moment(0, undisturbed.count());
    const auto end = Clock::now() + std::chrono::microseconds(moment(random_));
    Program program(device->command(arguments));
    std::this_thread::sleep_until(end);
    program.signal(SIGKILL);
    return program.finish().exit_status == 128 + SIGKILL;
  }

  /// What an undisturbed run of the program takes, and a little more.
  std::chrono::microseconds time_of(const std::vector<std::string>& arguments) {
    const auto begin = Clock::now();
    const Answer answer = device->run(arguments);
    EXPECT_EQ(answer.exit_status, 0) << answer.story();
    return std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - begin) * 11 / 10;
  }

  void expect_recovered(const std::string& where) {
    const Answer answer = device->run({"recover"});
    ASSERT_EQ(answer.exit_status, 0) << where << answer.story();
    ASSERT_EQ(difference(configuration_, device->protected_files()), "") << where;
    for (const auto& writer : writers_) ASSERT_EQ(writer->problem_now(), "") << where;
  }

  void expect_whole_logs() {
    for (const auto& writer : writers_) {
      writer->stop();
      EXPECT_EQ(writer->problem(), "") << replay();
      EXPECT_EQ(writer->failed_writes(), 0u) << replay();
    }
  }

  /// Nothing of ours is left but what `provision` made.
  void expect_nothing_left() { EXPECT_TRUE(std::filesystem::is_empty(device->permanent(".slotkeeper"))) << replay(); }

  std::unique_ptr<DeviceRig> device;
  std::vector<std::unique_ptr<LogWriter>> writers_;
  Fingerprint configuration_;
  std::uint64_t seed_ = 0;
  std::uint64_t cases_ = 0;
  std::mt19937_64 random_;
};

TEST_F(SuddenDeath, OfCompactLosesNoLogEntry) {
  configuration_ = device->protected_files();
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  const auto undisturbed = time_of({"compact"});
  std::uint64_t killed = 0;
  for (std::uint64_t number = 0; number < cases_; ++number) {
    killed += run_and_kill({"compact"}, undisturbed) ? 1 : 0;
    // Half of them go on without a recovery, as when the service is simply started again.
    if (number % 2 != 0) continue;
    ASSERT_NO_FATAL_FAILURE(expect_recovered("case " + std::to_string(number) + ", " + replay()));
  }
  ASSERT_NO_FATAL_FAILURE(expect_recovered(replay()));
  EXPECT_GT(killed, cases_ / 4) << replay();
  expect_whole_logs();
  expect_nothing_left();
}

TEST_F(SuddenDeath, OfInstallUpToStagingLosesNothing) {
  configuration_ = device->protected_files();
  const std::string bundle = Material::get().bundle("2.0.0");
  const auto undisturbed = time_of({"install", bundle});
  ASSERT_EQ(device->run({"rollback"}).outcome(), "rolled-back");
  std::uint64_t killed = 0;
  for (std::uint64_t number = 0; number < cases_; ++number) {
    killed += run_and_kill({"install", bundle}, undisturbed) ? 1 : 0;
    ASSERT_NO_FATAL_FAILURE(expect_recovered("case " + std::to_string(number) + ", " + replay()));
    // The last moments may lie behind the switch.
    const Answer back = device->run({"rollback"});
    ASSERT_TRUE(back.outcome() == "rolled-back" || back.exit_status == 6) << back.story() << replay();
    ASSERT_EQ(device->variable("BOOT_ORDER").front(), 'A') << replay();
  }
  EXPECT_GT(killed, cases_ / 4) << replay();
  expect_whole_logs();
  expect_nothing_left();
}

TEST_F(SuddenDeath, OfRestoreEndsInTheOriginalConfiguration) {
  configuration_ = device->protected_files();
  const std::string bundle = Material::get().bundle("2.0.0");
  std::chrono::microseconds undisturbed{0};
  std::uint64_t killed = 0;
  for (std::uint64_t number = 0; number < cases_ / 2; ++number) {
    const std::string where = "case " + std::to_string(number) + ", " + replay();
    const Answer armed = device->install(bundle);
    ASSERT_EQ(armed.outcome(), "armed") << where << armed.story();
    ASSERT_EQ(device->bootloader_takes(), 'B') << where;
    device->booted = 'B';
    ASSERT_EQ(device->run({"recover"}).exit_status, 0) << where;
    // What a migration does that is never finished.
    std::filesystem::remove_all(device->permanent("terminals"));
    std::filesystem::remove(device->permanent("time-source"));
    write_file(device->permanent("network/interfaces.conf"), "format = 9\n");
    write_file(device->permanent("state/dhcp.leases"), std::string(5000, 'x'));
    for (int file = 0; file < 20; ++file) {
      write_file(device->permanent("services/new-" + std::to_string(file) + ".conf"), std::string(3000, 'n'));
    }
    ASSERT_EQ(device->run({"rollback"}).outcome(), "rolled-back") << where;
    ASSERT_EQ(device->bootloader_takes(), 'A') << where;
    device->booted = 'A';
    if (undisturbed.count() == 0) {
      undisturbed = time_of({"recover"});
    } else {
      killed += run_and_kill({"recover"}, undisturbed) ? 1 : 0;
      killed += run_and_kill({"recover"}, undisturbed) ? 1 : 0;  // and once more, in what goes on
    }
    ASSERT_NO_FATAL_FAILURE(expect_recovered(where));
  }
  EXPECT_GT(killed, cases_ / 4) << replay();
  expect_whole_logs();
  expect_nothing_left();
}

}  // namespace
}  // namespace slotkeeper::test
