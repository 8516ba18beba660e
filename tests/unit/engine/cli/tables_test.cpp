#include "engine/cli/tables.hpp"

#include <gtest/gtest.h>

#include "engine/cli/figures.hpp"

namespace slotkeeper::cli {
namespace {

JsonObject object_of(std::string_view text) { return *Json::parse(text, 1 << 16).value().as_object(); }

std::string joined(const std::vector<std::string>& lines) {
  std::string all;
  for (const std::string& line : lines) all += line + "\n";
  return all;
}

TEST(StatusTable, PutsTheVerdictFirstAndAlignsTheRest) {
  const JsonObject status = object_of(R"({
    "slots": {
      "A": {"version": "3.5.0", "health": "good", "booted": true, "primary": false, "tries_left": 3,
            "manifest_sha256": null, "baseline": "adopted"},
      "B": {"version": "3.5.1", "health": "unknown", "booted": false, "primary": true, "tries_left": 3,
            "manifest_sha256": "0123456789abcdef0123456789abcdef", "baseline": "bundle"}},
    "transaction": {"id": "01234567-89ab-4cde-8f01-23456789abcd", "state": "armed", "target": "B", "version": "3.5.1"},
    "permanent": {"path": "/etc/conf.d/conf.d-permanent", "capacity_bytes": 62914560, "used_bytes": 33973862,
                  "fill_percent": 54, "inodes": 16384, "inodes_used": 1203,
                  "classes": {"config": {"files": 120, "bytes": 1258291}, "system": {"files": 7, "bytes": 512}},
                  "root_sha256": "fedcba9876543210fedcba9876543210"},
    "weaker": ["the baseline of slot A was adopted as found; only a factory bundle proves what should be there"]})");
  EXPECT_EQ(joined(table_of("status", status)),
            "Slot A runs version 3.5.0; an update to version 3.5.1 in slot B is armed.\n"
            "\n"
            "SLOT  VERSION  HEALTH   RUNS  NEXT  TRIES  BASELINE  MANIFEST\n"
            "A     3.5.0    good     yes   no        3  adopted   -\n"
            "B     3.5.1    unknown  no    yes       3  bundle    0123456789abcdef\n"
            "\n"
            "Transaction 01234567-89ab-4cde-8f01-23456789abcd\n"
            "\n"
            "Permanent partition /etc/conf.d/conf.d-permanent\n"
            "  54 % full: 32.3 MiB of 60.0 MiB, 1203 of 16384 inodes\n"
            "  configuration checksum fedcba9876543210\n"
            "  CLASS   FILES     SIZE\n"
            "  config    120  1.1 MiB\n"
            "  system      7    512 B\n"
            "\n"
            "Weaker on this device:\n"
            "  - the baseline of slot A was adopted as found; only a factory bundle proves\n"
            "    what should be there\n");
}

TEST(StatusTable, SaysWhenNothingIsUnderWay) {
  const JsonObject status = object_of(R"({"slots": {"B": {"version": null, "booted": true}}, "transaction": null})");
  EXPECT_EQ(table_of("status", status).front(), "Slot B runs; no update is under way.");
}

TEST(StatusTable, SurvivesMembersOfAnyShape) {
  for (const char* text : {R"({"slots": 3, "transaction": [], "permanent": "x", "weaker": {}})",
                           R"({"slots": {"A": 1}, "permanent": {"classes": {"x": null}}, "weaker": [1, null]})"})
    EXPECT_FALSE(table_of("status", object_of(text)).empty());
  EXPECT_TRUE(table_of("status", {}).empty());  // it failed; the error says the rest
}

TEST(HistoryTable, ListsTransactionsAsTheyCome) {
  const JsonObject history = object_of(R"({"transactions": [
    {"id": "x", "outcome": "rolled-back", "ended": "2026-11-24T02:03:04Z", "from": "3.5.0", "to": "3.5.1",
     "code": "health"},
    {"id": null, "outcome": "confirmed", "ended": "2026-10-01T00:00:00Z", "from": "", "to": "3.5.0"}]})");
  EXPECT_EQ(joined(table_of("history", history)),
            "ENDED                 OUTCOME      FROM   TO     REASON\n"
            "2026-11-24T02:03:04Z  rolled-back  3.5.0  3.5.1  health\n"
            "2026-10-01T00:00:00Z  confirmed    -      3.5.0\n");
  EXPECT_EQ(joined(table_of("history", object_of(R"({"transactions": []})"))), "No transaction yet.\n");
}

TEST(Tables, AreForStatusAndHistoryOnly) {
  EXPECT_TRUE(table_of("install", object_of(R"({"slots": {}, "transactions": []})")).empty());
}

TEST(FormatBytes, UsesTheLargestUnitThatLeavesAWholePart) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(1023), "1023 B");
  EXPECT_EQ(format_bytes(1024), "1.0 KiB");
  EXPECT_EQ(format_bytes(1536), "1.5 KiB");
  EXPECT_EQ(format_bytes(1048575), "1023.9 KiB");
  EXPECT_EQ(format_bytes(1048576), "1.0 MiB");
  EXPECT_EQ(format_bytes(5ull << 40), "5.0 TiB");
  EXPECT_EQ(format_bytes(~std::uint64_t{0}), "16777215.9 TiB");
}

TEST(FormatTimeLeft, CountsHoursOnlyWhenThereAreAny) {
  using std::chrono::seconds;
  EXPECT_EQ(format_time_left(seconds(0)), "0:00");
  EXPECT_EQ(format_time_left(seconds(63)), "1:03");
  EXPECT_EQ(format_time_left(seconds(3723)), "1:02:03");
}

TEST(PercentOf, IsHundredOnlyAtTheEndAndNeverOverflows) {
  EXPECT_EQ(percent_of(0, 0), 100u);
  EXPECT_EQ(percent_of(0, 10), 0u);
  EXPECT_EQ(percent_of(999, 1000), 99u);
  EXPECT_EQ(percent_of(1000, 1000), 100u);
  EXPECT_EQ(percent_of(~std::uint64_t{0} / 2, ~std::uint64_t{0}), 50u);
}

TEST(Wrap, BreaksAtBlanksAndCountsCodePoints) {
  EXPECT_EQ(wrap("- ", "aa bb cc", 7), "- aa bb\n  cc");
  EXPECT_EQ(wrap("", "ää öö", 5), "ää öö");
  EXPECT_EQ(wrap("x ", "averylongword b", 6), "x averylongword\n  b");
  EXPECT_EQ(wrap("x ", "", 6), "x ");
}

}  // namespace
}  // namespace slotkeeper::cli
