#include "partitions/slot_table.hpp"

#include <gtest/gtest.h>

#include "tests/support/memory_storage.hpp"

namespace slotkeeper {
namespace {

using testing::Test;

class SlotTableOnMemory : public Test {
 protected:
  void SetUp() override {
    for (const char* path :
         {"/dev/boot-a", "/dev/root-a", "/dev/boot-b", "/dev/root-b", "/dev/permanent", "/dev/store", "/dev/else"}) {
      storage_.add_device(path, 1 << 20);
    }
    table_.a.volumes = {{.name = "boot", .device_path = "/dev/boot-a"},
                        {.name = "rootfs", .device_path = "/dev/root-a"}};
    table_.b.volumes = {{.name = "boot", .device_path = "/dev/boot-b"},
                        {.name = "rootfs", .device_path = "/dev/root-b"}};
    storage_.filesystem_of["/permanent"] = storage_.node("/dev/permanent").number;
  }

  void root_is(const std::string& path) { storage_.root = storage_.identify(path).value(); }
  [[nodiscard]] Result<SlotId> find(std::optional<SlotId> assumed = std::nullopt) {
    return find_booted_slot(storage_, table_, assumed);
  }
  [[nodiscard]] std::string refusal_of_booted(std::optional<SlotId> assumed = std::nullopt) {
    const auto result = find(assumed);
    if (result.has_value()) return "found " + std::string(name_of(result.value()));
    EXPECT_EQ(result.error().code, Errc::unknown_slot);
    return result.error().message;
  }
  [[nodiscard]] Result<std::vector<io::DeviceIdentity>> check(SlotId target = SlotId::b) {
    return check_target_is_free(storage_, table_, target, "/permanent", "/dev/store");
  }
  [[nodiscard]] std::string refusal_of_target() {
    const auto result = check();
    if (result.has_value()) return "free";
    EXPECT_EQ(result.error().code, Errc::wrong_state);
    return result.error().message;
  }

  test::MemoryStorage storage_;
  SlotTable table_;
};

bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

TEST_F(SlotTableOnMemory, DigestDependsOnEveryNameAndPath) {
  const Sha256 digest = table_.digest();
  EXPECT_EQ(table_.digest(), digest);
  SlotTable other_table = table_;
  other_table.b.volumes[1].device_path = "/dev/root-c";
  EXPECT_NE(other_table.digest(), digest);
  other_table = table_;
  other_table.a.volumes[0].name = "boots";
  EXPECT_NE(other_table.digest(), digest);
  other_table = table_;
  std::swap(other_table.a.volumes, other_table.b.volumes);
  EXPECT_NE(other_table.digest(), digest);
}

TEST_F(SlotTableOnMemory, FindsVolumesByName) {
  ASSERT_NE(table_.a.find("rootfs"), nullptr);
  EXPECT_EQ(table_.a.find("rootfs")->device_path, "/dev/root-a");
  EXPECT_EQ(table_.a.find("root"), nullptr);
}

TEST_F(SlotTableOnMemory, BootedSlotIsKnownWhenBothFactsAgree) {
  storage_.command_line = "ro slotkeeper.slot=A quiet\n";
  root_is("/dev/root-a");
  EXPECT_EQ(find().value(), SlotId::a);
  EXPECT_EQ(find(SlotId::a).value(), SlotId::a);
}

TEST_F(SlotTableOnMemory, OneFactIsEnough) {
  storage_.command_line = "slotkeeper.slot=B";
  root_is("/dev/else");
  EXPECT_EQ(find().value(), SlotId::b);
  storage_.command_line = "ro quiet";
  root_is("/dev/root-a");
  EXPECT_EQ(find().value(), SlotId::a);
}

TEST_F(SlotTableOnMemory, ContradictingFactsAreUnknownAndBothAreNamed) {
  storage_.command_line = "slotkeeper.slot=A";
  root_is("/dev/root-b");
  const std::string message = refusal_of_booted();
  EXPECT_TRUE(contains(message, "slotkeeper.slot=A")) << message;
  EXPECT_TRUE(contains(message, "/dev/root-b")) << message;
  EXPECT_FALSE(find(SlotId::a).has_value()) << "the operator cannot decide this either";
}

TEST_F(SlotTableOnMemory, SilenceIsUnknownUnlessTheOperatorFillsIn) {
  storage_.command_line = "ro";
  root_is("/dev/else");
  const std::string message = refusal_of_booted();
  EXPECT_TRUE(contains(message, "no slotkeeper.slot=")) << message;
  EXPECT_TRUE(contains(message, "neither slot")) << message;
  EXPECT_EQ(find(SlotId::b).value(), SlotId::b);
}

TEST_F(SlotTableOnMemory, TheOperatorCannotContradict) {
  storage_.command_line = "slotkeeper.slot=A";
  EXPECT_TRUE(contains(refusal_of_booted(SlotId::b), "--booted-slot says B"));
  storage_.command_line = "";
  root_is("/dev/boot-a");
  EXPECT_TRUE(contains(refusal_of_booted(SlotId::b), "--booted-slot says B"));
}

TEST_F(SlotTableOnMemory, BadAndContradictingParametersAreUnknown) {
  root_is("/dev/root-a");
  storage_.command_line = "slotkeeper.slot=A slotkeeper.slot=B";
  EXPECT_TRUE(contains(refusal_of_booted(), "slotkeeper.slot=A and slotkeeper.slot=B"));
  storage_.command_line = "slotkeeper.slot=C";
  EXPECT_TRUE(contains(refusal_of_booted(), "slotkeeper.slot=C"));
  storage_.command_line = "slotkeeper.slot=";
  EXPECT_TRUE(contains(refusal_of_booted(), "neither A nor B"));
  storage_.command_line = "slotkeeper.slot=A slotkeeper.slot=A xslotkeeper.slot=B";
  EXPECT_EQ(find().value(), SlotId::a);
}

TEST_F(SlotTableOnMemory, ARootDeviceOfBothSlotsIsUnknown) {
  table_.b.volumes[1].device_path = "/dev/root-a";
  root_is("/dev/root-a");
  EXPECT_TRUE(contains(refusal_of_booted(), "both slots"));
}

TEST_F(SlotTableOnMemory, AMissingVolumeDoesNotHideTheBootedSlot) {
  table_.a.volumes[0].device_path = "/dev/missing";
  root_is("/dev/root-a");
  EXPECT_EQ(find().value(), SlotId::a);
}

TEST_F(SlotTableOnMemory, AFreeTargetPasses) {
  EXPECT_TRUE(check(SlotId::a).has_value());
  EXPECT_TRUE(check(SlotId::b).has_value());
}

TEST_F(SlotTableOnMemory, AHeldTargetIsRefused) {
  storage_.holders["/dev/root-b"] = "mounted at /mnt";
  const std::string message = refusal_of_target();
  EXPECT_TRUE(contains(message, "volume rootfs of slot B (/dev/root-b)")) << message;
  EXPECT_TRUE(contains(message, "mounted at /mnt")) << message;
}

TEST_F(SlotTableOnMemory, ATargetOnTheDeviceOfABootedVolumeIsRefused) {
  storage_.backing["/dev/root-b"] = storage_.identify("/dev/boot-a").value().backing;
  EXPECT_TRUE(contains(refusal_of_target(), "volume boot of slot A"));
}

TEST_F(SlotTableOnMemory, ATargetOnTheStateStoreIsRefused) {
  storage_.backing["/dev/boot-b"] = storage_.identify("/dev/store").value().backing;
  EXPECT_TRUE(contains(refusal_of_target(), "the state store /dev/store"));
}

TEST_F(SlotTableOnMemory, ATargetThatIsThePermanentPartitionIsRefused) {
  table_.b.volumes[1].device_path = "/dev/permanent";
  EXPECT_TRUE(contains(refusal_of_target(), "the permanent partition /permanent"));
}

TEST_F(SlotTableOnMemory, ATargetBelowThePermanentPartitionIsRefused) {
  storage_.filesystem_of["/permanent"] = 999;  // a number that is no device's, as btrfs has it
  io::Mount mount;
  mount.mount_point = "/permanent";
  mount.source = "/dev/permanent";
  mount.device = 999;
  storage_.mount_table = {mount};
  EXPECT_EQ(refusal_of_target(), "free");
  storage_.backing["/dev/permanent"] = storage_.identify("/dev/root-b").value().backing;
  EXPECT_TRUE(contains(refusal_of_target(), "the permanent partition /permanent"));
}

TEST_F(SlotTableOnMemory, TwoVolumesOfTheTargetOnOneDeviceAreRefused) {
  table_.b.volumes[0].device_path = "/dev/root-b";
  EXPECT_TRUE(contains(refusal_of_target(), "volume boot of slot B"));
}

TEST_F(SlotTableOnMemory, AMissingTargetIsAnError) {
  table_.b.volumes[0].device_path = "/dev/missing";
  const auto result = check();
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().code, Errc::io_error);
  EXPECT_TRUE(contains(result.error().message, "volume boot of slot B")) << result.error().message;
}

}  // namespace
}  // namespace slotkeeper
