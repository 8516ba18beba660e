#include "tests/vm/final_check.hpp"

#include <fstream>

#include "tests/support/fault_disk/direct_loop.hpp"
#include "tests/support/file_contents.hpp"
#include "tests/support/log_service.hpp"
#include "tests/support/temporary_directory.hpp"

namespace slotkeeper::test {
namespace {

std::string bytes_of(const std::string& disk, const PartitionPlace& place) {
  std::ifstream from(disk, std::ios::binary);
  from.seekg(static_cast<std::streamoff>(place.offset_bytes));
  std::string contents(place.size_bytes, '\0');
  if (!from.read(contents.data(), static_cast<std::streamsize>(contents.size()))) {
    throw std::runtime_error(disk + " is too short");
  }
  return contents;
}

void check_slot(const Material& material, const std::string& disk, char slot, const std::string& version,
                unsigned int invariant, Violations& violations) {
  const std::string held = bytes_of(disk, material.partition(slot == 'A' ? "rootfs-a" : "rootfs-b"));
  const std::string wanted = contents_of(material.image(version));
  if (held.compare(0, wanted.size(), wanted) == 0) return;
  std::size_t at = 0;
  while (held[at] == wanted[at]) ++at;
  violations.push_back({invariant, std::string("slot ") + slot + " does not hold " + version +
                                       ": they differ from byte " + std::to_string(at) + " on"});
}

}  // namespace

Violations check_device(const Material& material, const FinalExpectation& expected) {
  Violations violations;
  check_slot(material, expected.disk, expected.runs, expected.version, 1, violations);
  if (!expected.other_version.empty()) {
    check_slot(material, expected.disk, expected.runs == 'A' ? 'B' : 'A', expected.other_version, 2, violations);
  }

  const TemporaryDirectory folder;
  extract_partition(expected.disk, material.partition("permanent"), folder / "permanent.img");
  const DirectLoop loop(folder / "permanent.img", DirectLoop::Access::cached);
  const PlainMount mounted(loop.path(), folder / "mounted");
  for (const Violation& violation :
       check_exact(material.configuration(expected.configuration_of), list_configuration(mounted.path()))) {
    violations.push_back(violation);
  }
  const std::string security = log_problem(mounted.path() + "/log/security", "security", 1, expected.log_lines);
  if (!security.empty()) violations.push_back({3, security});
  // Nobody writes the other log: all that it had at first.
  const std::string system = log_problem(mounted.path() + "/log/system", "system", 1, material.system_log_lines());
  if (!system.empty()) violations.push_back({3, system});
  return violations;
}

}  // namespace slotkeeper::test
