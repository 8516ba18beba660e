#include "partitions/permanent/root_reserve.hpp"

#include <array>
#include <fstream>

#include <gtest/gtest.h>

#include "tests/support/permanent_partition.hpp"
#include "tests/support/unwrap.hpp"

namespace slotkeeper::permanent {
namespace {

TEST(RootReserve, IsWhatStatvfsTellsWhileThereIsRoomAndStaysWhatItIsWhenThereIsNone) {
  if (!test::may_mount()) GTEST_SKIP() << "loop devices and mounts need root";
  for (const unsigned int percent : {0U, 5U, 12U}) {
    test::PermanentPartition partition({.block_bytes = 4096, .reserved_percent = percent});
    const auto root = partition.open();
    const io::SpaceFacts space = test::ok(root->space());
    const auto reserved = test::ok(bytes_kept_back(partition.storage(), partition.path()));
    EXPECT_EQ(reserved, space.free_bytes - space.available_bytes);
    test::fill_bytes(partition.path());  // as root, so to the last block
    EXPECT_EQ(test::ok(root->space()).available_bytes, 0);
    EXPECT_EQ(test::ok(bytes_kept_back(partition.storage(), partition.path())), reserved);
  }
}

TEST(RootReserve, IsUnknownElsewhere) {
  EXPECT_EQ(test::ok(bytes_kept_back(*io::make_posix_storage(), "/proc")), std::nullopt);
  EXPECT_EQ(test::ok(bytes_kept_back(*io::make_posix_storage(), "/nowhere")), std::nullopt);
}

TEST(RootReserve, RefusesWhatIsNoSuperblock) {
  std::array<std::byte, 1024> bytes{};
  EXPECT_EQ(reserved_in_superblock(bytes), std::nullopt);
  bytes[0x38] = std::byte{0x53};
  bytes[0x39] = std::byte{0xEF};
  bytes[0x08] = std::byte{3};
  bytes[0x18] = std::byte{2};
  EXPECT_EQ(reserved_in_superblock(bytes), std::nullopt) << "clusters smaller than blocks";
  bytes[0x1C] = std::byte{4};
  EXPECT_EQ(reserved_in_superblock(bytes), (RootReserve{.bytes = 3U * 4096U, .cluster_bytes = 16384}));
  EXPECT_EQ(reserved_in_superblock(io::ConstBytes(bytes).first(1023)), std::nullopt);
  bytes[0x154] = std::byte{1};
  EXPECT_EQ(reserved_in_superblock(bytes)->bytes, 3U * 4096U) << "not with 64 bits";
  bytes[0x60] = std::byte{0x80};
  EXPECT_EQ(reserved_in_superblock(bytes)->bytes, (3U + (std::uint64_t{1} << 32U)) * 4096U);
  bytes[0x157] = std::byte{0xFF};
  EXPECT_EQ(reserved_in_superblock(bytes), std::nullopt) << "more than fits";
  bytes[0x18] = std::byte{7};
  EXPECT_EQ(reserved_in_superblock(bytes), std::nullopt);
}

}  // namespace
}  // namespace slotkeeper::permanent
