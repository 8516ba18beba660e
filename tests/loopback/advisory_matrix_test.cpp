// The advisory of 2020 as a matrix: every fill level, with and without blocks reserved for root, with quiet, moderate
// and storming log services. Each update ends armed or postponed for the reason that its forecast gave, no log entry is
// missing, the configuration is as it was.
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <fcntl.h>
#include <filesystem>
#include <sys/statvfs.h>
#include <thread>
#include <unistd.h>

#include <gtest/gtest.h>

#include "tests/loopback/device_rig.hpp"
#include "tests/support/log_service.hpp"

namespace slotkeeper::test {
namespace {

enum class Fill { percent, limit_exactly, block_above_limit, every_byte, every_inode };
enum class Services { none, moderate, storm };

constexpr unsigned int kLimitPercent = 54;  ///< the default of `max-fill`
constexpr std::uint64_t kSegmentBytes = 16 * 1024;

struct Case {
  Fill fill = Fill::percent;
  unsigned int percent = 0;
  unsigned int reserved_percent = 0;
  Services services = Services::none;

  [[nodiscard]] std::string name() const {
    std::string text;
    switch (fill) {
      case Fill::percent:
        text = "Fill" + std::to_string(percent);
        break;
      case Fill::limit_exactly:
        text = "Fill54Exactly";
        break;
      case Fill::block_above_limit:
        text = "Fill54AndOneBlock";
        break;
      case Fill::every_byte:
        text = "EveryByte";
        break;
      case Fill::every_inode:
        text = "EveryInode";
        break;
    }
    text += reserved_percent > 0 ? "Reserved" : "Unreserved";
    return text + (services == Services::none ? "Quiet" : services == Services::moderate ? "Moderate" : "Storm");
  }
};
void PrintTo(const Case& value, std::ostream* out) { *out << value.name(); }

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const unsigned int reserved : {0u, 5u}) {
    for (const Services services : {Services::none, Services::moderate, Services::storm}) {
      for (const unsigned int percent : {30u, 50u, 55u, 61u, 75u, 90u, 97u}) {
        cases.push_back({Fill::percent, percent, reserved, services});
      }
      for (const Fill fill : {Fill::limit_exactly, Fill::block_above_limit, Fill::every_byte, Fill::every_inode}) {
        cases.push_back({fill, 0, reserved, services});
      }
    }
  }
  return cases;
}

struct statvfs figures(const std::string& path) {
  struct statvfs space {};
  if (::statvfs(path.c_str(), &space) != 0) throw std::runtime_error("no figures for " + path);
  return space;
}

class AdvisoryMatrix : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    if (!may_mount()) GTEST_SKIP() << "loop devices and mounts need root";
    RigSettings settings;
    settings.permanent_bytes = 24ull << 20;
    settings.reserved_percent = GetParam().reserved_percent;
    device = std::make_unique<DeviceRig>(settings);
    device->edit_configuration("storm-probe = \"0s\"", "storm-probe = \"200ms\"");
    // What the rig has of rotated segments could be compressed; the filling here is an active log, which nobody may
    // touch.
    std::filesystem::remove(device->permanent("log/system/system.log.1"));
    std::filesystem::create_directory(device->permanent("log/filling"));
    filling_ = device->permanent("log/filling/filling.log");
  }

  void start_services() {
    const Services kind = GetParam().services;
    if (kind == Services::none) return;
    const bool storm = kind == Services::storm;
    struct Service {
      const char* folder;
      std::uint32_t hold_ms;
      bool syncs;
    };
    for (const Service& service : {Service{"log/security/audit", 0, true}, Service{"log/system/net", 300, false},
                                   Service{"log/system/vpn", 0, false}}) {
      std::filesystem::create_directory(device->permanent(service.folder));
      const std::string path = device->permanent(service.folder);
      writers_.push_back(std::make_unique<LogService>(LogServiceSettings{.folder = path,
                                                                         .name = path.substr(path.rfind('/') + 1),
                                                                         .segment_bytes = kSegmentBytes,
                                                                         .segments_max = 4,
                                                                         .lines_per_pause = storm ? 64u : 4u,
                                                                         .pause_us = storm ? 0u : 2000u,
                                                                         .hold_ms = service.hold_ms,
                                                                         .syncs = service.syncs}));
    }
    // Until their segments have reached the size that they keep.
    for (int wait = 0; wait < 300 && !have_settled(); ++wait)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  [[nodiscard]] bool have_settled() const {
    for (const auto& writer : writers_) {
      if (writer->acknowledged() < (GetParam().services == Services::storm ? 2000u : 200u)) return false;
    }
    return true;
  }

  void fill() {
    const Case& wanted = GetParam();
    const auto space = figures(device->permanent());
    const std::uint64_t limit = space.f_blocks * kLimitPercent / 100;
    switch (wanted.fill) {
      case Fill::percent:
        fill_to(space.f_blocks * wanted.percent / 100);
        break;
      case Fill::limit_exactly:
        fill_to(limit);
        break;
      case Fill::block_above_limit:
        fill_to(limit + 1);
        break;
      case Fill::every_byte:
        fill_to(space.f_blocks);
        break;
      case Fill::every_inode:
        take_every_inode();
        break;
    }
  }

  /// Makes exactly so many blocks used, where that is possible; a block of the file's own tree may come in between.
  void fill_to(std::uint64_t blocks) {
    const int file = ::open(filling_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    ASSERT_GE(file, 0);
    const std::string piece(1024, 'f');
    for (int failures = 0; failures < 20;) {
      const auto space = figures(device->permanent());
      const std::uint64_t used = space.f_blocks - space.f_bfree;
      if (used >= blocks) break;
      const std::uint64_t step = std::min<std::uint64_t>(blocks - used, 1024);
      const std::string bytes(step * 1024, 'f');
      const ssize_t count = ::write(file, bytes.data(), bytes.size());
      if (count < 0 && ::write(file, piece.data(), piece.size()) < 0) ++failures;
      ::fsync(file);
    }
    ::close(file);
  }

  void take_every_inode() {
    for (unsigned int number = 0;; ++number) {
      const std::string path = device->permanent("log/filling/" + std::to_string(number) + ".log");
      const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
      if (file < 0) break;
      ::close(file);
    }
    EXPECT_EQ(figures(device->permanent()).f_ffree, 0u);
  }

  /// The refusal is what the gates of this run said, the first of those that failed; and the gate over the fill level
  /// measured what the filesystem says.
  void expect_reason_of_forecast(const Answer& answer) {
    std::string first;
    std::string measured;
    for (const Json& event : answer.events) {
      const Json* name = event.find("gate");
      if (name == nullptr) continue;
      if (*name == Json("fill-level")) measured = event.find("measured")->print();
      const bool passed = *event.find("pass") == Json(true);
      if (!passed && first.empty()) first = *name->as_string();
    }
    const bool rechecked = answer.message().find("after compaction") != std::string::npos;
    if (answer.outcome() == "postponed" && !rechecked) {
      EXPECT_EQ(answer.code(), first) << answer.story();
    }
    if (answer.outcome() == "armed") {
      EXPECT_EQ(first, "") << answer.story();
    }
    if (GetParam().services == Services::none && answer.outcome() == "postponed") {
      // Where filling took long, the rotated segments are quiet by now and count as compressed.
      constexpr std::uint64_t kRotatedBytes = 64 * 1024;
      const auto space = figures(device->permanent());
      const std::uint64_t used = std::uint64_t{space.f_blocks - space.f_bfree} * space.f_frsize;
      EXPECT_LE(std::stoull(measured), used) << answer.story();
      EXPECT_GE(std::stoull(measured) + kRotatedBytes, used) << answer.story();
    }
  }

  /// What nobody but the level decides, when nothing else goes on.
  void expect_verdict_of_level(const Answer& answer) {
    const Case& wanted = GetParam();
    const bool fits = wanted.fill == Fill::limit_exactly || (wanted.fill == Fill::percent && wanted.percent <= 54);
    EXPECT_EQ(answer.outcome(), fits ? "armed" : "postponed") << answer.story();
    if (fits) return;
    const bool full = wanted.fill == Fill::every_byte || wanted.fill == Fill::every_inode || wanted.percent == 97 ||
                      (wanted.percent == 90 && wanted.reserved_percent > 0);
    EXPECT_EQ(answer.code(), full ? "no-space" : "fill-level") << answer.story();
  }

  std::unique_ptr<DeviceRig> device;
  std::vector<std::unique_ptr<LogService>> writers_;
  std::string filling_;
};

TEST_P(AdvisoryMatrix, EndsArmedOrPostponedAndLosesNothing) {
  const std::uint64_t last_line = write_rotated_log(device->permanent("log/security"), "events", 2, 3000);
  start_services();
  ASSERT_NO_FATAL_FAILURE(fill());
  const Fingerprint configuration = device->protected_files();
  const std::string root = device->run({"status"}).text("permanent/root_sha256");
  const std::string slot = device->slot_hash('B');

  const Answer answer = device->install(Material::get().bundle("2.0.0"));
  const bool armed = answer.outcome() == "armed";
  EXPECT_TRUE((armed && answer.exit_status == 0) || (answer.outcome() == "postponed" && answer.exit_status == 3))
      << answer.story();
  expect_reason_of_forecast(answer);
  if (GetParam().services == Services::none) expect_verdict_of_level(answer);
  if (!armed) {
    EXPECT_EQ(device->slot_hash('B'), slot) << "a postponed update has touched its target";
  } else {
    const Answer back = device->run({"rollback"});
    EXPECT_EQ(back.outcome(), "rolled-back") << back.story();
  }
  for (const auto& writer : writers_) {
    writer->stop();
    EXPECT_EQ(writer->problem(), "") << answer.story();
  }
  EXPECT_EQ(log_problem(device->permanent("log/security"), "events", 1, last_line), "");
  EXPECT_EQ(difference(configuration, device->protected_files()), "");
  EXPECT_EQ(device->run({"status"}).text("permanent/root_sha256"), root);
  EXPECT_FALSE(std::filesystem::exists(device->permanent(".slotkeeper/reserve"))) << answer.story();
}

INSTANTIATE_TEST_SUITE_P(Konnektor, AdvisoryMatrix, testing::ValuesIn(all_cases()),
                         [](const testing::TestParamInfo<Case>& instance) { return instance.param.name(); });

}  // namespace
}  // namespace slotkeeper::test
