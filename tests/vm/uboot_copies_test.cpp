// What the bootloader makes of the two copies of its environment, one or both of them damaged, and where the numbers of
// the copies begin anew: on the machine, with what Slotkeeper wrote.
#include <cstdint>
#include <fstream>

#include <gmock/gmock.h>

#include "partitions/digest.hpp"
#include "tests/support/fault_disk/image_files.hpp"
#include "tests/support/loop_device.hpp"
#include "tests/support/temporary_directory.hpp"
#include "tests/vm/machine_session.hpp"
#include "tests/vm/material.hpp"

namespace slotkeeper::test {
namespace {

constexpr std::size_t kCopyBytes = 16384;
constexpr std::uint64_t kCopyOffsets[] = {0, 512 * 1024};  ///< as bootloaders/uboot/bootloader.bash has them
constexpr std::size_t kFlags = 4;                          ///< the byte behind the CRC, which does not cover it

class UbootOnMachine : public testing::Test {
 protected:
  void SetUp() override {
    if (!may_mount()) GTEST_SKIP() << "needs root";
    material_ = &Material::of("uboot");
    copy_image(material_->disk(DiskState::armed_good), disk_);
  }

  [[nodiscard]] std::uint64_t place_of(std::size_t copy) const {
    return material_->partition("environment").offset_bytes + kCopyOffsets[copy];
  }
  [[nodiscard]] std::string read_copy(const std::string& disk, std::size_t copy) const {
    std::ifstream file(disk, std::ios::binary);
    file.seekg(static_cast<std::streamoff>(place_of(copy)));
    std::string bytes(kCopyBytes, '\0');
    if (!file.read(bytes.data(), kCopyBytes)) throw std::runtime_error("the environment cannot be read");
    return bytes;
  }
  void write_copy(std::size_t copy, const std::string& bytes) const {
    std::fstream file(disk_, std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(static_cast<std::streamoff>(place_of(copy)));
    if (!file.write(bytes.data(), static_cast<std::streamsize>(bytes.size())).flush()) {
      throw std::runtime_error("the environment cannot be written");
    }
  }
  void damage_copy(std::size_t copy) const {
    std::string bytes = read_copy(disk_, copy);
    bytes[100] = static_cast<char>(bytes[100] ^ 1);
    write_copy(copy, bytes);
  }
  [[nodiscard]] bool is_valid(std::size_t copy) const {
    const std::string bytes = read_copy(disk_, copy);
    std::uint32_t stored = 0;
    for (std::size_t i = 4; i-- > 0;) stored = stored << 8U | static_cast<unsigned char>(bytes[i]);
    return stored == crc32(io::as_bytes(bytes).subspan(kFlags + 1));
  }

  TemporaryDirectory folder_;
  std::string disk_ = folder_ / "disk";
  const Material* material_ = nullptr;
};

TEST_F(UbootOnMachine, WithOneCopyDamagedTheTrialGoesOnAndTheCopyIsMended) {
  damage_copy(1);
  MachineSession session(*material_, {.file = disk_});
  session.machine().wait_for("Board: environment copy 1 (valid: 1 )", kBootLimit);
  ASSERT_EQ(session.wait_until_ready(), 'B');
  EXPECT_EQ(session.last_result().at("outcome"), "confirmed");
  session.power_off();
  EXPECT_TRUE(is_valid(0));
  EXPECT_TRUE(is_valid(1));
}

TEST_F(UbootOnMachine, ADamagedCopyIsMendedWhereTheBootloaderWritesNothing) {
  for (const std::size_t copy : {std::size_t{0}, std::size_t{1}}) {
    copy_image(material_->disk(DiskState::provisioned), disk_);
    damage_copy(copy);
    ASSERT_FALSE(is_valid(copy));
    MachineSession session(*material_, {.file = disk_});
    ASSERT_EQ(session.wait_until_ready(), 'A');  // the confirmed slot is not counted
    session.power_off();
    EXPECT_TRUE(is_valid(0)) << "copy " << copy << " was damaged";
    EXPECT_TRUE(is_valid(1)) << "copy " << copy << " was damaged";
  }
}

TEST_F(UbootOnMachine, WithBothDamagedTheConfirmedSlotRuns) {
  damage_copy(0);
  damage_copy(1);
  MachineSession session(*material_, {.file = disk_});
  session.machine().wait_for("Slotkeeper: no slot has tries left or the environment is damaged", kBootLimit);
  ASSERT_EQ(session.wait_until_ready(), 'A');
  EXPECT_EQ(session.run("slotkeeper --json status"), 2);
  EXPECT_EQ(session.last_result().at("error").at("code"), "boot-environment") << session.last_result().dump();
  session.must("slotkeeper --json provision --force");
  session.restart();
  ASSERT_EQ(session.wait_until_ready(), 'A');
  session.must("slotkeeper --json status");
  session.power_off();
  EXPECT_TRUE(is_valid(0));
  EXPECT_TRUE(is_valid(1));
}

TEST_F(UbootOnMachine, NumberZeroIsNewerThan255) {
  std::string newer = read_copy(disk_, 0);
  std::string older = read_copy(material_->disk(DiskState::provisioned), 0);
  newer[kFlags] = '\0';
  older[kFlags] = '\xff';
  write_copy(0, newer);
  write_copy(1, older);
  MachineSession session(*material_, {.file = disk_});
  session.machine().wait_for("Board: environment copy 1 (valid: 1 2), order B A", kBootLimit);
  session.machine().wait_for("Board: environment saved with flags 01", kBootLimit);
  ASSERT_EQ(session.wait_until_ready(), 'B');
  session.power_off();
}

}  // namespace
}  // namespace slotkeeper::test
