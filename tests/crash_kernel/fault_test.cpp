// The disk fails at the nth call, for every n: the operation ends with an error of storage, or the result is right;
// afterwards, on a healed disk, nothing is lost and a recovery ends where it must.
#include <cstdio>

#include <gtest/gtest.h>

#include "tests/crash_kernel/sweep.hpp"

namespace slotkeeper::test {
namespace {

class DiskFault : public testing::TestWithParam<SceneOnDisk> {
 protected:
  void SetUp() override {
    if (!may_mount()) GTEST_SKIP() << "needs root for loop devices and mounts";
  }
};

/// Of so many cases one: keeps the test within its share of a CI run. Those with long logs take longest.
std::uint64_t stride_of(const SceneOnDisk& one) {
  if (one.filesystem == "ext4") return 10;
  return one.scene.starts_with("compression") ? 30 : 6;
}

TEST_P(DiskFault, IsReportedAndCostsNothing) {
  const SweepOptions options = sweep_options(stride_of(GetParam()));
  SceneRig rig(GetParam().scene, options, filesystem(GetParam().filesystem));
  std::uint64_t cases = 0;
  for (const FaultKind& kind : fault_kinds(options.seed)) {
    // What a filesystem makes of a disk that lies about the filesystem's own blocks is its own affair: xfs may refuse
    // to be mounted. That the engine finds lies about contents is shown on ext4.
    if (kind.is_silent && GetParam().filesystem != "ext4") continue;
    const SweepResult result = rig.inject(kind);
    std::puts(result.print(kind.name + " in " + name_of(GetParam())).c_str());
    for (const std::string& violation : result.violations) ADD_FAILURE() << violation;
    cases += result.cases;
  }
  EXPECT_GT(cases, 0u) << "there is no such case";
}

/// A place of the full history that cannot be read is passed over: the next one goes instead, and a number is left out.
/// That is not what the scene "store" expects after a cut.
std::vector<SceneOnDisk> scenes_under_faults() {
  std::vector<SceneOnDisk> all = scenes_on_disks();
  std::erase_if(all, [](const SceneOnDisk& one) { return one.scene == "store"; });
  return all;
}

INSTANTIATE_TEST_SUITE_P(Scenes, DiskFault, testing::ValuesIn(scenes_under_faults()),
                         [](const auto& instance) { return name_of(instance.param); });

}  // namespace
}  // namespace slotkeeper::test
