#include "partitions/permanent/forecast.hpp"

#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace slotkeeper::permanent {
namespace {

using testing::HasSubstr;

constexpr std::uint64_t kMebibyte = 1024 * 1024;
constexpr std::uint64_t kBlock = 4096;

/// A partition of 1000 blocks, of which `used_blocks` are used.
ForecastInput partition(std::uint64_t used_blocks) {
  ForecastInput input;
  input.space.block_bytes = kBlock;
  input.space.capacity_bytes = 1000 * kBlock;
  input.space.free_bytes = (1000 - used_blocks) * kBlock;
  input.space.available_bytes = input.space.free_bytes;
  input.space.inodes = 1000;
  input.space.inodes_free = 500;
  return input;
}

const Gate& bytes_gate(const Forecast& forecast) { return forecast.gates.at(0); }
const Gate& inodes_gate(const Forecast& forecast) { return forecast.gates.at(1); }
const Gate& fill_gate(const Forecast& forecast) { return forecast.gates.at(2); }
const Gate& storm_gate(const Forecast& forecast) { return forecast.gates.at(3); }

TEST(Forecast, FillGatePassesAtTheLimitAndNotOneBlockAbove) {
  const Forecast at_limit = make_forecast(partition(540));
  EXPECT_TRUE(fill_gate(at_limit).pass);
  EXPECT_EQ(fill_gate(at_limit).code, Errc::fill_level);
  EXPECT_EQ(fill_gate(at_limit).measured, 540 * kBlock);
  EXPECT_EQ(fill_gate(at_limit).limit, 540 * kBlock);
  const Forecast above = make_forecast(partition(541));
  EXPECT_FALSE(fill_gate(above).pass);
  EXPECT_EQ(fill_gate(above).measured, 541 * kBlock);
  EXPECT_THAT(fill_gate(above).message, HasSubstr("54.1 %"));
  EXPECT_THAT(fill_gate(above).message, HasSubstr("0.1 MiB more must be freed"));
}

TEST(Forecast, FillGateIsExactWhereThePercentageIsNoWholeByte) {
  ForecastInput input = partition(0);
  input.space.capacity_bytes = 1001;
  input.space.free_bytes = 1001 - 540;  // 540 * 100 = 54000 <= 54 * 1001 = 54054
  EXPECT_TRUE(fill_gate(make_forecast(input)).pass);
  input.space.free_bytes = 1001 - 541;  // 54100
  EXPECT_FALSE(fill_gate(make_forecast(input)).pass);
}

TEST(Forecast, FillGateDoesNotOverflow) {
  ForecastInput input = partition(0);
  input.space.capacity_bytes = std::numeric_limits<std::uint64_t>::max();
  input.space.free_bytes = input.space.capacity_bytes / 2;
  EXPECT_TRUE(fill_gate(make_forecast(input)).pass);
  input.max_fill_percent = 49;
  EXPECT_FALSE(fill_gate(make_forecast(input)).pass);
  input.max_fill_percent = 100;
  input.space.free_bytes = 0;
  EXPECT_TRUE(fill_gate(make_forecast(input)).pass);
}

TEST(Forecast, WhatCompactionFreesCountsForBothGates) {
  ForecastInput input = partition(600);
  input.reclaimable = {.bytes = 60 * kBlock, .inodes = 3};
  const Forecast forecast = make_forecast(input);
  EXPECT_TRUE(fill_gate(forecast).pass);
  EXPECT_EQ(forecast.used_after_bytes, 540 * kBlock);
  EXPECT_EQ(forecast.available.bytes, 460 * kBlock);
  EXPECT_EQ(forecast.available.inodes, 503);
}

TEST(Forecast, SumsEveryTerm) {
  ForecastInput input = partition(0);
  input.rollback_reserve = {.bytes = 1, .inodes = 10};
  input.event_reserve = {.bytes = 20, .inodes = 200};
  input.migration_headroom = {.bytes = 300, .inodes = 3000};
  input.log_reserve_bytes = 4000;
  input.write_rate_bytes_per_s = 50;
  input.expected_duration_s = 1000;
  const Forecast forecast = make_forecast(input);
  EXPECT_EQ(forecast.growth_bytes, 50'000);
  EXPECT_EQ(forecast.needed.bytes, 4'321);
  EXPECT_EQ(forecast.needed.inodes, 3210);
  EXPECT_EQ(forecast.peak.bytes, 54'321);
  EXPECT_EQ(forecast.peak.inodes, 3210);
}

TEST(Forecast, BytesGatePassesWithNothingToSpare) {
  ForecastInput input = partition(0);
  input.log_reserve_bytes = 1000 * kBlock;
  EXPECT_TRUE(bytes_gate(make_forecast(input)).pass);
  input.log_reserve_bytes += 1;
  const Forecast forecast = make_forecast(input);
  EXPECT_FALSE(bytes_gate(forecast).pass);
  EXPECT_EQ(bytes_gate(forecast).code, Errc::no_space);
  EXPECT_EQ(bytes_gate(forecast).unit, "bytes");
  EXPECT_THAT(bytes_gate(forecast).message, HasSubstr("0.1 MiB more must be freed"));  // never rounded down to 0
}

TEST(Forecast, BlocksReservedForRootDoNotCountAsAvailable) {
  ForecastInput input = partition(0);
  input.space.available_bytes = 10 * kBlock;
  input.log_reserve_bytes = 11 * kBlock;
  const Forecast forecast = make_forecast(input);
  EXPECT_FALSE(bytes_gate(forecast).pass);
  EXPECT_TRUE(fill_gate(forecast).pass);
}

TEST(Forecast, WhatCompactionFreesFirstFillsUpWhatRootHasTaken) {
  ForecastInput input = partition(980);
  input.reserved_bytes = 50 * kBlock;
  input.space.available_bytes = 0;
  input.reclaimable.bytes = 100 * kBlock;
  EXPECT_EQ(make_forecast(input).available.bytes, 70 * kBlock);
  input.reclaimable.bytes = 20 * kBlock;
  EXPECT_EQ(make_forecast(input).available.bytes, 0);
  input = partition(500);
  input.reserved_bytes = 50 * kBlock;
  input.space.available_bytes = 450 * kBlock;
  EXPECT_EQ(make_forecast(input).available.bytes, 450 * kBlock);
}

TEST(Forecast, InodesGate) {
  ForecastInput input = partition(0);
  input.rollback_reserve.inodes = 500;
  EXPECT_TRUE(inodes_gate(make_forecast(input)).pass);
  input.rollback_reserve.inodes = 503;
  const Forecast forecast = make_forecast(input);
  EXPECT_FALSE(inodes_gate(forecast).pass);
  EXPECT_EQ(inodes_gate(forecast).code, Errc::no_space);
  EXPECT_EQ(inodes_gate(forecast).unit, "inodes");
  EXPECT_THAT(inodes_gate(forecast).message, HasSubstr("3 more files must be deleted"));
}

TEST(Forecast, InodesGatePassesWhereTheFilesystemHasNoFixedNumber) {
  ForecastInput input = partition(0);
  input.space.inodes = 0;
  input.space.inodes_free = 0;
  input.rollback_reserve.inodes = 500;
  EXPECT_TRUE(inodes_gate(make_forecast(input)).pass);
}

TEST(Forecast, SaturatesInsteadOfOverflowing) {
  constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();
  ForecastInput input = partition(0);
  input.write_rate_bytes_per_s = kMost;
  input.expected_duration_s = kMost;
  input.rollback_reserve = {.bytes = kMost, .inodes = kMost};
  input.migration_headroom = {.bytes = kMost, .inodes = kMost};
  input.reclaimable = {.bytes = 2000 * kBlock, .inodes = 0};
  const Forecast forecast = make_forecast(input);
  EXPECT_EQ(forecast.growth_bytes, kMost);
  EXPECT_EQ(forecast.needed.bytes, kMost);
  EXPECT_EQ(forecast.peak.bytes, kMost);
  EXPECT_EQ(forecast.needed.inodes, kMost);
  EXPECT_EQ(forecast.used_after_bytes, 0U);
  EXPECT_FALSE(bytes_gate(forecast).pass);
  EXPECT_FALSE(inodes_gate(forecast).pass);
}

/// 400 blocks are left for 100 s once the update has what it needs: 4 blocks a second.
ForecastInput with_room_for_four_blocks_a_second() {
  ForecastInput input = partition(100);
  input.log_reserve_bytes = 500 * kBlock;
  input.expected_duration_s = 100;
  return input;
}

TEST(Forecast, StormGatePassesAtTheRateThatTheRoomBears) {
  ForecastInput input = with_room_for_four_blocks_a_second();
  input.write_rate_bytes_per_s = 4 * kBlock;
  const Forecast at_limit = make_forecast(input);
  EXPECT_EQ(storm_gate(at_limit).code, Errc::write_storm);
  EXPECT_EQ(storm_gate(at_limit).unit, "bytes/s");
  EXPECT_EQ(storm_gate(at_limit).measured, 4 * kBlock);
  EXPECT_EQ(storm_gate(at_limit).limit, 4 * kBlock);
  EXPECT_TRUE(storm_gate(at_limit).pass);
  EXPECT_TRUE(bytes_gate(at_limit).pass);
  EXPECT_EQ(at_limit.shortfall().bytes, 0);
  input.write_rate_bytes_per_s += 1;
  const Forecast above = make_forecast(input);
  EXPECT_FALSE(storm_gate(above).pass);
  EXPECT_TRUE(bytes_gate(above).pass) << "what others write is no matter of space";
  EXPECT_EQ(above.shortfall().bytes, 100);
  EXPECT_THAT(storm_gate(above).message, HasSubstr("16.1 KiB/s"));
  EXPECT_THAT(storm_gate(above).message, HasSubstr("16.0 KiB/s can be borne for the 100 s"));
}

TEST(Forecast, StormGateBearsNothingWhereTheUpdateItselfDoesNotFit) {
  ForecastInput input = with_room_for_four_blocks_a_second();
  input.log_reserve_bytes = 1000 * kBlock;
  EXPECT_TRUE(storm_gate(make_forecast(input)).pass) << "nothing is written";
  input.write_rate_bytes_per_s = 1;
  const Forecast forecast = make_forecast(input);
  EXPECT_FALSE(storm_gate(forecast).pass);
  EXPECT_FALSE(bytes_gate(forecast).pass);
  EXPECT_EQ(storm_gate(forecast).limit, 0);
  EXPECT_EQ(forecast.shortfall().bytes, 100 * kBlock + 100);
}

TEST(Forecast, WhatCompactionFreesBearsMoreWriting) {
  ForecastInput input = with_room_for_four_blocks_a_second();
  input.write_rate_bytes_per_s = 5 * kBlock;
  EXPECT_FALSE(storm_gate(make_forecast(input)).pass);
  input.reclaimable.bytes = 100 * kBlock;
  EXPECT_TRUE(storm_gate(make_forecast(input)).pass);
}

TEST(Forecast, SaysWhenTheRateWasNotMeasured) {
  ForecastInput input = with_room_for_four_blocks_a_second();
  input.write_rate_is_measured = false;
  EXPECT_TRUE(storm_gate(make_forecast(input)).pass);
  EXPECT_THAT(storm_gate(make_forecast(input)).message, HasSubstr("was not measured"));
}

TEST(Forecast, ShortfallIsTheLargestOfAllGates) {
  ForecastInput input = partition(600);    // 60 above the fill level
  input.log_reserve_bytes = 420 * kBlock;  // 20 more than there is
  input.rollback_reserve.inodes = 503;
  EXPECT_EQ(make_forecast(input).shortfall().bytes, 60 * kBlock);
  EXPECT_EQ(make_forecast(input).shortfall().inodes, 3);
  input.max_fill_percent = 100;
  EXPECT_EQ(make_forecast(input).shortfall().bytes, 20 * kBlock);
}

Entry file(std::string path, std::uint64_t size, ClassKind kind = ClassKind::config) {
  Entry entry;
  entry.path = std::move(path);
  entry.kind = kind;
  entry.status.size_bytes = size;
  entry.status.links = 1;
  return entry;
}

Entry directory(std::string path, ClassKind kind = ClassKind::config) {
  Entry entry = file(std::move(path), 0, kind);
  entry.status.type = io::EntryType::directory;
  return entry;
}

TEST(RollbackReserve, CountsProtectedEntriesAndTheDirectoriesOnTheWayToThem) {
  Inventory inventory;
  inventory.entries = {directory("."), file("a", 1), directory("log", ClassKind::log),
                       file("log/1", kMebibyte, ClassKind::log)};
  const Amount without_log = rollback_reserve_of(inventory, kBlock);
  inventory.entries.push_back(file("log/x", 2 * kBlock, ClassKind::state));
  const Amount with_state = rollback_reserve_of(inventory, kBlock);
  EXPECT_EQ(with_state.inodes, without_log.inodes + 2);  // the file, and "log" itself
  EXPECT_GE(with_state.bytes, without_log.bytes + 3 * kBlock);
  EXPECT_LT(with_state.bytes, kMebibyte);  // the log is not counted
}

TEST(RollbackReserve, AnotherNameOfAFileNeedsNothing) {
  Inventory inventory;
  inventory.entries = {directory("."), file("a", kMebibyte)};
  const Amount once = rollback_reserve_of(inventory, kBlock);
  Entry another = file("b", kMebibyte);
  another.hard_link = "a";
  inventory.entries.push_back(another);
  EXPECT_EQ(rollback_reserve_of(inventory, kBlock).bytes, once.bytes);
  EXPECT_EQ(rollback_reserve_of(inventory, kBlock).inodes, once.inodes);
}

TEST(MigrationHeadroom, IsASecondCopyOfTheConfigurationAlone) {
  Inventory inventory;
  inventory.entries = {file("a", kMebibyte), file("b", kMebibyte, ClassKind::state),
                       file("c", kMebibyte, ClassKind::log)};
  const Amount headroom = migration_headroom_of(inventory, kBlock);
  EXPECT_GE(headroom.bytes, kMebibyte);
  EXPECT_LT(headroom.bytes, 2 * kMebibyte);
}

}  // namespace
}  // namespace slotkeeper::permanent
