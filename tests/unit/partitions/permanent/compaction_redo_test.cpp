#include "partitions/permanent/compaction_redo.hpp"

#include <gtest/gtest.h>

#include "tests/support/memory_area.hpp"

namespace slotkeeper::permanent {
namespace {

using slotkeeper::test::MemoryArea;

RedoStep example() {
  return {.kind = RedoStep::Kind::frame,
          .sequence = 7,
          .path = std::string("log/\xff\n x.1"),
          .inode = 1234,
          .plain_bytes = 1 << 20,
          .consumed_bytes = 300'000,
          .stored_bytes = 20'000,
          .probe = {.offset = 0, .length = 4096, .hash = 0xFFFFFFFFFFFFFFFF},
          .accessed = {.seconds = -5, .nanoseconds = 1},
          .modified = {.seconds = 1'795'000'000, .nanoseconds = 999'999'999}};
}

TEST(CompactionRedo, AStepReadsAsItWasPrinted) {
  EXPECT_EQ(parse_redo_step(print_redo_step(example())), example());
  RedoStep finish = example();
  finish.kind = RedoStep::Kind::finish;
  EXPECT_EQ(parse_redo_step(print_redo_step(finish)), finish);
}

TEST(CompactionRedo, IsWrittenAsDocumented) {
  EXPECT_EQ(print_redo_step(example()),
            "slotkeeper compaction 1\nstep frame\nsequence 7\npath 6c6f672fff0a20782e31\ninode 1234\nplain 1048576\n"
            "consumed 300000\nstored 20000\nprobe-offset 0\nprobe-length 4096\nprobe-hash 18446744073709551615\n"
            "accessed -5.1\nmodified 1795000000.999999999\n");
}

TEST(CompactionRedo, AnythingElseIsNoStep) {
  const std::string good = print_redo_step(example());
  for (std::size_t length = 0; length < good.size(); ++length) {
    EXPECT_FALSE(parse_redo_step(good.substr(0, length))) << length;
  }
  EXPECT_FALSE(parse_redo_step(good + "\n"));
  EXPECT_FALSE(parse_redo_step("{}"));
  for (const auto& [piece, by] : {std::pair("frame", "fr"), std::pair("1234", "12x4"), std::pair("6c", "6"),
                                  std::pair("sequence", "inode"), std::pair("-5.1", "-5")}) {
    std::string bad = good;
    bad.replace(bad.find(piece), std::string_view(piece).size(), by);
    EXPECT_FALSE(parse_redo_step(bad)) << by;
  }
}

TEST(CompactionRedo, AlwaysHoldsTheLastStepWhileTheNextOneIsWritten) {
  MemoryArea first(64 * 1024);
  MemoryArea second(64 * 1024);
  RedoLog log({first, second});
  EXPECT_FALSE(log.newest().value());
  for (std::uint64_t number = 1; number <= 5; ++number) {
    const std::string frame = "frame " + std::to_string(number);
    ASSERT_TRUE(log.append(example(), io::as_bytes(frame)).has_value());
    RedoLog again({first, second});
    ASSERT_EQ(again.newest().value()->sequence, number);
    EXPECT_EQ(io::as_text(again.frame().value()), frame);
    // The power goes while the next one is written: its area has no seal.
    MemoryArea& other = number % 2 == 0 ? first : second;
    ASSERT_TRUE(other.unseal().has_value());
    EXPECT_EQ(RedoLog({first, second}).newest().value()->sequence, number);
  }
  ASSERT_TRUE(log.clear().has_value());
  EXPECT_FALSE(RedoLog({first, second}).newest().value());
}

TEST(CompactionRedo, AStepOfALaterVersionChangesNothing) {
  MemoryArea first(64 * 1024);
  MemoryArea second(64 * 1024);
  ASSERT_TRUE(
      first.seal({.length_bytes = 0, .digest = sha256({}), .description = "slotkeeper compaction 2\n"}).has_value());
  EXPECT_EQ(RedoLog({first, second}).newest().error().code, Errc::foreign_record);
}

}  // namespace
}  // namespace slotkeeper::permanent
