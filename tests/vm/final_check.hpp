// What must hold of a device when everything is over, looked at from outside with the power off.
#pragma once

#include <cstdint>
#include <string>

#include "tests/support/device_checker.hpp"
#include "tests/vm/material.hpp"

namespace slotkeeper::test {

struct FinalExpectation {
  std::string disk;
  DiskState configuration_of = DiskState::provisioned;
  char runs = 'A';                 ///< the slot that ran last
  std::string version;             ///< of its firmware: it holds this image, bit for bit
  std::string other_version = {};  ///< of the other slot, where it holds an image in full
  std::uint64_t log_lines = 0;     ///< the newest line of the log service
};

/// Configuration exact, no log line missing, slots bit for bit. What the bootloader reads is checked by its booting.
[[nodiscard]] Violations check_device(const Material& material, const FinalExpectation& expected);

}  // namespace slotkeeper::test
