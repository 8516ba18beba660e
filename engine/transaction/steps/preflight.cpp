#include "engine/transaction/steps/preflight.hpp"

#include <algorithm>

#include "engine/transaction/compacting.hpp"

namespace slotkeeper {
namespace {

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const auto& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

Result<void> check_compatible(const Device& device, const bundle::Manifest& manifest) {
  const std::string& own = device.configuration().compatible;
  if (std::ranges::find(manifest.compatible, own) == manifest.compatible.end()) {
    return make_error(Errc::incompatible,
                      "the bundle is for '" + joined(manifest.compatible) + "', this device is '" + own + "'");
  }
  if (manifest.firmware_group) {
    return make_error(Errc::not_supported_yet, "the bundle belongs to a firmware group ([firmware-group])");
  }
  if (kRecordVersion < manifest.records_min || kRecordVersion > manifest.records_max) {
    return make_error(Errc::incompatible,
                      "the engine in the new firmware understands records " + std::to_string(manifest.records_min) +
                          " to " + std::to_string(manifest.records_max) + ", this one writes " +
                          std::to_string(kRecordVersion) + ": it could not take the transaction over");
  }
  return success();
}

/// Every image has a volume that is large enough, and every checked volume has an image.
Result<void> check_volumes(Device& device, const bundle::Manifest& manifest, const Slot& target) {
  for (const auto& image : manifest.images) {
    const Volume* volume = target.find(image.volume);
    if (volume == nullptr) {
      return make_error(Errc::incompatible, "the bundle has an image for volume '" + image.volume +
                                                "', which the device's slots do not have");
    }
    SK_TRY_ASSIGN(auto file, device.storage().open_file(
                                 volume->device_path, {.access = io::OpenMode::Access::read, .follow_symlink = true}));
    SK_TRY_ASSIGN(const auto capacity, file->size());
    SK_TRY(file->close());
    if (image.plain_bytes > capacity) {
      return make_error(Errc::incompatible, "the image for volume '" + image.volume + "' has " +
                                                std::to_string(image.plain_bytes) + " bytes, " + volume->device_path +
                                                " has only " + std::to_string(capacity));
    }
  }
  for (const auto& volume : target.volumes) {
    if (manifest.find(volume.name) == nullptr && volume.check == VolumeCheck::image) {
      return make_error(Errc::incompatible, "the bundle has no image for volume '" + volume.name +
                                                "' of this device; the slot would be a mix of two firmwares");
    }
  }
  return success();
}

Result<permanent::Gate> fallback_gate(Device& device) {
  permanent::Gate gate{
      .code = Errc::fallback_damaged, .pass = true, .measured = 0, .limit = 0, .unit = "count", .message = {}};
  const auto& baseline = device.facts[device.booted];
  if (!baseline) {
    gate.pass = false;
    gate.measured = 1;
    gate.message = "no checksums are recorded for the running slot " + std::string(name_of(device.booted));
    return gate;
  }
  SK_TRY_ASSIGN(const auto damaged, damaged_volumes(device.settings, device.configuration().slots[device.booted],
                                                    *baseline, Phase::preflight));
  gate.pass = damaged.empty();
  gate.measured = damaged.size();
  gate.message = gate.pass ? "the running slot " + std::string(name_of(device.booted)) + " reads as recorded"
                           : "the running slot " + std::string(name_of(device.booted)) +
                                 " differs from its recorded checksums in: " + joined(damaged);
  return gate;
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

std::vector<PlannedWrite> list_writes(const Device& device, const bundle::Manifest& manifest,
                                      const PreflightReport& report) {
  std::vector<PlannedWrite> writes;
  for (const auto& action : report.compaction.actions) {
    writes.push_back(planned_write_of(action));
  }
  const auto& reserve = report.forecast.input.rollback_reserve;
  writes.push_back({.where = "state store " + device.configuration().store_path,
                    .what = "snapshot of configuration and state, at most",
                    .bytes = permanent::snapshot_bound_bytes(report.inventory)});
  writes.push_back({.where = "permanent partition",
                    .what = "reserve for a rollback, " + std::to_string(reserve.inodes) + " files",
                    .bytes = reserve.bytes + report.forecast.input.log_reserve_bytes});
  for (const auto& image : manifest.images) {
    const Volume* volume = device.configuration().slots[report.target].find(image.volume);
    writes.push_back({.where = "slot " + std::string(name_of(report.target)) + ", volume " + image.volume + " (" +
                               volume->device_path + ")",
                      .what = "image " + manifest.version,
                      .bytes = image.plain_bytes});
  }
  writes.push_back({.where = "boot environment (" + device.boot->traits().backend + ")",
                    .what = "out of the order, then the switch",
                    .bytes = 0});
  return writes;
}

Result<permanent::CompactionLimits> files_to_keep(Device& device, const bundle::VerifiedManifest& manifest) {
  SK_TRY_ASSIGN(auto limits, compaction_limits(device));
  auto status = device.storage().status_of(manifest.source().name());
  if (status.has_value()) limits.keep.emplace_back(status.assume_value().device, status.assume_value().inode);
  return limits;
}

}  // namespace

const permanent::Gate* PreflightReport::first_refusal() const {
  const permanent::Gate* first = nullptr;
  for (const auto& gate : gates) {
    if (!gate.pass && (first == nullptr || gate.code < first->code)) first = &gate;
  }
  return first;
}

Result<PreflightReport> examine(Device& device, const bundle::VerifiedManifest& manifest) {
  device.phase = Phase::preflight;
  PreflightReport report;
  report.target = other(device.booted);
  const Configuration& configuration = device.configuration();
  SK_TRY(check_compatible(device, manifest.manifest()));
  SK_TRY(check_target_is_free(device.storage(), configuration.slots, report.target, configuration.permanent_path,
                              configuration.store_path));
  SK_TRY(check_volumes(device, manifest.manifest(), configuration.slots[report.target]));

  SK_TRY_ASSIGN(auto root, device.open_permanent());
  SK_TRY_ASSIGN(const auto errors, device.storage().filesystem_errors(configuration.permanent_path));
  report.errors_counted = errors.value_or(0);
  std::optional<Error> busy;
  auto inventory = permanent::take_inventory(*root, configuration.classes, permanent::HashScope::config, device.sink());
  if (!inventory.has_value() && inventory.assume_error().code == Errc::config_busy) {
    busy = std::move(inventory).assume_error();
    inventory = permanent::take_inventory(*root, configuration.classes, permanent::HashScope::nothing, device.sink());
  }
  if (!inventory.has_value()) return std::move(inventory).as_failure();
  report.inventory = std::move(inventory).assume_value();
  SK_TRY_ASSIGN(const auto limits, files_to_keep(device, manifest));
  SK_TRY_ASSIGN(report.compaction,
                permanent::plan_compaction(*root, report.inventory, configuration.classes, limits));
  SK_TRY_ASSIGN(const auto space, root->space());
  report.forecast = permanent::make_forecast({
      .space = space,
      .reclaimable = report.compaction.frees,
      .rollback_reserve = permanent::rollback_reserve_of(report.inventory, space.block_bytes),
      .event_reserve = permanent::kEventReserve,
      .migration_headroom = permanent::migration_headroom_of(report.inventory, space.block_bytes),
      .log_reserve_bytes = configuration.reserve_bytes,
      .write_rate_bytes_per_s = 0,
      .expected_duration_s = 0,
      .max_fill_percent = configuration.max_fill_percent,
  });
  SK_TRY(root->close());
  report.gates = report.forecast.gates;
  report.gates.push_back(config_busy_gate(busy));
  SK_TRY_ASSIGN(auto fallback, fallback_gate(device));
  report.gates.push_back(std::move(fallback));
  report.writes = list_writes(device, manifest.manifest(), report);
  return report;
}

Result<UpdatePlan> plan_update(Device& device, const bundle::VerifiedManifest& manifest) {
  SK_TRY_ASSIGN(auto report, examine(device, manifest));
  for (const auto& gate : report.gates) device.sink().gate(gate);
  if (const auto* refusal = report.first_refusal()) {
    return make_error(refusal->code, refusal->message)
        .with_detail({"measured", static_cast<std::int64_t>(refusal->measured)})
        .with_detail({"limit", static_cast<std::int64_t>(refusal->limit)})
        .with_detail({"unit", refusal->unit});
  }
  return UpdatePlan(std::move(report));
}

}  // namespace slotkeeper
