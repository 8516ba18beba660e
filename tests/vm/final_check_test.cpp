// The check at the end sees what it is there for: a disk that is right passes, and each thing that is wrong is named.
#include "tests/vm/final_check.hpp"

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>

#include "tests/support/fault_disk/direct_loop.hpp"
#include "tests/support/fault_disk/image_files.hpp"
#include "tests/support/file_contents.hpp"
#include "tests/support/loop_device.hpp"
#include "tests/support/temporary_directory.hpp"

namespace slotkeeper::test {
namespace {

class FinalCheck : public testing::Test {
 protected:
  void SetUp() override {
    if (!may_mount()) GTEST_SKIP() << "needs root";
    material_ = &Material::of("uboot");
    copy_image(material_->disk(DiskState::provisioned), disk_);
  }

  /// Changes the permanent partition by a shell command that runs in it.
  void change(const std::string& command) {
    const PartitionPlace& place = material_->partition("permanent");
    const std::string image = folder_ / "image";
    extract_partition(disk_, place, image);
    {
      const DirectLoop loop(image, DirectLoop::Access::cached);
      const PlainMount mounted(loop.path(), folder_ / "mounted");
      ASSERT_EQ(std::system(("cd " + mounted.path() + " && " + command).c_str()), 0);
    }
    write_at(place.offset_bytes, contents_of(image));
  }
  void write_at(std::uint64_t offset, const std::string& bytes) {
    std::fstream file(disk_, std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(static_cast<std::streamoff>(offset));
    ASSERT_TRUE(file.write(bytes.data(), static_cast<std::streamsize>(bytes.size())).flush());
  }
  /// The last line that the log service wrote while the disk was provisioned.
  std::uint64_t last_line() {
    const std::string image = folder_ / "image";
    extract_partition(disk_, material_->partition("permanent"), image);
    const DirectLoop loop(image, DirectLoop::Access::cached);
    const PlainMount mounted(loop.path(), folder_ / "mounted");
    const std::string log = contents_of(mounted.path() + "/log/security/security.log");
    return std::stoull(log.substr(log.rfind('\n', log.size() - 2) + 1, 9));
  }
  [[nodiscard]] std::string problems(std::uint64_t lines) const {
    return describe(check_device(*material_, {.disk = disk_, .version = "3.5.0", .log_lines = lines}));
  }

  TemporaryDirectory folder_;
  std::string disk_ = folder_ / "disk";
  const Material* material_ = nullptr;
};

TEST_F(FinalCheck, NamesWhatIsWrongAndNothingElse) {
  using testing::HasSubstr;
  const std::uint64_t lines = last_line();
  EXPECT_EQ(problems(lines), "");
  EXPECT_THAT(problems(lines + 1), HasSubstr("log/security")) << "a line that was acknowledged is missing";

  change("chmod 0644 users/users.db");
  EXPECT_THAT(problems(lines), HasSubstr("users/users.db"));
  change("chmod 0600 users/users.db && setfattr -n user.schema -v 5 network/interfaces.conf");
  EXPECT_THAT(problems(lines), HasSubstr("network/interfaces.conf"));
  change("setfattr -n user.schema -v 4 network/interfaces.conf && touch terminals/new");
  EXPECT_THAT(problems(lines), HasSubstr("terminals/new"));
  change("rm terminals/new && sed -i 5d log/system/system.log.2");
  EXPECT_THAT(problems(lines), HasSubstr("log/system"));
}

TEST_F(FinalCheck, SeesOneByteOfASlot) {
  const PartitionPlace& slot = material_->partition("rootfs-a");
  write_at(slot.offset_bytes + 30'000'000, "x");
  EXPECT_THAT(problems(last_line()),
              testing::HasSubstr("slot A does not hold 3.5.0: they differ from byte 30000000 on"));
}

}  // namespace
}  // namespace slotkeeper::test
