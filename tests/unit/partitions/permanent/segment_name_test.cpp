#include "partitions/permanent/segment_name.hpp"

#include <gtest/gtest.h>

namespace slotkeeper::permanent {
namespace {

std::string active_of(const std::string& name) {
  const auto found = understand_segment(name);
  return found ? found->active : "-";
}

TEST(SegmentName, FindsTheMarkAndTheActiveFile) {
  const std::string archived = "system@0123456789abcdef0123456789abcdef-0000000000000001-0005f0a1b2c3d4e5.journal";
  const std::pair<std::string, std::string> cases[] = {
      {"system.log.1", "system.log"},
      {"system.log.12345", "system.log"},
      {"system.log.2.zst", "system.log"},
      {"system.log.2.gz", "system.log"},
      {"messages.1.xz", "messages"},
      {"system-3.log", "system.log"},
      {"system.3.log", "system.log"},
      {"system.log-20261031", "system.log"},
      {"system.log-20261031.zst", "system.log"},
      {"system.log-20261031-1793400000", "system.log"},
      {"system.log-2026103123", "system.log"},
      {"system-20261031.log", "system.log"},
      {"app.log.2026-10-31", "app.log"},
      {"app.log.2026-10-31_10-00", "app.log"},
      {"app.2026-10-31.log", "app.log"},
      {"audit.old", "audit"},
      {"audit.prev", "audit"},
      {"audit.old.bz2", "audit"},
      {archived, "system.journal"},
      {std::string("\xff\x01.1"), std::string("\xff\x01")},
  };
  for (const auto& [name, active] : cases) EXPECT_EQ(active_of(name), active) << name;
}

TEST(SegmentName, FindsNoMarkInOtherNames) {
  for (const char* name : {"system.log",
                           "system",
                           ".1",
                           "1",
                           "-20261031",
                           "system.log.",
                           "system.log.123456",
                           "system.log-20261331",
                           "system.log-20261032",
                           "system.log-2026",
                           "system.log.1a",
                           "old",
                           ".old",
                           "system.journal",
                           "system@x.journal",
                           "system.log.zst",
                           "a-1",
                           "v1.2-rc",
                           "",
                           "system.log-20261031x",
                           "system@0123456789abcdef0123456789abcdef-1-2.journal"}) {
    EXPECT_EQ(active_of(name), "-") << name;
  }
}

bool is_older(const std::string& a, const std::string& b) {
  const auto left = understand_segment(a);
  const auto right = understand_segment(b);
  EXPECT_TRUE(left && right) << a << " " << b;
  EXPECT_EQ(left->series, right->series) << a << " " << b;
  return left->order < right->order;
}

TEST(SegmentName, OrdersByNumberAndDateNotByText) {
  EXPECT_TRUE(is_older("system.log.10", "system.log.9"));
  EXPECT_TRUE(is_older("system.log.2.gz", "system.log.1"));
  EXPECT_TRUE(is_older("a-20261031", "a-20261101"));
  EXPECT_TRUE(is_older("a-20261031", "a-20261031-1"));
  EXPECT_TRUE(is_older("a-9.log", "a-10.log"));
  EXPECT_TRUE(is_older("s@0123456789abcdef0123456789abcdef-00000000000000ff-0005f0a1b2c3d4e5.journal",
                       "s@0123456789abcdef0123456789abcdef-0000000000000100-0000000000000001.journal"))
      << "the sequence counts, the time does not";
}

TEST(SegmentName, KeepsSeriesApart) {
  const auto series = [](const std::string& name) { return understand_segment(name)->series; };
  EXPECT_NE(series("a.1"), series("b.1"));
  EXPECT_NE(series("a.1"), series("a-20261031"));
  EXPECT_NE(series("a-20261031"), series("a-2026-10-31"));
  EXPECT_NE(series("a.1.log"), series("a-1.log"));
  EXPECT_NE(series("a.old"), series("a.prev"));
  EXPECT_EQ(series("a.1"), series("a.7.zst"));
}

}  // namespace
}  // namespace slotkeeper::permanent
