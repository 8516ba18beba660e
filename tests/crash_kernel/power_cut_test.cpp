// The power goes at every flush of an operation, with any part of what was in flight on the disk: the partition is
// whole at once, and a recovery ends where it must, however often it runs.
//
// SLOTKEEPER_FAULT_STRIDE=1 takes every case, SLOTKEEPER_FAULT_SEED=N other samples, SLOTKEEPER_FAULT_ONLY=NAME one
// alone.
#include <cstdio>

#include <gtest/gtest.h>

#include "tests/crash_kernel/sweep.hpp"

namespace slotkeeper::test {
namespace {

class PowerCut : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (!may_mount()) GTEST_SKIP() << "needs root for loop devices and mounts";
  }
};

constexpr std::uint64_t kStride = 6;  // keeps the test within its share of a CI run

TEST_P(PowerCut, LeavesAWholePartitionAndARecoveryEnds) {
  const SweepResult result = SceneRig(GetParam(), sweep_options(kStride)).cut_power();
  std::puts(result.print("power cuts in " + GetParam()).c_str());
  for (const std::string& violation : result.violations) ADD_FAILURE() << violation;
  EXPECT_GT(result.cuts, 3u);
  EXPECT_GT(result.cases, 0u) << "there is no such case";
}

INSTANTIATE_TEST_SUITE_P(Scenes, PowerCut, testing::ValuesIn(scene_names()),
                         [](const auto& instance) { return instance.param; });

}  // namespace
}  // namespace slotkeeper::test
