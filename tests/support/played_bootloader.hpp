// What bootloader-hooks/scripts/uboot-boot.cmd does, on bytes and without the code under test: reads the two copies of
// the environment and the sectors of the last confirmed slot, takes a slot, and counts a try down.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

namespace slotkeeper::test {

using BootVariables = std::map<std::string, std::string>;

/// One copy of a redundant environment, with its CRC.
[[nodiscard]] std::string encode_environment(const BootVariables& variables, unsigned char flag,
                                             std::size_t size_bytes);

/// Both copies as U-Boot sees them.
struct EnvironmentBytes {
  std::array<std::string, 2> copies;

  [[nodiscard]] bool is_valid(unsigned int copy) const;
  /// Number of the copy that counts; nothing where both are damaged.
  [[nodiscard]] std::optional<unsigned int> newest() const;
  [[nodiscard]] BootVariables variables() const;  ///< of the newest; empty where there is none
};

enum class BootloaderKind : std::uint8_t {
  ours,             ///< counts down what was not confirmed last
  resets_counters,  ///< puts the counters back to their full number whenever it finds one below it
  never_counts,
};

struct BootDecision {
  char slot = 'A';       ///< tried first; the other one where it does not come up
  bool by_order = true;  ///< false: nothing in the environment told it
  /// What it writes before it starts the slot: a copy and its new bytes.
  std::optional<unsigned int> written_copy;
  std::string written_bytes;
};

/// `confirmed_sectors`: the two sectors at byte 4096 of the state store.
[[nodiscard]] BootDecision decide_boot(const EnvironmentBytes& environment, const std::string& confirmed_sectors,
                                       BootloaderKind kind, int full_count);

}  // namespace slotkeeper::test
