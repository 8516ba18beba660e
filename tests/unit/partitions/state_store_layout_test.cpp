#include "partitions/state_store_layout.hpp"

#include <algorithm>
#include <random>

#include <gtest/gtest.h>

namespace slotkeeper::store {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;
constexpr std::string_view kIdentifier = "3f6c1a52-0f7e-4b1c-9a55-8d6f0f1f2a10";

Superblock plan(std::uint64_t total_bytes) { return plan_layout(total_bytes, kIdentifier).value(); }

void put_crc(Block& block) {
  const std::uint32_t crc = crc32(io::ConstBytes(block).first(508));
  for (std::size_t i = 0; i < 4; ++i) block[508 + i] = static_cast<std::byte>(crc >> (8 * i));
}

TEST(StateStoreLayout, DividesSmallAndLargeStores) {
  for (const std::uint64_t total : {4 * kMiB, 4 * kMiB + 4096, 32 * kMiB, 1024 * kMiB}) {
    const Superblock superblock = plan(total);
    std::uint64_t end = 0;
    for (const Region& region : superblock.regions) {
      EXPECT_GE(region.offset, std::max<std::uint64_t>(end, kStoreBlockBytes)) << name_of(region.kind);
      end = region.offset + region.length;
    }
    EXPECT_LE(end, total - kStoreBlockBytes);
    EXPECT_GE(superblock.region(RegionKind::scratch).length, std::max<std::uint64_t>(kScratchMinBytes, total / 8));
    EXPECT_EQ(superblock.region(RegionKind::snapshot_first).length,
              superblock.region(RegionKind::snapshot_second).length);
    // The places that boot scripts know never move.
    EXPECT_EQ(superblock.region(RegionKind::last_confirmed).offset, 4096U);
  }
}

TEST(StateStoreLayout, RefusesSizesAndIdentifiersThatDoNotFit) {
  EXPECT_EQ(plan_layout(kStoreSizeMinBytes - 4096, kIdentifier).error().code, Errc::config);
  EXPECT_EQ(plan_layout(kStoreSizeMinBytes + 512, kIdentifier).error().code, Errc::config);
  EXPECT_EQ(plan_layout(kStoreSizeMinBytes, "").error().code, Errc::config);
  EXPECT_EQ(plan_layout(kStoreSizeMinBytes, "two words").error().code, Errc::config);
  EXPECT_EQ(plan_layout(kStoreSizeMinBytes, std::string(65, 'x')).error().code, Errc::config);
}

TEST(StateStoreLayout, SuperblockIsReadBackAndLiesInOneSector) {
  const Superblock superblock = plan(32 * kMiB);
  const Block block = encode_superblock(superblock);
  EXPECT_EQ(decode_superblock(block).value(), superblock);
  EXPECT_TRUE(std::all_of(block.begin() + 512, block.end(), [](std::byte b) { return b == std::byte{0}; }));
}

TEST(StateStoreLayout, EveryFlippedBitOfASuperblockIsNoticed) {
  const Block block = encode_superblock(plan(4 * kMiB));
  for (std::size_t bit = 0; bit < 512 * 8; ++bit) {
    Block damaged = block;
    damaged[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    const auto result = decode_superblock(damaged);
    ASSERT_FALSE(result.has_value()) << "bit " << bit;
    EXPECT_EQ(result.error().code, Errc::state_store) << "bit " << bit;
  }
}

TEST(StateStoreLayout, SuperblockTellsNothingFromGarbageFromForeign) {
  EXPECT_EQ(decode_superblock(Block{}).error().code, Errc::not_provisioned);
  Block garbage{};
  garbage[4095] = std::byte{1};
  EXPECT_EQ(decode_superblock(garbage).error().code, Errc::state_store);
  Block foreign = encode_superblock(plan(4 * kMiB));
  foreign[8] = std::byte{2};
  put_crc(foreign);
  EXPECT_EQ(decode_superblock(foreign).error().code, Errc::foreign_record);
}

TEST(StateStoreLayout, SuperblockWithARightChecksumButImpossibleFiguresIsRefused) {
  const Block block = encode_superblock(plan(4 * kMiB));
  const auto with_byte = [&](std::size_t offset, unsigned value) {
    Block changed = block;
    changed[offset] = static_cast<std::byte>(value);
    put_crc(changed);
    const auto result = decode_superblock(changed);
    return result.has_value() ? Errc::internal : result.error().code;
  };
  EXPECT_EQ(with_byte(12, 1), Errc::state_store) << "block size";
  EXPECT_EQ(with_byte(16, 1), Errc::state_store) << "total size that is no multiple of a block";
  EXPECT_EQ(with_byte(18, 0), Errc::state_store) << "total size below the least";
  EXPECT_EQ(with_byte(24, 17), Errc::state_store) << "too many regions";
  EXPECT_EQ(with_byte(24, 8), Errc::state_store) << "a region too few";
  EXPECT_EQ(with_byte(28, 65), Errc::state_store) << "identifier too long";
  EXPECT_EQ(with_byte(28, 0), Errc::state_store) << "no identifier";
  EXPECT_EQ(with_byte(96, 2), Errc::state_store) << "a kind twice";
  EXPECT_EQ(with_byte(96 + 8, 1), Errc::state_store) << "offset inside a block";
  EXPECT_EQ(with_byte(96 + 9, 0), Errc::state_store) << "over the superblock";
  EXPECT_EQ(with_byte(96 + 15, 0xFF), Errc::state_store) << "offset beyond everything";
  EXPECT_EQ(with_byte(96 + 23, 0xFF), Errc::state_store) << "length beyond everything";
  EXPECT_EQ(with_byte(96 + 24 + 9, 0x20), Errc::state_store) << "over its neighbour";
}

TEST(StateStoreLayout, RecordIsReadBackAndEveryFlippedBitIsNoticed) {
  const std::string payload = R"({"state":"staging","slot":"B"})";
  const RecordHeader header{.kind = RegionKind::facts,
                            .payload_bytes = static_cast<std::uint32_t>(payload.size()),
                            .generation = 7,
                            .previous = sha256(io::as_bytes("before"))};
  const std::vector<std::byte> units = encode_record(header, payload);
  ASSERT_EQ(units.size(), kStoreBlockBytes);
  const auto record = decode_record(units, RegionKind::facts);
  ASSERT_TRUE(record);
  EXPECT_EQ(record->payload, payload);
  EXPECT_EQ(record->header.generation, 7U);
  EXPECT_EQ(record->header.previous, header.previous);
  EXPECT_EQ(record->digest, sha256(io::ConstBytes(units).first(kRecordHeaderBytes + payload.size())));
  EXPECT_FALSE(decode_record(units, RegionKind::transaction)) << "another kind";
  for (std::size_t bit = 0; bit < (kRecordHeaderBytes + payload.size()) * 8; ++bit) {
    std::vector<std::byte> damaged = units;
    damaged[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    ASSERT_FALSE(decode_record(damaged, RegionKind::facts)) << "bit " << bit;
  }
}

TEST(StateStoreLayout, RecordLongerThanItsUnitsOrTheLimitIsNone) {
  const std::string payload(kRecordPayloadMaxBytes, 'x');
  RecordHeader header;
  header.payload_bytes = static_cast<std::uint32_t>(payload.size());
  std::vector<std::byte> units = encode_record(header, payload);
  EXPECT_EQ(units.size(), kRecordPayloadMaxBytes + kStoreBlockBytes);
  EXPECT_TRUE(decode_record(units, RegionKind::transaction));
  EXPECT_FALSE(decode_record(io::ConstBytes(units).first(kStoreBlockBytes), RegionKind::transaction));
  units[14] = std::byte{1};  // payload length + 65536
  EXPECT_FALSE(decode_record_header(units, RegionKind::transaction));
}

TEST(StateStoreLayout, EntryIsReadBackAndDamageIsNoticed) {
  const StoredEntry entry{.sequence = 42, .payload = std::string(kEntryPayloadMaxBytes, 'e')};
  const Block unit = encode_entry(RegionKind::outbox, entry);
  const auto found = decode_entry(unit, RegionKind::outbox);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->sequence, 42U);
  EXPECT_EQ(found->payload, entry.payload);
  EXPECT_FALSE(decode_entry(unit, RegionKind::history)) << "of the other ring";
  for (std::size_t i = 0; i < kEntryHeaderBytes + entry.payload.size(); ++i) {
    Block damaged = unit;
    damaged[i] ^= std::byte{0x10};
    ASSERT_FALSE(decode_entry(damaged, RegionKind::outbox)) << "byte " << i;
  }
}

TEST(StateStoreLayout, CountersThatCouldWrapAreRefused) {
  EXPECT_TRUE(decode_entry(encode_entry(RegionKind::outbox, {kCounterMax, "x"}), RegionKind::outbox));
  EXPECT_FALSE(decode_entry(encode_entry(RegionKind::outbox, {kCounterMax + 1, "x"}), RegionKind::outbox));
  EXPECT_FALSE(decode_entry(encode_entry(RegionKind::outbox, {0, "x"}), RegionKind::outbox));
  RecordHeader header;
  header.generation = kCounterMax + 1;
  EXPECT_FALSE(decode_record(encode_record(header, ""), RegionKind::transaction));
}

TEST(StateStoreLayout, SealIsReadBackAndMustFitItsArea) {
  const AreaSeal seal{.length_bytes = 5000, .digest = sha256(io::as_bytes("x")), .description = "{}"};
  const std::vector<std::byte> units = encode_seal(RegionKind::scratch, seal);
  const auto found = decode_seal(units, RegionKind::scratch, 5000);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->length_bytes, 5000U);
  EXPECT_EQ(found->digest, seal.digest);
  EXPECT_EQ(found->description, "{}");
  EXPECT_FALSE(decode_seal(units, RegionKind::scratch, 4999));
  EXPECT_FALSE(decode_seal(units, RegionKind::snapshot_first, 5000));
}

TEST(StateStoreLayout, LastConfirmedIsAUbootEnvironmentOfOneSector) {
  const Block block = encode_uboot_confirmed(SlotId::a);
  const std::uint32_t crc = crc32(io::ConstBytes(block).subspan(4, 508));
  EXPECT_EQ(std::to_integer<std::uint32_t>(block[0]) | std::to_integer<std::uint32_t>(block[1]) << 8 |
                std::to_integer<std::uint32_t>(block[2]) << 16 | std::to_integer<std::uint32_t>(block[3]) << 24,
            crc);
  EXPECT_EQ(io::as_text(io::ConstBytes(block).subspan(4, 24)), std::string_view("slotkeeper_confirmed=A\0\0", 24));
  EXPECT_EQ(decode_uboot_confirmed(block), SlotId::a);
  EXPECT_EQ(decode_uboot_confirmed(encode_uboot_confirmed(SlotId::b)), SlotId::b);
  EXPECT_FALSE(decode_uboot_confirmed(Block{}));
  Block damaged = block;
  damaged[500] = std::byte{1};
  EXPECT_FALSE(decode_uboot_confirmed(damaged));
}

TEST(StateStoreLayout, LastConfirmedIsThereOnceMoreWithAFlagsByte) {
  const Block block = encode_uboot_confirmed(SlotId::b);
  const io::ConstBytes second = io::ConstBytes(block).subspan(512, 512);
  const std::uint32_t crc = crc32(second.subspan(5));
  for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(std::to_integer<std::uint32_t>(second[i]), (crc >> (8 * i)) & 0xffU);
  EXPECT_EQ(io::as_text(second.subspan(5, 24)), std::string_view("slotkeeper_confirmed=B\0\0", 24));
}

TEST(StateStoreLayout, GrubBlocksDifferInTheirFirstSectorOnly) {
  const Block none = encode_grub_confirmed(std::nullopt);
  const Block a = encode_grub_confirmed(SlotId::a);
  EXPECT_TRUE(std::equal(none.begin() + 512, none.end(), a.begin() + 512));
  EXPECT_EQ(io::as_text(io::ConstBytes(a).first(49)), "# GRUB Environment Block\nslotkeeper_confirmed=A\n#");
  EXPECT_EQ(a[1023], std::byte{'#'});
  EXPECT_EQ(a[1024], std::byte{0});
  EXPECT_FALSE(decode_grub_confirmed(none));
  EXPECT_EQ(decode_grub_confirmed(a), SlotId::a);
  Block damaged = a;
  damaged[1000] = std::byte{'x'};
  EXPECT_FALSE(decode_grub_confirmed(damaged));
}

}  // namespace
}  // namespace slotkeeper::store
