// Lets every sync call of an install fail in turn, by strace in the kernel's place: install never reports success, and
// the device comes back to its original.
#include <iostream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/loopback/device_rig.hpp"

namespace slotkeeper::test {
namespace {

constexpr int kSyncsMax = 500;

std::string line_with(const std::string& text, const std::string& piece) {
  const std::size_t at = text.find(piece);
  if (at == std::string::npos) return {};
  const std::size_t begin = text.rfind('\n', at) + 1;  // npos + 1 is 0: the first line
  return text.substr(begin, text.find('\n', at) - begin);
}

/// An install under strace, which writes into the file `trace`.
std::vector<std::string> traced(const DeviceRig& device, const std::vector<std::string>& options) {
  // The leak checker wants ptrace for itself.
  std::vector<std::string> command = {
      "strace", "-f", "-y", "-qq", "-E", "ASAN_OPTIONS=detect_leaks=0", "-o", device.path("trace")};
  command.insert(command.end(), options.begin(), options.end());
  const auto words = device.command({"install", Material::get().bundle("2.0.0")});
  command.insert(command.end(), words.begin(), words.end());
  return command;
}

class SyncSweep : public testing::TestWithParam<const char*> {};

TEST_P(SyncSweep, InstallNeverSucceedsWhenASyncFails) {
  if (!may_mount()) GTEST_SKIP() << "loop devices and mounts need root";
  const std::string call = GetParam();
  DeviceRig device;
  const Fingerprint original = device.protected_files();
  const std::string slot_a = device.slot_hash('A');
  const std::string environment = contents_of(device.environment_file());
  int failed = 0;
  int in_memory_only = 0;
  for (int nth = 1; nth <= kSyncsMax; ++nth) {
    SCOPED_TRACE(call + " number " + std::to_string(nth));
    // strace counts for each thread by itself; the syncs of an install all come from one.
    const Answer answer = run_program(
        traced(device, {"-e", "trace=" + call, "-e", "inject=" + call + ":error=EIO:when=" + std::to_string(nth)}));
    const bool met = contents_of(device.path("trace")).find("(INJECTED)") != std::string::npos;
    if (!met) {
      EXPECT_EQ(answer.outcome(), "armed") << answer.story();
      break;
    }
    // libubootenv composes in a file in memory, and syncs that. There is no storage below it that could lose anything.
    const bool in_memory =
        line_with(contents_of(device.path("trace")), "(INJECTED)").find("/memfd:") != std::string::npos;
    if (in_memory) {
      ++in_memory_only;
    } else {
      ++failed;
      EXPECT_EQ(answer.exit_status, 5) << answer.story();
      EXPECT_TRUE(answer.code() == "sync-failed" || answer.code() == "switch-indeterminate") << answer.story();
      ASSERT_NE(answer.exit_status, 0) << answer.story();
    }
    if (answer.outcome() == "armed") {
      ASSERT_EQ(device.run({"rollback"}).exit_status, 0);
    }

    const char runs = device.boot();
    const Answer recovered = device.run({"recover"});
    ASSERT_EQ(recovered.exit_status, 0) << recovered.story();
    if (runs == 'B') {
      // Only an error inside the switch may leave the target first, and then it is whole.
      ASSERT_EQ(answer.code(), "switch-indeterminate");
      ASSERT_TRUE(device.holds('B', "2.0.0"));
      ASSERT_EQ(device.run({"rollback"}).exit_status, 0);
      ASSERT_EQ(device.boot(), 'A');
      ASSERT_EQ(device.run({"recover"}).exit_status, 0);
    } else if (device.variable("BOOT_ORDER").substr(0, 1) == "B") {
      ASSERT_EQ(device.run({"rollback"}).exit_status, 0);
    }
    ASSERT_EQ(device.slot_hash('A'), slot_a);
    ASSERT_EQ(difference(original, device.protected_files()), "");
    ASSERT_EQ(device.variable("BOOT_ORDER").substr(0, 1), "A");
    const Answer at_rest = device.run({"recover"});
    ASSERT_EQ(at_rest.outcome(), "nothing-to-do") << at_rest.story();
    // Slot B into the order again, so that every install has to take it out.
    write_file(device.environment_file(), environment);
  }
  std::cout << failed << " calls of " << call << " on storage were failed, " << in_memory_only << " on memory\n";
}

TEST(SyncCalls, AreThoseOfTheSweep) {
  if (!may_mount()) GTEST_SKIP() << "loop devices and mounts need root";
  DeviceRig device;
  const Answer answer = run_program(traced(device, {"-e", "trace=fsync,fdatasync,syncfs,sync_file_range,msync"}));
  ASSERT_EQ(answer.exit_status, 0) << answer.story();
  const std::string trace = contents_of(device.path("trace"));
  // Those that the sweep above does not let fail must not occur.
  EXPECT_EQ(trace.find("sync_file_range("), std::string::npos);
  EXPECT_EQ(trace.find("msync("), std::string::npos);
  EXPECT_NE(trace.find("sync("), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(Call, SyncSweep, testing::Values("fsync", "fdatasync", "syncfs"),
                         [](const auto& test) { return std::string(test.param); });

}  // namespace
}  // namespace slotkeeper::test
