// What the gates say about real partitions: filled to this and that, with and without blocks reserved for root, quiet
// and under a storm.
#include <filesystem>
#include <fstream>
#include <sys/statvfs.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/loopback/device_rig.hpp"
#include "tests/loopback/storm.hpp"

namespace slotkeeper::test {
namespace {

using testing::HasSubstr;

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20U;

struct Level {
  unsigned int percent;
  unsigned int reserved_percent;
  std::uint64_t blocks_above = 0;
};

void PrintTo(const Level& level, std::ostream* out) { *out << level.percent << " %"; }

Json gate_of(const Answer& answer, const std::string& name, const std::string& unit) {
  for (const Json& event : answer.events) {
    const Json* gate = event.find("gate");
    const Json* of_unit = event.find("unit");
    if (gate != nullptr && *gate == Json(name) && of_unit != nullptr && *of_unit == Json(unit)) return event;
  }
  return {};
}

bool passes(const Json& gate) { return gate.find("pass") != nullptr && *gate.find("pass") == Json(true); }
std::int64_t figure(const Json& gate, const char* name) {
  const Json* value = gate.find(name);
  return value != nullptr && value->as_integer() != nullptr ? *value->as_integer() : -1;
}

class FillLevel : public testing::TestWithParam<Level> {};

TEST_P(FillLevel, DecidesExactlyAndThePreflightSaysSo) {
  if (!may_mount()) GTEST_SKIP() << "loop devices and mounts need root";
  const Level level = GetParam();
  DeviceRig device;
  if (level.reserved_percent != 0) {
    run_tool({"tune2fs", "-m", std::to_string(level.reserved_percent), device.permanent_device()});
  }
  struct statvfs space {};
  ASSERT_EQ(::statvfs(device.permanent().c_str(), &space), 0);
  const std::uint64_t reserved_blocks = space.f_bfree - space.f_bavail;
  const std::uint64_t wanted = space.f_blocks * level.percent / 100 + level.blocks_above;
  // Blocks of the filesystem's own (extents, directories) come on top of the files', so the last ones come singly.
  for (int piece = 0; piece < 100; ++piece) {
    ASSERT_EQ(::statvfs(device.permanent().c_str(), &space), 0);
    const std::uint64_t used = space.f_blocks - space.f_bfree;
    if (used >= wanted) break;
    const std::uint64_t blocks = wanted - used > 16 ? wanted - used - 8 : 1;
    write_file(device.permanent("log/system/filler." + std::to_string(piece)),
               std::string(blocks * space.f_frsize, 'l'));
    run_tool({"sync", "--file-system", device.permanent()});
  }
  ASSERT_EQ(::statvfs(device.permanent().c_str(), &space), 0);
  ASSERT_EQ(space.f_blocks - space.f_bfree, wanted);

  const Fingerprint before = device.fingerprint();
  const Answer answer = device.run({"preflight", Material::get().bundle("2.0.0")});
  EXPECT_EQ(difference(before, device.fingerprint()), "");
  const std::int64_t used = static_cast<std::int64_t>(wanted * space.f_frsize);
  const Json fill = gate_of(answer, "fill-level", "bytes");
  const Json room = gate_of(answer, "no-space", "bytes");
  EXPECT_EQ(figure(fill, "measured"), used) << answer.story();
  EXPECT_EQ(passes(fill), wanted * 100 <= 54 * space.f_blocks);
  EXPECT_EQ(figure(room, "limit"), static_cast<std::int64_t>(space.f_bavail * space.f_frsize)) << answer.story();
  EXPECT_EQ(passes(room), figure(room, "measured") <= figure(room, "limit"));
  const bool both = passes(fill) && passes(room);
  EXPECT_EQ(answer.exit_status, both ? 0 : 3) << answer.story();
  EXPECT_EQ(answer.code(), both ? "" : passes(room) ? "fill-level" : "no-space");
  // The forecast's own figures agree with the filesystem's.
  EXPECT_EQ(answer.text("forecast/used_bytes"), std::to_string(used)) << answer.story();
  EXPECT_EQ(answer.text("forecast/reserved_bytes"), std::to_string(reserved_blocks * space.f_frsize));
  EXPECT_EQ(answer.text("forecast/decides"), answer.code());
  if (!both) {
    EXPECT_THAT(answer.output, HasSubstr("log/system/filler.0")) << "what to delete";
  }
}

std::string name_of_level(const testing::TestParamInfo<Level>& level) {
  return std::to_string(level.param.percent) + "PercentReserved" + std::to_string(level.param.reserved_percent) +
         (level.param.blocks_above != 0 ? "OneBlockAbove" : "");
}

INSTANTIATE_TEST_SUITE_P(OfThePermanentPartition, FillLevel,
                         testing::Values(Level{30, 0}, Level{50, 5}, Level{54, 0}, Level{54, 5}, Level{54, 0, 1},
                                         Level{55, 5}, Level{75, 0}, Level{90, 5}, Level{97, 0}, Level{97, 5},
                                         Level{100, 0}),
                         name_of_level);

/// What the forecast calls enough is enough: for the reserve, and for the watch after it.
TEST(JustEnoughRoom, IsEnoughToArm) {
  if (!may_mount()) GTEST_SKIP() << "loop devices and mounts need root";
  for (const unsigned int reserved_percent : {0U, 5U}) {
    SCOPED_TRACE(reserved_percent);
    DeviceRig device;
    device.edit_configuration("max-fill = 54", "max-fill = 100");
    run_tool({"tune2fs", "-m", std::to_string(reserved_percent), device.permanent_device()});
    Answer answer;
    for (int piece = 0; piece < 4; ++piece) {
      answer = device.run({"preflight", Material::get().bundle("2.0.0")});
      ASSERT_EQ(answer.exit_status, 0) << answer.story();
      const Json room = gate_of(answer, "no-space", "bytes");
      const std::int64_t spare = figure(room, "limit") - figure(room, "measured");
      if (spare < 16 * 1024) break;
      write_file(device.permanent("log/system/filler." + std::to_string(piece)),
                 std::string(static_cast<std::size_t>(spare) * 31 / 32 / 1024 * 1024, 'f'));
      run_tool({"sync", "--file-system", device.permanent()});
    }
    const Json room = gate_of(answer, "no-space", "bytes");
    EXPECT_LT(figure(room, "limit") - figure(room, "measured"), 64 * 1024);
    const Answer installed = device.install(Material::get().bundle("2.0.0"));
    EXPECT_EQ(installed.outcome(), "armed") << installed.story();
  }
}

class Storm : public testing::Test {
 protected:
  void SetUp() override {
    if (!may_mount()) GTEST_SKIP() << "loop devices and mounts need root";
    device = std::make_unique<DeviceRig>(RigSettings{.permanent_bytes = 48 * kMiB});
    device->edit_configuration("storm-probe = \"0s\"", "storm-probe = \"1s\"");
  }
  std::unique_ptr<DeviceRig> device;
};

TEST_F(Storm, AWriterThatWouldFillThePartitionPostponesTheUpdate) {
  // Leaves 9 MiB for the seconds that an update takes, much less than the writer wants.
  device->edit_configuration("reserve = \"256 KiB\"", "reserve = \"26 MiB\"");
  const std::string slot = device->slot_hash('B');
  const auto environment = device->environment();
  LogWriter writer(device->permanent(), "log/security/storm.log", 3 * kMiB);
  writer.wait_until_it_writes();
  const Answer answer = device->install(Material::get().bundle("2.0.0"));
  const WriterReport report = writer.stop();
  EXPECT_EQ(answer.exit_status, 3) << answer.story();
  EXPECT_EQ(answer.code(), "write-storm") << answer.story() << report.written_bytes << " bytes were written";
  EXPECT_EQ(answer.outcome(), "postponed");
  const Json gate = gate_of(answer, "write-storm", "bytes/s");
  EXPECT_GT(figure(gate, "measured"), figure(gate, "limit"));
  EXPECT_LT(figure(gate, "measured"), static_cast<std::int64_t>(12 * kMiB)) << answer.story();
  EXPECT_EQ(device->slot_hash('B'), slot);
  EXPECT_EQ(device->environment(), environment);
  EXPECT_FALSE(std::filesystem::exists(device->permanent(".slotkeeper/reserve")));
}

TEST_F(Storm, AWriterThatLeavesRoomDoesNot) {
  LogWriter writer(device->permanent(), "log/system/system.log", 20'000);
  const Answer answer = device->install(Material::get().bundle("2.0.0"));
  static_cast<void>(writer.stop());
  EXPECT_EQ(answer.exit_status, 0) << answer.story();
  const Json gate = gate_of(answer, "write-storm", "bytes/s");
  EXPECT_GT(figure(gate, "measured"), 0);
  EXPECT_TRUE(passes(gate));
}

TEST_F(Storm, OurOwnWritesAreNone) {
  // The second install comes right after one that wrote a snapshot and a reserve.
  ASSERT_EQ(device->install(Material::get().bundle("2.0.0")).outcome(), "armed");
  ASSERT_EQ(device->run({"rollback"}).outcome(), "rolled-back");
  const Answer answer = device->run({"preflight", Material::get().bundle("2.0.0")});
  EXPECT_EQ(answer.exit_status, 0) << answer.story();
  EXPECT_LT(figure(gate_of(answer, "write-storm", "bytes/s"), "measured"), 64 * 1024) << answer.story();
}

TEST_F(Storm, SwitchedOffItIsNotMeasured) {
  device->edit_configuration("storm-probe = \"1s\"", "storm-probe = \"0s\"");
  LogWriter writer(device->permanent(), "log/security/storm.log", 4 * kMiB);
  const Answer answer = device->run({"preflight", Material::get().bundle("2.0.0")});
  static_cast<void>(writer.stop());
  EXPECT_EQ(answer.exit_status, 0) << answer.story();
  const Json gate = gate_of(answer, "write-storm", "bytes/s");
  EXPECT_EQ(figure(gate, "measured"), 0);
  EXPECT_TRUE(passes(gate));
  EXPECT_TRUE(answer.at("forecast/write_rate").is_null());
}

TEST_F(Storm, WornStorageIsAGateAndItsAbsenceAWeakness) {
  const Answer status = device->run({"status"});
  EXPECT_THAT(status.output, HasSubstr("does not tell how worn it is"));
  run_tool({"mount", "-o", "remount,ro", device->permanent()});
  const Answer answer = device->install(Material::get().bundle("2.0.0"));
  run_tool({"mount", "-o", "remount,rw", device->permanent()});
  EXPECT_EQ(answer.exit_status, 3) << answer.story();
  EXPECT_EQ(answer.code(), "storage-worn");
  const Json gate = gate_of(answer, "storage-worn", "count");
  EXPECT_EQ(figure(gate, "measured"), 1);
  EXPECT_EQ(figure(gate, "limit"), 0);
  EXPECT_THAT(answer.message(), HasSubstr("is read-only"));
}

}  // namespace
}  // namespace slotkeeper::test
