// A machine whose firmware is talked to: tests/vm/guest/init says what it does and obeys commands.
#pragma once

#include <chrono>
#include <string>

#include <nlohmann/json.hpp>

#include "tests/support/temporary_directory.hpp"
#include "tests/vm/virtual_machine.hpp"

namespace slotkeeper::test {

class Material;

inline constexpr const char* kPermanentPath = "/etc/conf.d/conf.d-permanent";
/// From power-on to an event in the firmware, several trial boots and a watchdog between them; on a busy machine.
inline constexpr std::chrono::seconds kBootLimit{240};
inline constexpr std::chrono::seconds kCommandLimit{120};

[[nodiscard]] std::string install_command(const std::string& version, bool force = false);

/// Prints the line that `tests/run --long` counts, for the test that runs.
void tell_case(const std::string& bootloader);

class MachineSession {
 public:
  /// Switches a machine on. Its drive is the first one, the bundles are the second.
  MachineSession(const Material& material, const VirtualMachine::Drive& drive);

  [[nodiscard]] VirtualMachine& machine() { return machine_; }
  /// Until a firmware has come up and obeys. Returns its slot.
  char wait_until_ready();
  /// Exit status of a command.
  int run(const std::string& command);
  /// A command that has to succeed; throws MachineFailure.
  void must(const std::string& command);
  /// The result line of a command of slotkeeper, as it stood on the console last.
  [[nodiscard]] nlohmann::json last_result();
  void restart();
  void power_off();
  /// The newest log line that was said to be on the disk, 0 when none was.
  [[nodiscard]] std::uint64_t acknowledged() const;

 private:
  TemporaryDirectory folder_;  ///< of files that the machine has of its own
  VirtualMachine machine_;
};

}  // namespace slotkeeper::test
