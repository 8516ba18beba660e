// Partitions of the machine's disk answer with I/O errors in the middle of an update, each at the moment when it is
// used. The update ends as a failure, the device is switched off and on, and what holds after a power cut holds here.
#include <sstream>

#include <gmock/gmock.h>

#include "tests/support/fault_disk/fault_disk.hpp"
#include "tests/support/fault_disk/image_files.hpp"
#include "tests/support/loop_device.hpp"
#include "tests/support/temporary_directory.hpp"
#include "tests/vm/final_check.hpp"
#include "tests/vm/machine_session.hpp"
#include "tests/vm/material.hpp"

namespace slotkeeper::test {
namespace {

struct ErrorCase {
  const char* name;
  const char* partition;
  DiskCall call;
  const char* marker;          ///< on the console; from then on the partition answers with EIO
  const char* file = nullptr;  ///< only blocks of this file in it
};
constexpr ErrorCase kErrors[] = {
    {"TargetSlot", "rootfs-b", DiskCall::write, "\"phase\":\"stage\""},
    // Not what runs from it: programs whose pages cannot be read are killed.
    {"BootedSlot", "rootfs-a", DiskCall::read, "\"phase\":\"stage\"", "/vmlinuz"},
    {"PermanentPartition", "permanent", DiskCall::write, "\"phase\":\"compact\""},
    {"StateStore", "state", DiskCall::write, "\"phase\":\"snapshot\""},
    {"Environment", "environment", DiskCall::write, "\"phase\":\"check\""},
};

/// GRUB and systemd-boot keep theirs in files of the boot partition.
const PartitionPlace& partition_of(const Material& material, const ErrorCase& error) {
  const bool is_in_files = std::string(error.partition) == "environment" && material.bootloader() != "uboot";
  return material.partition(is_in_files ? "boot" : error.partition);
}

/// A piece from the middle of a file, in bytes of the filesystem image.
PartitionPlace piece_of(const std::string& image, const std::string& file) {
  std::istringstream list(run_tool({"debugfs", "-R", "blocks " + file, image}));
  std::vector<std::uint64_t> blocks;
  for (std::uint64_t block = 0; list >> block;) blocks.push_back(block);
  constexpr std::uint64_t kBlockBytes = 4096;  // as make-images has it
  return {.offset_bytes = blocks.at(blocks.size() / 2) * kBlockBytes, .size_bytes = 16 * kBlockBytes};
}

class DiskError : public testing::TestWithParam<std::tuple<const char*, ErrorCase>> {
 protected:
  void SetUp() override {
    if (!may_mount()) GTEST_SKIP() << "needs root";
  }
  void TearDown() override { tell_case(std::get<0>(GetParam())); }
};

TEST_P(DiskError, EndsTheUpdateAndLosesNothing) {
  const Material& material = Material::of(std::get<0>(GetParam()));
  const ErrorCase& error = std::get<1>(GetParam());
  const TemporaryDirectory folder;
  const std::string disk = folder / "disk";
  std::uint64_t acknowledged = 0;
  std::string story;
  {
    FaultDisk faulty({{.name = "disk", .image = material.disk(DiskState::provisioned)}});
    MachineSession session(material, {.file = faulty.file("disk"), .direct = true});
    session.wait_until_ready();
    session.machine().send(install_command("3.5.1"));
    session.machine().wait_for(error.marker, kCommandLimit);
    PartitionPlace place = partition_of(material, error);
    if (error.file != nullptr) {
      const PartitionPlace piece = piece_of(material.image("3.5.0"), error.file);
      place = {.offset_bytes = place.offset_bytes + piece.offset_bytes, .size_bytes = piece.size_bytes};
    }
    FaultRule rule;
    rule.action = FaultAction::error;
    rule.call = error.call;
    rule.from = place.offset_bytes;
    rule.to = place.offset_bytes + place.size_bytes;
    faulty.set_rules({rule});
    const std::string end = session.machine().wait_for("SK: done ", kCommandLimit);
    story = session.machine().story();
    EXPECT_THAT(end, testing::HasSubstr("SK: done 5")) << story;
    const nlohmann::json result = session.last_result();
    EXPECT_THAT(std::string(result.at("outcome")), testing::AnyOf("rolled-back", "failed")) << result.dump();
    EXPECT_NE(result.at("error"), nullptr);
    EXPECT_GE(faulty.counters().struck.at(0), 1U);
    session.machine().cut_power();
    acknowledged = session.acknowledged();
    faulty.heal();
    copy_image(faulty.backing_file("disk"), disk);
  }

  MachineSession session(material, {.file = disk});
  ASSERT_EQ(session.wait_until_ready(), 'A') << story << session.machine().story();
  EXPECT_GE(session.machine().last_number_after("SK: log starts behind ").value_or(0), acknowledged);
  session.must("slotkeeper --json status");
  const nlohmann::json status = session.last_result();
  EXPECT_EQ(status.at("transaction"), nullptr);
  EXPECT_EQ(status.at("slots").at("A").at("primary"), true);
  EXPECT_EQ(status.at("slots").at("A").at("health"), "good");
  session.must(install_command("3.5.1"));
  session.restart();
  ASSERT_EQ(session.wait_until_ready(), 'B') << session.machine().story();
  EXPECT_EQ(session.last_result().at("outcome"), "confirmed");
  session.power_off();
  const Violations violations = check_device(material, {.disk = disk,
                                                        .configuration_of = DiskState::provisioned,
                                                        .runs = 'B',
                                                        .version = "3.5.1",
                                                        .other_version = "3.5.0",
                                                        .log_lines = session.acknowledged()});
  EXPECT_TRUE(violations.empty()) << describe(violations) << story << session.machine().story();
}

std::string error_name(const testing::TestParamInfo<std::tuple<const char*, ErrorCase>>& info) {
  return std::get<1>(info.param).name;
}

INSTANTIATE_TEST_SUITE_P(Uboot, DiskError, testing::Combine(testing::Values("uboot"), testing::ValuesIn(kErrors)),
                         error_name);
INSTANTIATE_TEST_SUITE_P(Grub, DiskError, testing::Combine(testing::Values("grub"), testing::ValuesIn(kErrors)),
                         error_name);
INSTANTIATE_TEST_SUITE_P(SystemdBoot, DiskError,
                         testing::Combine(testing::Values("systemd-boot"), testing::ValuesIn(kErrors)), error_name);

}  // namespace
}  // namespace slotkeeper::test
