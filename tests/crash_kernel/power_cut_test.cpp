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

class PowerCut : public testing::TestWithParam<SceneOnDisk> {
 protected:
  void SetUp() override {
    if (!may_mount()) GTEST_SKIP() << "needs root for loop devices and mounts";
  }
};

/// Of so many cases one: more than 300 together, within their share of a CI run. Those with long logs take longest.
std::uint64_t stride_of(const SceneOnDisk& one) {
  const bool has_long_logs = one.scene.starts_with("compression");
  if (one.filesystem == "ext4") return has_long_logs ? 18 : 4;
  return has_long_logs ? 36 : 8;
}

TEST_P(PowerCut, LeavesAWholePartitionAndARecoveryEnds) {
  SceneRig rig(GetParam().scene, sweep_options(stride_of(GetParam())), filesystem(GetParam().filesystem));
  const SweepResult result = rig.cut_power();
  std::puts(result.print("power cuts in " + name_of(GetParam())).c_str());
  for (const std::string& violation : result.violations) ADD_FAILURE() << violation;
  EXPECT_GT(result.cuts, 3u);
  EXPECT_GT(result.cases, 0u) << "there is no such case";
}

INSTANTIATE_TEST_SUITE_P(Scenes, PowerCut, testing::ValuesIn(scenes_on_disks()),
                         [](const auto& instance) { return name_of(instance.param); });

}  // namespace
}  // namespace slotkeeper::test
