#include "partitions/parallel.hpp"

#include <algorithm>
#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "tests/support/unwrap.hpp"

namespace slotkeeper {
namespace {

using test::error_of;
using test::ok;

Result<void> go_on(std::size_t) { return success(); }

TEST(Parallel, EveryPieceIsWorkedOnOnce) {
  for (const Helpers helpers : {0U, 1U, 4U}) {
    for (const std::size_t count : {std::size_t{0}, std::size_t{1}, std::size_t{3}, std::size_t{1000}}) {
      std::vector<std::atomic<int>> done(count);
      const auto work = [&](std::size_t piece) -> Result<void> {
        ++done[piece];
        return success();
      };
      ok(for_each_piece(helpers, count, work, go_on));
      EXPECT_TRUE(std::ranges::all_of(done, [](const auto& times) { return times == 1; }));
    }
  }
}

TEST(Parallel, WithoutHelpersAllIsDoneInOrderByTheCaller) {
  std::vector<std::size_t> order;
  const auto caller = std::this_thread::get_id();
  const auto work = [&](std::size_t piece) -> Result<void> {
    EXPECT_EQ(std::this_thread::get_id(), caller);
    order.push_back(piece);
    return success();
  };
  const auto between = [&](std::size_t done) -> Result<void> {
    EXPECT_EQ(done, order.size());
    return success();
  };
  ok(for_each_piece(0, 5, work, between));
  EXPECT_EQ(order, (std::vector<std::size_t>{0, 1, 2, 3, 4}));
}

TEST(Parallel, TheErrorOfTheLowestPieceIsReturnedAndEndsIt) {
  for (const Helpers helpers : {0U, 3U}) {
    std::atomic<std::size_t> highest{0};
    const auto work = [&](std::size_t piece) -> Result<void> {
      std::size_t before = highest;
      while (before < piece && !highest.compare_exchange_weak(before, piece)) continue;
      if (piece < 20) return success();
      return make_error(Errc::io_error, "piece " + std::to_string(piece));
    };
    EXPECT_EQ(error_of(for_each_piece(helpers, 100'000, work, go_on)).message, "piece 20");
    EXPECT_LE(highest, 20U + helpers);
  }
}

TEST(Parallel, TheCallerCanEndIt) {
  for (const Helpers helpers : {0U, 3U}) {
    std::atomic<std::size_t> worked{0};
    const auto work = [&](std::size_t) -> Result<void> {
      ++worked;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      return success();
    };
    const auto stop = [](std::size_t) -> Result<void> { return make_error(Errc::cancelled, "stop"); };
    EXPECT_EQ(error_of(for_each_piece(helpers, 100'000, work, stop)).code, Errc::cancelled);
    EXPECT_LT(worked, 100U);
  }
}

}  // namespace
}  // namespace slotkeeper
