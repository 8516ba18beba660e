// The disk fails at the nth call, for every n: the operation ends with an error of storage, or the result is right;
// afterwards, on a healed disk, nothing is lost and a recovery ends where it must.
#include <cstdio>

#include <gtest/gtest.h>

#include "tests/crash_kernel/sweep.hpp"

namespace slotkeeper::test {
namespace {

class DiskFault : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (!may_mount()) GTEST_SKIP() << "needs root for loop devices and mounts";
  }
};

constexpr std::uint64_t kStride = 10;  // keeps the test within its share of a CI run

TEST_P(DiskFault, IsReportedAndCostsNothing) {
  const SweepOptions options = sweep_options(kStride);
  SceneRig rig(GetParam(), options);
  std::uint64_t cases = 0;
  for (const FaultKind& kind : fault_kinds(options.seed)) {
    const SweepResult result = rig.inject(kind);
    std::puts(result.print(kind.name + " in " + GetParam()).c_str());
    for (const std::string& violation : result.violations) ADD_FAILURE() << violation;
    cases += result.cases;
  }
  EXPECT_GT(cases, 0u) << "there is no such case";
}

/// A place of the full history that cannot be read is passed over: the next one goes instead, and a number is left out.
/// That is not what the scene "store" expects after a cut.
std::vector<std::string> scenes_under_faults() {
  std::vector<std::string> names = scene_names();
  std::erase(names, "store");
  return names;
}

INSTANTIATE_TEST_SUITE_P(Scenes, DiskFault, testing::ValuesIn(scenes_under_faults()),
                         [](const auto& instance) { return instance.param; });

}  // namespace
}  // namespace slotkeeper::test
