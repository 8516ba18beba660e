// Situations of a simulated device and the commands that are cut or failed in them.
#pragma once

#include <cstdint>
#include <vector>

#include "tests/crash/explorer.hpp"

namespace slotkeeper::test {

/// For the simulation: every command that changes something, in every situation it changes something in.
[[nodiscard]] std::vector<Scene> scenes();
/// For the failure sweep: all commands.
[[nodiscard]] std::vector<Scene> sweep_scenes();

[[nodiscard]] std::uint64_t number_from_environment(const char* name, std::uint64_t otherwise);

}  // namespace slotkeeper::test
