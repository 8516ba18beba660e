// Names with every byte that a filesystem takes, as the program prints them: every line stays JSON, every name comes
// back byte for byte, and nothing that a terminal would obey reaches the text for people.
#include <filesystem>
#include <set>

#include <gtest/gtest.h>

#include "tests/loopback/device_rig.hpp"

namespace slotkeeper::test {
namespace {

/// One disposable file for each byte, and some in which several bytes meet.
std::set<std::string> make_odd_files(const DeviceRig& device) {
  std::set<std::string> names = {"\x1b[2J\x1b[31m",         "\\x41",         "\\",
                                 "\"quoted\", \"bytes\":1", "line\nbreak\r", "\xc3\xa9\xc3"};
  for (int byte = 1; byte < 256; ++byte) {
    if (byte != '/') names.insert(std::string("byte-") + static_cast<char>(byte));
  }
  for (const std::string& name : names) device.add_disposable(name, 100);
  return names;
}

TEST(OddNames, ComeBackByteForByteFromJson) {
  if (!may_mount()) GTEST_SKIP() << "loop devices and mounts need root";
  DeviceRig device;
  const std::set<std::string> made = make_odd_files(device);
  const Answer answer = device.run({"compact", "--dry-run"});
  ASSERT_EQ(answer.exit_status, 0) << answer.story();
  std::size_t lines = 0;
  for (const char byte : answer.output) lines += byte == '\n' ? 1 : 0;
  EXPECT_EQ(lines, answer.events.size()) << "a line is not JSON";
  const std::string prefix = "remove download/";
  std::set<std::string> printed;
  for (const Json& event : answer.events) {
    const Json* what = event.find("what");
    if (what == nullptr || what->as_string() == nullptr) continue;
    const auto raw = unescape_bytes(*what->as_string());
    ASSERT_TRUE(raw.has_value()) << *what->as_string();
    if (raw.assume_value().starts_with(prefix)) printed.insert(raw.assume_value().substr(prefix.size()));
  }
  for (const std::string& name : made) EXPECT_TRUE(printed.contains(name)) << escape_bytes(name);
}

TEST(OddNames, LeaveATerminalAlone) {
  if (!may_mount()) GTEST_SKIP() << "loop devices and mounts need root";
  DeviceRig device;
  make_odd_files(device);
  std::vector<std::string> command = device.command({"--verbose", "compact"});
  std::erase(command, "--json");
  const Answer answer = run_program(command);
  EXPECT_EQ(answer.exit_status, 0) << answer.story();
  for (const std::string& text : {answer.output, answer.diagnostics}) {
    for (const char byte : text) {
      EXPECT_TRUE(byte == '\n' || static_cast<unsigned char>(byte) >= 0x20) << static_cast<int>(byte);
      EXPECT_NE(byte, '\x7f');
    }
  }
  EXPECT_FALSE(std::filesystem::exists(device.permanent("download/byte-a")));
}

}  // namespace
}  // namespace slotkeeper::test
