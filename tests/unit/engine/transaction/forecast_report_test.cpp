#include "engine/transaction/forecast_report.hpp"

#include <fstream>
#include <sstream>

#include <gtest/gtest.h>

#include "engine/cli/forecast_table.hpp"

namespace slotkeeper {
namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20U;

permanent::ClassTable classes() {
  using permanent::ClassKind;
  return {
      .rules = {{.name = "security", .kind = ClassKind::security_log, .match = {"log/security/**"}, .keep_days = 180},
                {.name = "system", .kind = ClassKind::log, .match = {"log/**"}, .keep_days = 180},
                {.name = "packages", .kind = ClassKind::disposable, .match = {"download/**"}, .keep_days = {}}}};
}

/// 60 MiB, of which 36 are used after compaction: 3.6 more than 54 %.
PreflightReport example() {
  PreflightReport report;
  const permanent::ClassTable table = classes();
  for (const char* name : {"security", "system", "packages", "config"}) report.compaction.inventory.classes[name];
  const auto add = [&](const std::string& path, std::uint64_t bytes) {
    permanent::Entry entry;
    entry.path = path;
    entry.rule = static_cast<std::uint32_t>(table.index_of(path));
    entry.kind = table.classify(path).kind;
    entry.status.links = 1;
    entry.status.size_bytes = entry.status.allocated_bytes = bytes;
    auto& totals = report.compaction.inventory.classes[table.classify(path).name];
    ++totals.files;
    ++totals.inodes;
    totals.bytes += bytes;
    report.compaction.inventory.entries.push_back(std::move(entry));
  };
  add("network/interfaces.conf", kMiB);
  add("log/security/security.log", 10 * kMiB);
  add("log/system/system.log", 2 * kMiB);
  add("log/system/system.log.1", 6 * kMiB);
  add("log/system/system.log.2", 7 * kMiB);
  add("download/3.4.9.skb", 8 * kMiB);
  const permanent::CompactionAction action{.entry = 5, .frees = {.bytes = 8 * kMiB, .inodes = 1}};
  report.compaction.actions.push_back(action);
  report.compaction.frees = action.frees;
  report.compaction.frees_by_class["packages"] = action.frees;
  report.write_rate = permanent::WriteRate{
      .device = 12'288, .blocks = 4'096, .logs = 3'000, .measured_over = std::chrono::milliseconds(2001)};
  report.forecast = permanent::make_forecast({
      .space = {.block_bytes = 4096,
                .capacity_bytes = 60 * kMiB,
                .free_bytes = 16 * kMiB,
                .available_bytes = 13 * kMiB,
                .inodes = 15360,
                .inodes_free = 14000},
      .reserved_bytes = 3 * kMiB,
      .reclaimable = report.compaction.frees,
      .rollback_reserve = {.bytes = 1'310'720, .inodes = 122},
      .event_reserve = permanent::kEventReserve,
      .migration_headroom = {.bytes = 1'179'648, .inodes = 120},
      .log_reserve_bytes = 2 * kMiB,
      .write_rate_bytes_per_s = report.write_rate->bytes_per_s(),
      .expected_duration_s = 35,
      .max_fill_percent = 54,
  });
  report.gates = report.forecast.gates;
  report.advice = permanent::advise(report.forecast, table, report.compaction);
  return report;
}

/// The example of the document, its line breaks and indentation taken out.
std::string documented() {
  std::ifstream file(SLOTKEEPER_SOURCE_DIR "/engine/DESIGN.md");
  std::stringstream text;
  text << file.rdbuf();
  const std::string all = text.str();
  const std::size_t begin = all.find("{\"capacity_bytes\"");
  const std::size_t end = all.find("\n```", begin);
  if (begin == std::string::npos || end == std::string::npos) return "";
  std::string example;
  std::istringstream lines(all.substr(begin, end - begin));
  for (std::string line; std::getline(lines, line);) example += line.substr(line.find_first_not_of(' '));
  return example;
}

TEST(ForecastMembers, AreAsDocumented) {
  EXPECT_EQ(Json(forecast_members(example(), classes())).print(), documented());
}

TEST(ForecastMembers, SayWhenNothingWasMeasuredAndNothingDecides) {
  PreflightReport report = example();
  report.write_rate.reset();
  report.gates.clear();
  report.advice = {};
  const Json members(forecast_members(report, classes()));
  EXPECT_TRUE(members.find("write_rate")->is_null());
  EXPECT_TRUE(members.find("decides")->is_null());
  EXPECT_TRUE(members.find("may_go")->as_array()->empty());
  EXPECT_TRUE(cli::verdict_lines(members).empty());
}

std::string joined(const std::vector<std::string>& lines) {
  std::string all;
  for (const std::string& line : lines) all += line + "\n";
  return all;
}

TEST(ForecastTable, ShowsClassesRoomAndNeed) {
  EXPECT_EQ(joined(cli::forecast_lines(Json(forecast_members(example(), classes())))), R"(Permanent partition
  CLASS         KIND          FILES     HOLDS  COMPACTION FREES
  config        config            1   1.0 MiB                 -
  packages      disposable        1   8.0 MiB           8.0 MiB
  security      security-log      1  10.0 MiB                 -
  system        log               3  15.0 MiB                 -
  (filesystem)                       10.0 MiB                 -

  ROOM                                                 BYTES  FILES
  capacity                                          60.0 MiB  15360
  used                                              44.0 MiB   1360
  reserved for root                                  3.0 MiB
  available                                         13.0 MiB  14000
  compaction frees                                   8.0 MiB      1
  available after compaction                        21.0 MiB  14001

  NEED
  reserve for a rollback                             1.2 MiB    122
  events of the update                              64.0 KiB      4
  log entries ([permanent] reserve)                  2.0 MiB
  migration of the configuration                     1.1 MiB    120
  writing of the live system: 12.0 KiB/s for 35 s  420.0 KiB
  at the peak                                        4.8 MiB    246

)");
}

TEST(ForecastTable, ThenSaysWhatDecidesAndWhatToDelete) {
  EXPECT_EQ(joined(cli::verdict_lines(Json(forecast_members(example(), classes())))), R"(
The gate 'fill-level' decides.
To pass, free 3.7 MiB. Export these, then delete them:
  FILE                     CLASS     FREES
  log/system/system.log.2  system  7.0 MiB
  in all 3 files with 15.0 MiB may be deleted
Must stay: security (security-log, 10.0 MiB), config (1.0 MiB)
)");
}

TEST(ForecastTable, FitsEightyColumns) {
  const Json members(forecast_members(example(), classes()));
  for (const std::string& line : cli::forecast_lines(members)) EXPECT_LE(line.size(), 80U) << line;
  for (const std::string& line : cli::verdict_lines(members)) EXPECT_LE(line.size(), 80U) << line;
}

TEST(ForecastTable, SurvivesMembersOfAnyShape) {
  for (const char* text : {"null", "3", "{}", R"({"decides": "no-space"})",
                           R"({"classes": {"x": 1}, "needs": [], "decides": "x", "to_free": {"bytes": 1},
                               "may_go": [1, null], "must_stay": {}})"}) {
    const Json json = Json::parse(text, 1 << 16).value();
    static_cast<void>(cli::forecast_lines(json));
    static_cast<void>(cli::verdict_lines(json));
  }
  EXPECT_TRUE(cli::forecast_lines(Json()).empty());
  EXPECT_TRUE(cli::verdict_lines(Json()).empty());
}

}  // namespace
}  // namespace slotkeeper
