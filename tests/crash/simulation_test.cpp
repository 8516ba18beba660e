// The simulation: the real engine on a simulated device, the power cut at every call in every state it may leave, the
// invariants asserted after each. See explorer.hpp for what a case is.
//
//   SLOTKEEPER_SEED=N               another choice of states where not all are taken
//   SLOTKEEPER_SIMULATION_PERCENT=N so much of what a CI run takes
//   SLOTKEEPER_REPLAY=PATH          one case, as a violation prints it
#include <algorithm>
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
  // In proportion to how fast they go: a recovery that restores or formats takes several times as long as one that
  // rests.
  std::uint64_t cases = 16'000;
  if (!GetParam().original_runs) cases = 3'500;
  if (GetParam().is_repeated) cases = 600;
  const std::uint64_t percent = number_from_environment("SLOTKEEPER_SIMULATION_PERCENT", 100);
  options.cases_max = std::max<std::uint64_t>(cases * percent / 100, 50);
  if (GetParam().original_runs) {
    options.again_one_in = 1;
    options.again_call_one_in = 2;
  }
  if (const char* replay = std::getenv("SLOTKEEPER_REPLAY"); replay != nullptr) options.replay = replay;
  const auto begin = std::chrono::steady_clock::now();
  Explorer explorer(GetParam(), options);
  const ExplorerCounts counts = explorer.run();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  EXPECT_EQ(explorer.story(), "");
  for (const auto& [from, to] : counts.recorded) {
    std::printf("recorded: %s>%s\n", std::string(name_of(from)).c_str(), std::string(name_of(to)).c_str());
  }
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

TEST(StateTable, IsWrittenDownForTheFigures) {
  for (const Transition& row : transitions()) {
    if (std::ranges::find(kBootEvents, row.event) != kBootEvents.end()) continue;
    std::printf("table: %s>%s\n", std::string(name_of(row.from)).c_str(), std::string(name_of(row.to)).c_str());
  }
}

INSTANTIATE_TEST_SUITE_P(Scenes, Simulation, testing::ValuesIn(scenes()),
                         [](const auto& scene) { return scene.param.name; });

}  // namespace
}  // namespace slotkeeper::test
