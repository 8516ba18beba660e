#include "partitions/permanent/forecast_advice.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace slotkeeper::permanent {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20U;

ClassTable classes() {
  return {
      .rules = {{.name = "security", .kind = ClassKind::security_log, .match = {"log/security/**"}, .keep_days = 180},
                {.name = "system", .kind = ClassKind::log, .match = {"log/**"}, .keep_days = 180},
                {.name = "packages", .kind = ClassKind::disposable, .match = {"download/**"}, .keep_days = {}}}};
}

class Advising : public testing::Test {
 protected:
  Advising() {
    for (const char* name : {"security", "system", "packages", "config"}) inventory.classes[name];
    input.space = {.block_bytes = 4096,
                   .capacity_bytes = 100 * kMiB,
                   .free_bytes = 30 * kMiB,
                   .available_bytes = 30 * kMiB,
                   .inodes = 1000,
                   .inodes_free = 900};
  }
  void add(const std::string& path, std::uint64_t bytes) {
    Entry entry;
    entry.path = path;
    const ClassTable table = classes();
    entry.rule = static_cast<std::uint32_t>(table.index_of(path));
    entry.kind = table.classify(path).kind;
    entry.status.links = 1;
    entry.status.size_bytes = entry.status.allocated_bytes = bytes;
    auto& totals = inventory.classes[table.classify(path).name];
    ++totals.files;
    totals.bytes += bytes;
    inventory.entries.push_back(std::move(entry));
  }
  void frees(const std::string& path, std::uint64_t bytes) {
    std::uint32_t entry = 0;
    while (inventory.entries.path(entry) != path) ++entry;
    plan.actions.push_back({.entry = entry, .frees = {.bytes = bytes, .inodes = 1}});
    plan.frees.bytes += bytes;
    ++plan.frees.inodes;
  }
  Advice advice() {
    input.reclaimable = plan.frees;
    return advise(make_forecast(input), classes(), plan);
  }

  ForecastInput input;  // 70 MiB of 100 used: 16 above what 54 % allows
  CompactionPlan plan;
  Inventory& inventory = plan.inventory;
};

TEST_F(Advising, NamesTheLargestLogsAndNoMoreThanItTakes) {
  add("log/small", kMiB);
  add("log/large", 12 * kMiB);
  add("log/middle", 5 * kMiB);
  add("log/security/security.log", 40 * kMiB);
  add("net.conf", 12 * kMiB);
  const Advice found = advice();
  EXPECT_EQ(found.to_free.bytes, 16 * kMiB);
  EXPECT_TRUE(found.is_enough());
  EXPECT_THAT(found.files, ElementsAre(RemovableFile{"log/large", "system", 12 * kMiB},
                                       RemovableFile{"log/middle", "system", 5 * kMiB}));
  EXPECT_EQ(found.removable.bytes, 18 * kMiB);
  EXPECT_EQ(found.removable.inodes, 3);
  EXPECT_EQ(sentence_of(found),
            "to pass, free 16.0 MiB: export and delete log/large (system, 12.0 MiB), log/middle (system, 5.0 MiB); "
            "must stay: security (security-log, 40.0 MiB), config (12.0 MiB)");
}

TEST_F(Advising, LeavesOutWhatCompactionFreesAnyway) {
  add("download/old.skb", 6 * kMiB);
  frees("download/old.skb", 6 * kMiB);
  add("log/system.log.1", 30 * kMiB);
  frees("log/system.log.1", 5 * kMiB);  // compressed: the rest may still be deleted
  const Advice found = advice();
  EXPECT_EQ(found.to_free.bytes, 5 * kMiB);
  EXPECT_THAT(found.files, ElementsAre(RemovableFile{"log/system.log.1", "system", 25 * kMiB}));
}

TEST_F(Advising, SaysWhenDeletingIsNotEnough) {
  add("log/system.log", kMiB);
  add("log/security/security.log", 40 * kMiB);
  EXPECT_FALSE(advice().is_enough());
  EXPECT_THAT(sentence_of(advice()), HasSubstr("is not enough"));
  inventory.entries = {};
  EXPECT_THAT(sentence_of(advice()), HasSubstr("no logs or packages left"));
}

TEST_F(Advising, CountsFilesWhereInodesAreShort) {
  input.max_fill_percent = 100;
  input.space.inodes_free = 10;
  input.rollback_reserve.inodes = 20;
  for (int i = 0; i < 12; ++i) add("log/" + std::to_string(i), 4096);
  const Advice found = advice();
  EXPECT_EQ(found.to_free.bytes, 0);
  EXPECT_EQ(found.to_free.inodes, 10);
  EXPECT_EQ(found.files.size(), kAdvisedFilesMax);
  EXPECT_TRUE(found.is_enough());
  EXPECT_THAT(sentence_of(found), HasSubstr("free 10 files: export and delete log/0 (system, 4 KiB), "));
  EXPECT_THAT(sentence_of(found), HasSubstr(" and smaller ones"));
}

TEST_F(Advising, IsSilentWhereTheGatesPass) {
  add("log/large", 12 * kMiB);
  input.max_fill_percent = 90;
  EXPECT_EQ(sentence_of(advice()), "");
  EXPECT_TRUE(advice().files.empty());
}

}  // namespace
}  // namespace slotkeeper::permanent
