// The power goes at every flush of an operation, with any part of what was in flight on the disk: the partition is
// whole at once, and a recovery ends where it must, however often it runs.
//
// SLOTKEEPER_FAULT_STRIDE=1 takes every case, SLOTKEEPER_FAULT_SEED=N other samples, SLOTKEEPER_FAULT_ONLY=NAME one
// alone.
#include <cstdio>
#include <ostream>

#include <gtest/gtest.h>

#include "tests/crash_kernel/sweep.hpp"

namespace slotkeeper::test {
namespace {

struct OnDisk {
  std::string filesystem;
  std::string scene;
};

/// Full names with xfs and btrfs; alone, a scene's is on ext4.
std::string name_of(const OnDisk& one) {
  return one.filesystem == "ext4" ? one.scene : one.filesystem + "_" + one.scene;
}
void PrintTo(const OnDisk& one, std::ostream* into) { *into << name_of(one); }

std::vector<OnDisk> scenes_on_disks() {
  std::vector<OnDisk> all;
  for (const std::string& scene : scene_names()) all.push_back({"ext4", scene});
  for (const char* const filesystem : {"xfs", "btrfs"}) {
    for (const std::string& scene : scene_names_of_any_filesystem()) all.push_back({filesystem, scene});
  }
  return all;
}

class PowerCut : public testing::TestWithParam<OnDisk> {
 protected:
  void SetUp() override {
    if (!may_mount()) GTEST_SKIP() << "needs root for loop devices and mounts";
  }
};

/// Of so many cases one: more than 300 together, within their share of a CI run. Those with long logs take longest.
std::uint64_t stride_of(const OnDisk& one) {
  const bool has_long_logs = one.scene.starts_with("compression");
  if (one.filesystem == "ext4") return has_long_logs ? 18 : 4;
  return has_long_logs ? 24 : 8;
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
