#include "partitions/io/posix_machine.hpp"

#include <gtest/gtest.h>

namespace slotkeeper::io {
namespace {

using namespace std::chrono_literals;

constexpr std::string_view kStat =
    "cpu  100 20 30 4000 500 6 7 80 0 0\n"
    "cpu0 50 10 15 2000 250 3 4 40 0 0\n"
    "cpu1 50 10 15 2000 250 3 3 40 0 0\n"
    "intr 1 2 3\nctxt 5\n";
constexpr std::string_view kDisks =
    " 179       0 mmcblk0 1 2 3 4 5 6 7 8 0 250 11 0 0 0 0 0 0\n"
    " 179       1 mmcblk0p1 1 2 3 4 5 6 7 8 0 240 11 0 0 0 0 0 0\n"
    "   8       0 sda 1 2 3 4 5 6 7 8 0 1000 11\n"
    "   8       1 sda1 1 2 3 4 5 6 7 8 0 900 11\n"
    "  65     160 sdaa 1 2 3 4 5 6 7 8 0 10000 11\n"
    "   7       0 loop0 1 2 3 4 5 6 7 8 0 77777 11\n"
    " 253       0 dm-0 1 2 3 4 5 6 7 8 0 77777 11\n"
    " 254       0 zram0 1 2 3 4 5 6 7 8 0 77777 11\n";

TEST(WorkDone, IsTheMeanOfTheProcessorsAndTheSumOfTheDisks) {
  const auto work = parse_work_done(kStat, kDisks, 100);
  ASSERT_TRUE(work.has_value());
  EXPECT_EQ(work->processors, 815ms);  // 163 ticks of two processors, neither idle nor waiting nor taken by others
  EXPECT_EQ(work->disks, 11'250ms);    // partitions, loop devices, mappings and RAM disks left out
}

TEST(WorkDone, OfAMachineWithoutDisksIsThatOfItsProcessors) {
  const auto work = parse_work_done(kStat, "", 100);
  ASSERT_TRUE(work.has_value());
  EXPECT_EQ(work->disks, 0ms);
}

TEST(WorkDone, IsNotGuessedFromOtherTexts) {
  EXPECT_FALSE(parse_work_done("", kDisks, 100).has_value());
  EXPECT_FALSE(parse_work_done("cpu  1 2 3\ncpu0 1 2 3\n", kDisks, 100).has_value());
  EXPECT_FALSE(parse_work_done("cpu  1 2 x 4 5 6 7\ncpu0 1\n", kDisks, 100).has_value());
  EXPECT_FALSE(parse_work_done(kStat, "8 0 sda 1 2\n", 100).has_value());
  EXPECT_FALSE(parse_work_done(kStat, "8 zero sda 1 2 3 4 5 6 7 8 9 10\n", 100).has_value());
  EXPECT_FALSE(parse_work_done(kStat, kDisks, 0).has_value());
}

}  // namespace
}  // namespace slotkeeper::io
