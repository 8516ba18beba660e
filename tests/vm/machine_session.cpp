#include "tests/vm/machine_session.hpp"

#include <cstdio>

#include <gtest/gtest.h>

#include "tests/vm/material.hpp"

namespace slotkeeper::test {

std::string install_command(const std::string& version, bool force) {
  return std::string("slotkeeper --json install ") + (force ? "--force " : "") + "/bundles/" + version + ".skb";
}

void tell_case(const std::string& bootloader) {
  std::printf("vm %s: cases=1 violations=%d scene=%s\n", bootloader.c_str(), testing::Test::HasFailure() ? 1 : 0,
              testing::UnitTest::GetInstance()->current_test_info()->name());
  std::fflush(stdout);
}

MachineSession::MachineSession(const Material& material, const VirtualMachine::Drive& drive)
    : machine_(material.qemu_arguments(folder_.path()), {drive, material.bundles()}) {}

char MachineSession::wait_until_ready() {
  const std::string line = machine_.wait_for("SK: ready ", kBootLimit);
  return line.at(line.find("SK: ready ") + 10);
}

int MachineSession::run(const std::string& command) {
  machine_.send(command);
  const std::string line = machine_.wait_for("SK: done ", kCommandLimit);
  return std::stoi(line.substr(line.find("SK: done ") + 9));
}

void MachineSession::must(const std::string& command) {
  const int status = run(command);
  if (status == 0) return;
  throw MachineFailure("'" + command + "' ended with " + std::to_string(status) + "; the console:\n" +
                       machine_.story());
}

nlohmann::json MachineSession::last_result() {
  const std::vector<std::string> lines = machine_.lines();
  for (std::size_t i = lines.size(); i-- > 0;) {
    const std::size_t begin = lines[i].find("{\"event\":\"result\"");
    if (begin == std::string::npos) continue;
    const nlohmann::json result = nlohmann::json::parse(lines[i].substr(begin), nullptr, false);
    if (result.is_object()) return result;
  }
  throw MachineFailure("no result line; the console:\n" + machine_.story());
}

void MachineSession::restart() { machine_.send("power_cycle"); }

void MachineSession::power_off() {
  machine_.send("power_off");
  machine_.wait_for("SK: off", kCommandLimit);
  machine_.wait_for_end(kCommandLimit);
}

std::uint64_t MachineSession::acknowledged() const { return machine_.last_number_after("SK: log ").value_or(0); }

}  // namespace slotkeeper::test
