// The real program compacts a live partition and is killed at random moments, under writers that append, rotate and
// come back to segments that were rotated away. After `recover` every entry is there exactly once and in order.
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <iostream>
#include <random>
#include <sys/mman.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/loopback/device_rig.hpp"
#include "tests/support/log_lines.hpp"
#include "tests/support/permanent_partition.hpp"

namespace slotkeeper::test {
namespace {

constexpr int kKills = 32;  // in each of the two tests
constexpr std::uint64_t kLateFiles = 12;
constexpr std::uint64_t kLateLines = 400;
constexpr std::uint64_t kLiveLinesPerSegment = 300;
constexpr int kLiveSegmentsMax = 1000;

std::uint64_t seed_of_this_run() {
  const char* given = std::getenv("SLOTKEEPER_SEED");
  const std::uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device()();
  std::cout << "seed " << seed << " (replay with SLOTKEEPER_SEED)\n";
  return seed;
}

/// What the writers have written, kept where parent and child both see it.
struct Written {
  volatile bool stop;
  volatile std::uint64_t live;
  volatile std::uint64_t late[kLateFiles];
};

/// All of the line or nothing: what did not fit is taken back.
bool append_line(int file, const std::string& line) {
  const off_t end = ::lseek(file, 0, SEEK_END);
  const ssize_t count = ::write(file, line.data(), line.size());
  if (count == static_cast<ssize_t>(line.size())) return true;
  if (count > 0 && ::ftruncate(file, end) != 0) std::abort();
  return false;
}

/// As logrotate does it: live.log.N, compressed or not, becomes live.log.N+1.
void rotate(const std::string& live) {
  for (int number = kLiveSegmentsMax; number >= 1; --number) {
    for (const std::string suffix : {"", ".zst"}) {
      const std::string from = live + "." + std::to_string(number) + suffix;
      const std::string to = live + "." + std::to_string(number + 1) + suffix;
      if (::access(from.c_str(), F_OK) == 0) ::rename(from.c_str(), to.c_str());
    }
  }
  ::rename(live.c_str(), (live + ".1").c_str());
}

/// Appends and rotates without a pause.
void write_live(const std::string& live, Written& written) {
  while (!written.stop) {
    const int file = ::open(live.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    if (file < 0) {
      ::usleep(1000);
      continue;
    }
    for (std::uint64_t line = 0; line < kLiveLinesPerSegment && !written.stop;) {
      if (!append_line(file, log_lines(written.live + 1, 1))) {
        ::usleep(1000);
        continue;
      }
      written.live = written.live + 1;
      if (++line % 16 == 0) ::usleep(500);
    }
    if (!written.stop) rotate(live);  // still open for writing
    ::close(file);
  }
}

/// Comes back to segments that were rotated away long ago. Waits where somebody holds a lease.
void write_late(const std::string& late, Written& written, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  while (!written.stop) {
    const std::uint64_t number = random() % kLateFiles;
    const int file = ::open((late + "." + std::to_string(number + 1)).c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
    if (file >= 0) {
      if (append_line(file, log_lines(written.late[number] + 1, 1))) written.late[number] = written.late[number] + 1;
      ::close(file);
    }
    ::usleep(static_cast<useconds_t>(random() % 20'000));
  }
}

class CompactionKill : public testing::Test {
 protected:
  void SetUp() override {
    if (!may_mount()) GTEST_SKIP() << "loop devices and mounts need root";
    device_ = std::make_unique<DeviceRig>(RigSettings{.permanent_bytes = 24ull << 20});
    std::filesystem::remove(device_->permanent("log/system/system.log.1"));
    std::filesystem::create_directories(device_->permanent("log/late"));
    std::filesystem::create_directories(device_->permanent("log/old"));
    std::filesystem::create_directories(device_->permanent("log/flood"));
    written_ = static_cast<Written*>(
        ::mmap(nullptr, sizeof(Written), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    ASSERT_NE(written_, MAP_FAILED);
    put_file(live(), "");
    put_file(late(), "");
    for (std::uint64_t number = 0; number < kLateFiles; ++number) {
      put_file(late() + "." + std::to_string(number + 1), log_lines(1, kLateLines));
      written_->late[number] = kLateLines;
    }
  }
  void TearDown() override {
    stop_writers();
    if (written_ != nullptr) ::munmap(written_, sizeof(Written));
  }
  [[nodiscard]] std::string live() const { return device_->permanent("log/system/live.log"); }
  [[nodiscard]] std::string late() const { return device_->permanent("log/late/late.log"); }
  [[nodiscard]] std::string old() const { return device_->permanent("log/old/old.log"); }

  /// Segments that nobody comes back to.
  void make_old(std::uint64_t count, std::uint64_t lines) {
    old_lines_ = lines;
    old_count_ = count;
    put_file(old(), "");
    for (std::uint64_t number = 1; number <= count; ++number) {
      std::filesystem::remove(old() + "." + std::to_string(number) + ".zst");
      put_file(old() + "." + std::to_string(number), log_lines(number, lines));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2100));  // until they are quiet
  }

  void start_writers(std::uint64_t seed) {
    written_->stop = false;
    for (const int which : {0, 1}) {
      const pid_t process = ::fork();
      ASSERT_GE(process, 0);
      if (process == 0) {
        if (which == 0) write_live(live(), *written_);
        if (which == 1) write_late(late(), *written_, seed);
        ::_exit(0);
      }
      writers_.push_back(process);
    }
  }
  void stop_writers() {
    if (written_ != nullptr) written_->stop = true;
    for (const pid_t process : writers_) ::waitpid(process, nullptr, 0);
    writers_.clear();
  }

  /// The one form of a segment that there is.
  std::string form_of(const std::string& path) const {
    const bool plain = std::filesystem::exists(path);
    const bool compressed = std::filesystem::exists(path + ".zst");
    EXPECT_NE(plain, compressed) << path << (plain ? " is there twice" : " is missing");
    return compressed ? path + ".zst" : path;
  }
  void expect_everything() const {
    for (std::uint64_t number = 1; number <= old_count_; ++number) {
      const std::string path = form_of(old() + "." + std::to_string(number));
      ASSERT_EQ(wrong_with_lines(read_log(path), number, number + old_lines_ - 1), "") << path;
    }
    for (std::uint64_t number = 0; number < kLateFiles; ++number) {
      const std::string path = form_of(late() + "." + std::to_string(number + 1));
      ASSERT_EQ(wrong_with_lines(read_log(path), 1, written_->late[number]), "") << path;
    }
    std::string all;
    for (int number = kLiveSegmentsMax; number >= 1; --number) {
      const std::string path = live() + "." + std::to_string(number);
      if (std::filesystem::exists(path) || std::filesystem::exists(path + ".zst")) all += read_log(form_of(path));
    }
    if (std::filesystem::exists(live())) all += contents_of(live());
    ASSERT_EQ(wrong_with_lines(all, 1, written_->live), "") << "live.log";
    EXPECT_TRUE(std::filesystem::is_empty(device_->permanent(".slotkeeper")));
  }

  /// Starts compacting and kills it at a random moment after it has begun. True when it was at work.
  bool compact_and_kill(std::mt19937_64& random, std::uint64_t delay_max_us) {
    Program program(device_->command({"compact"}));
    const bool begun = program.read_until([](const Json&) { return true; });
    std::this_thread::sleep_for(std::chrono::microseconds(random() % delay_max_us));
    program.signal(SIGKILL);
    const Answer answer = program.finish();
    return begun && answer.exit_status == 128 + SIGKILL;
  }

  void recover() const {
    const Answer answer = device_->run({"recover"});
    ASSERT_EQ(answer.exit_status, 0) << answer.story();
  }

  std::unique_ptr<DeviceRig> device_;
  Written* written_ = nullptr;
  std::vector<pid_t> writers_;
  std::uint64_t old_count_ = 0;
  std::uint64_t old_lines_ = 0;
};

TEST_F(CompactionKill, LosesNothingUnderWriters) {
  const std::uint64_t seed = seed_of_this_run();
  std::mt19937_64 random(seed);
  int at_work = 0;
  for (int kill = 0; kill < kKills; ++kill) {
    SCOPED_TRACE("kill " + std::to_string(kill) + " of seed " + std::to_string(seed));
    if (kill % 8 == 0) make_old(25, 800);
    start_writers(random());
    if (compact_and_kill(random, 150'000)) ++at_work;
    recover();
    stop_writers();
    expect_everything();
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(at_work, kKills / 4);
  EXPECT_EQ(device_->run({"compact"}).exit_status, 0);
  expect_everything();
}

TEST_F(CompactionKill, LosesNothingWithoutRoom) {
  const std::uint64_t seed = seed_of_this_run();
  std::mt19937_64 random(seed);
  int half_done = 0;
  for (int kill = 0; kill < kKills; ++kill) {
    SCOPED_TRACE("kill " + std::to_string(kill) + " of seed " + std::to_string(seed));
    std::filesystem::remove(device_->permanent("log/flood/filler"));
    if (kill % 4 == 0) make_old(4, 12'000);
    fill_bytes(device_->permanent("log/flood"));
    start_writers(random());
    compact_and_kill(random, 200'000);
    for (std::uint64_t number = 1; number <= old_count_; ++number) {
      const std::string path = old() + "." + std::to_string(number);
      if (std::filesystem::exists(path) && contents_of(path) != log_lines(number, old_lines_)) ++half_done;
    }
    recover();
    stop_writers();
    std::filesystem::remove(device_->permanent("log/flood/filler"));
    expect_everything();
    if (HasFatalFailure()) return;
  }
  std::cout << half_done << " of " << kKills << " kills met a log that was half compressed in its own place\n";
  EXPECT_GT(half_done, 0);
}

}  // namespace
}  // namespace slotkeeper::test
