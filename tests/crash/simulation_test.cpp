// The simulation: the real engine on a simulated device, the power cut at every call in every state it may leave, the
// invariants asserted after each. See explorer.hpp for what a case is.
//
//   SLOTKEEPER_SEED=N             another choice of states where not all are taken
//   SLOTKEEPER_SIMULATION_CASES=N at most so many cases of each scene
//   SLOTKEEPER_REPLAY=PATH        one case, as a violation prints it
#include <chrono>
#include <cstdlib>

#include <gtest/gtest.h>

#include "tests/crash/scenes.hpp"

namespace slotkeeper::test {
namespace {

class Simulation : public testing::TestWithParam<Scene> {};

TEST_P(Simulation, EndsOnAWorkingFirmwareWithItsConfiguration) {
  ExplorerOptions options;
  options.seed = number_from_environment("SLOTKEEPER_SEED", 1);
  options.cases_max = number_from_environment("SLOTKEEPER_SIMULATION_CASES", 20'000);
  if (const char* replay = std::getenv("SLOTKEEPER_REPLAY"); replay != nullptr) options.replay = replay;
  const auto begin = std::chrono::steady_clock::now();
  Explorer explorer(GetParam(), options);
  const ExplorerCounts counts = explorer.run();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  EXPECT_EQ(explorer.story(), "");
  std::string depths;
  for (const auto& [depth, count] : counts.cases_by_depth) {
    depths += " depth" + std::to_string(depth) + "=" + std::to_string(count);
  }
  std::printf(
      "simulation %s: seed=%llu cuts=%llu cases=%llu duplicates=%llu violations=%llu engine_runs=%llu%s rows=%zu "
      "recorded=%zu %.1f s, %.0f cases/s\n",
      GetParam().name.c_str(), static_cast<unsigned long long>(options.seed),
      static_cast<unsigned long long>(counts.cuts), static_cast<unsigned long long>(counts.cases),
      static_cast<unsigned long long>(counts.duplicates), static_cast<unsigned long long>(counts.violations),
      static_cast<unsigned long long>(counts.engine_runs), depths.c_str(), counts.rows.size(), counts.recorded.size(),
      seconds, static_cast<double>(counts.cases) / seconds);
}

INSTANTIATE_TEST_SUITE_P(Scenes, Simulation, testing::ValuesIn(scenes()),
                         [](const auto& scene) { return scene.param.name; });

}  // namespace
}  // namespace slotkeeper::test
