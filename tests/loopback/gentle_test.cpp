// Installs that share the device with what else runs on it: a limit, a low priority, pauses.
#include <algorithm>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/loopback/device_rig.hpp"
#include "tests/support/file_contents.hpp"

namespace slotkeeper::test {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

class Gentle : public testing::Test {
 protected:
  void SetUp() override {
    if (!may_mount()) GTEST_SKIP() << "loop devices and mounts need root";
    device = std::make_unique<DeviceRig>();
  }
  void configure(const std::string& install) const {
    device->set_configuration(device->configuration() + "[install]\n" + install);
  }
  void expect_armed(const Answer& answer) const {
    ASSERT_EQ(answer.outcome(), "armed") << answer.story();
    EXPECT_TRUE(device->holds('B', "2.0.0"));
  }
  [[nodiscard]] static std::string bundle() { return Material::get().bundle("2.0.0"); }

  /// "nice" of every thread of a process.
  [[nodiscard]] static std::vector<std::string> nice_of_threads(pid_t process) {
    std::vector<std::string> found;
    for (const auto& thread : std::filesystem::directory_iterator("/proc/" + std::to_string(process) + "/task")) {
      std::ifstream stat(thread.path() / "stat");
      const std::string text(std::istreambuf_iterator<char>(stat), {});
      std::istringstream fields(text.substr(text.rfind(')') + 2));
      std::string field;
      for (int i = 3; i <= 19; ++i) fields >> field;
      found.push_back(field);
    }
    return found;
  }

  std::unique_ptr<DeviceRig> device;
};

TEST_F(Gentle, WritesNoFasterThanItMay) {
  configure("max-write-rate = \"8 MiB\"\n");
  const auto began = Clock::now();
  const Answer answer = device->install(bundle());
  const auto took = Clock::now() - began;
  ASSERT_NO_FATAL_FAILURE(expect_armed(answer));
  const Json written = answer.at("staged/written_bytes");
  ASSERT_NE(written.as_integer(), nullptr);
  ASSERT_GT(*written.as_integer(), 4 << 20) << "too little for a rate";
  EXPECT_GE(took / 1ms, *written.as_integer() * 1000 / (8 << 20) - 100);
}

TEST_F(Gentle, EveryThreadHasTheLowPriorityWhileSlotsAreWritten) {
  configure("max-write-rate = \"4 MiB\"\nnice = 11\nionice = \"idle\"\n");
  write_file(device->path("hooks.d/quiesce"), "#!/bin/sh\ncut -d' ' -f19 /proc/self/stat; ionice\n", 0755);
  Program install(device->command({"install", bundle()}));
  ASSERT_TRUE(install.read_until(progress_of("stage", 4 << 20))) << install.finish().story();
  const auto while_staging = nice_of_threads(install.id());
  EXPECT_THAT(while_staging, testing::Contains("11"));
  // The watch over the permanent partition must come first when a flood comes.
  EXPECT_EQ(std::ranges::count(while_staging, "0"), 1) << testing::PrintToString(while_staging);
  const Answer answer = install.finish();
  ASSERT_NO_FATAL_FAILURE(expect_armed(answer));
  EXPECT_THAT(answer.text("hooks"), testing::HasSubstr("\"output\":\"0\\\\x0anone: prio 0\\\\x0a\"")) << answer.story();
}

TEST_F(Gentle, RestsInBetweenAndEndsAllTheSame) {
  configure("gentle = true\n");
  const Answer answer = device->install(bundle());
  ASSERT_NO_FATAL_FAILURE(expect_armed(answer));
  EXPECT_EQ(device->boot(), 'B');
  EXPECT_EQ(device->run({"recover"}).exit_status, 0);
  EXPECT_EQ(device->run({"confirm"}).outcome(), "confirmed");
}

TEST_F(Gentle, ACancelledOneEndsAtOnce) {
  configure("max-write-rate = \"1 MiB\"\n");
  Program install(device->command({"install", bundle()}));
  ASSERT_TRUE(install.read_until(progress_of("stage", 1 << 20))) << install.finish().story();
  const auto began = Clock::now();
  install.signal(SIGTERM);
  const Answer answer = install.finish();
  EXPECT_LT(Clock::now() - began, 5s);
  EXPECT_EQ(answer.exit_status, 130) << answer.story();
  EXPECT_FALSE(device->comes_up('B'));
}

}  // namespace
}  // namespace slotkeeper::test
