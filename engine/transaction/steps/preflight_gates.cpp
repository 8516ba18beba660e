#include "engine/transaction/steps/preflight_gates.hpp"

#include <algorithm>
#include <set>

namespace slotkeeper {
namespace {

constexpr std::uint32_t kLifeTimeWarning = 9;  // 80 to 90 % used
constexpr std::uint32_t kPreEolWarning = 2;

std::string joined(const std::vector<std::string>& texts, std::string_view separator) {
  std::string text;
  for (const auto& one : texts) text += (text.empty() ? "" : std::string(separator)) + one;
  return text;
}

std::string percent_used(std::uint32_t life_time) {
  if (life_time > kLifeTimeMax) return "more than the whole life";
  return "up to " + std::to_string(life_time * 10) + " % of the life";
}

void find_worn_disks(const io::StorageHealth& health, std::set<std::string>& seen, std::vector<std::string>& wrong) {
  for (const io::DiskWear& disk : health.disks) {
    if (!seen.insert(disk.disk).second) continue;
    if (disk.life_time.value_or(0) > kLifeTimeMax) {
      wrong.push_back("disk " + disk.disk + " has used " + percent_used(*disk.life_time) +
                      " it was made for (life_time " + std::to_string(*disk.life_time) + ")");
    }
    if (disk.pre_eol.value_or(0) > kPreEolMax) {
      wrong.push_back("disk " + disk.disk + " has used nearly all of its spare blocks (pre_eol_info " +
                      std::to_string(*disk.pre_eol) + ")");
    }
  }
}

}  // namespace

Result<FallbackFinding> fallback_gate(Device& device, EngineSink& sink, const BlockLookOf& look_of) {
  FallbackFinding finding;
  permanent::Gate& gate = finding.gate;
  gate = {.code = Errc::fallback_damaged, .pass = true, .measured = 0, .limit = 0, .unit = "count", .message = {}};
  const std::string slot = "the running slot " + std::string(name_of(device.booted));
  const auto& baseline = device.facts[device.booted];
  if (!baseline) {
    gate.pass = false;
    gate.measured = 1;
    gate.message = "no checksums are recorded for " + slot;
    return finding;
  }
  const Slot& volumes = device.configuration().slots[device.booted];
  for (const auto& expected : baseline->volumes) {
    const Volume* volume = volumes.find(expected.volume);
    if (volume != nullptr && volume->check != VolumeCheck::none) finding.read_bytes += expected.length_bytes;
  }
  const auto began = device.settings.host.monotonic();
  SK_TRY_ASSIGN(const auto damaged, damaged_volumes(device.settings, volumes, *baseline, Phase::preflight, &sink,
                                                    &finding.reading, look_of));
  const auto passed = std::chrono::duration_cast<std::chrono::milliseconds>(device.settings.host.monotonic() - began);
  if (finding.read_bytes > 0 && passed.count() > 0) {
    finding.read_bytes_per_s = finding.read_bytes * 1000 / static_cast<std::uint64_t>(passed.count());
  }
  gate.pass = damaged.empty();
  gate.measured = damaged.size();
  gate.message = gate.pass ? slot + " reads as recorded"
                           : slot + " differs from its recorded checksums in: " + joined(damaged, ", ");
  return finding;
}

permanent::Gate config_busy_gate(const std::optional<Error>& busy) {
  permanent::Gate gate{.code = Errc::config_busy,
                       .pass = !busy,
                       .measured = 0,
                       .limit = 0,
                       .unit = "count",
                       .message = "the configuration did not change while it was read"};
  if (busy) {
    gate.message = busy->message;
    gate.measured = 1;
    for (const auto& detail : busy->details) {
      if (const auto* paths = std::get_if<std::vector<std::string>>(&detail.value)) gate.measured = paths->size();
    }
  }
  return gate;
}

Result<permanent::Gate> storage_worn_gate(Device& device, SlotId target,
                                          std::optional<std::uint64_t> filesystem_errors) {
  const Configuration& configuration = device.configuration();
  std::vector<std::string> wrong;
  std::set<std::string> seen_disks;
  std::set<std::string> read_only;
  if (filesystem_errors.value_or(0) > 0) {
    wrong.push_back("the filesystem of the permanent partition has counted " + std::to_string(*filesystem_errors) +
                    " errors; check it with e2fsck, which clears the count");
  }
  std::vector<std::string> written = {configuration.permanent_path, configuration.store_path};
  for (const Volume& volume : configuration.slots[target].volumes) written.push_back(volume.device_path);
  for (const std::string& path : written) {
    SK_TRY_ASSIGN(const io::StorageHealth health, device.storage().health_of(path));
    find_worn_disks(health, seen_disks, wrong);
    read_only.insert(health.read_only.begin(), health.read_only.end());
  }
  for (const std::string& part : read_only) wrong.push_back(part + " is read-only");
  permanent::Gate gate{.code = Errc::storage_worn,
                       .pass = wrong.empty(),
                       .measured = wrong.size(),
                       .limit = 0,
                       .unit = "count",
                       .message = "the storage reports neither wear nor errors"};
  if (!gate.pass) gate.message = joined(wrong, "; ");
  return gate;
}

std::vector<std::string> wear_weaknesses(const Device& device) {
  const Configuration& configuration = device.configuration();
  std::vector<std::string> weaker;
  const auto errors = device.storage().filesystem_errors(configuration.permanent_path);
  if (errors.has_value() && !errors.assume_value()) {
    weaker.emplace_back(
        "the filesystem of the permanent partition keeps no count of errors: one that the kernel met is seen only when "
        "it stops a write or a read");
  }
  const auto health = device.storage().health_of(configuration.permanent_path);
  if (!health.has_value()) return weaker;
  for (const io::DiskWear& disk : health.assume_value().disks) {
    if (!disk.life_time && !disk.pre_eol) {
      weaker.push_back("disk " + disk.disk + " below the permanent partition does not tell how worn it is");
    }
    if (disk.life_time.value_or(0) >= kLifeTimeWarning) {
      weaker.push_back("disk " + disk.disk + " below the permanent partition has used " +
                       percent_used(*disk.life_time) + " it was made for");
    }
    if (disk.pre_eol.value_or(0) >= kPreEolWarning) {
      weaker.push_back("disk " + disk.disk +
                       " below the permanent partition has used 80 % of its spare blocks or more");
    }
  }
  return weaker;
}

}  // namespace slotkeeper
