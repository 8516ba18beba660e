#include "engine/transaction/steps/preflight.hpp"

#include <algorithm>

#include "engine/source/location.hpp"
#include "engine/transaction/compacting.hpp"
#include "engine/transaction/expected_duration.hpp"
#include "engine/transaction/floor.hpp"
#include "engine/transaction/quarantine.hpp"
#include "engine/transaction/steps/preflight_gates.hpp"
#include "partitions/permanent/root_reserve.hpp"

namespace slotkeeper {
namespace {

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const auto& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

Result<void> check_compatible(Device& device, const bundle::Manifest& manifest) {
  const std::string& own = device.configuration().compatible;
  if (std::ranges::find(manifest.compatible, own) == manifest.compatible.end()) {
    return make_error(Errc::incompatible,
                      "the bundle is for '" + joined(manifest.compatible) + "', this device is '" + own + "'");
  }
  if (kRecordVersion < manifest.records_min || kRecordVersion > manifest.records_max) {
    return make_error(Errc::incompatible,
                      "the engine in the new firmware understands records " + std::to_string(manifest.records_min) +
                          " to " + std::to_string(manifest.records_max) + ", this one writes " +
                          std::to_string(kRecordVersion) + ": it could not take the transaction over");
  }
  return check_floor(device, manifest);
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

/// Lets the probe look whenever the work that goes on meanwhile reports.
class ProbingSink final : public ForwardingSink {
 public:
  ProbingSink(EngineSink& inner, permanent::WriteProbe& probe) : ForwardingSink(inner), probe_(probe) {}
  [[nodiscard]] Result<void> check_cancelled() override {
    SK_TRY(probe_.look());
    return ForwardingSink::check_cancelled();
  }

 private:
  permanent::WriteProbe& probe_;
};

/// Remembers what the booted slot holds, where the bundle says how to cut it.
BlockLook look_for_chunks(const bundle::VerifiedManifest& manifest, const std::string& volume,
                          PreflightReport& report) {
  const auto& images = manifest.manifest().images;
  for (std::size_t i = 0; i < images.size(); ++i) {
    const std::uint32_t average_bytes = manifest.index(i).cut_average_bytes;
    if (images[i].volume != volume || average_bytes == 0) continue;
    auto& chunks = report.old_chunks.emplace(volume, average_bytes).first->second;
    return [&chunks](std::span<const BlockHash> blocks) { chunks.add(blocks); };
  }
  return {};
}

/// Reads the booted slot, and measures meanwhile how much the live system writes. We write nothing here, so nothing of
/// ours is in the rate.
Result<FallbackFinding> fallback_while_probing(Device& device, io::Directory& root, PreflightReport& report,
                                               const BlockLookOf& look_of) {
  const BackgroundWork background(device);
  const Configuration& configuration = device.configuration();
  if (configuration.storm_probe.count() == 0) return fallback_gate(device, device.sink(), look_of);
  SK_TRY_ASSIGN(auto probe,
                permanent::WriteProbe::begin(device.storage(), device.settings.host, root, configuration.permanent_path,
                                             report.inventory(), configuration.storm_probe));
  ProbingSink sink(device.sink(), probe);
  SK_TRY_ASSIGN(auto finding, fallback_gate(device, sink, look_of));
  SK_TRY_ASSIGN(report.write_rate, probe.finish(device.sink()));
  return finding;
}

permanent::Forecast make_forecast_of(const Device& device, const bundle::VerifiedManifest& verified,
                                     const PreflightReport& report, const FallbackFinding& fallback,
                                     const io::SpaceFacts& space, std::optional<std::uint64_t> reserved_bytes) {
  const Configuration& configuration = device.configuration();
  WorkAhead work{.image_bytes = 0,
                 .fallback_bytes = fallback.read_bytes,
                 .protected_bytes = permanent::rollback_reserve_of(report.inventory(), space.block_bytes).bytes,
                 .compacted_bytes = 0,
                 .read_bytes_per_s = fallback.read_bytes_per_s};
  work.write_bytes_per_s = configuration.install.max_write_rate;
  // A rate that was measured was measured at this pace.
  if (configuration.install.gentle && !work.read_bytes_per_s) work.slot_factor = Pace::kSlowestFactor;
  if (is_url(verified.source().name())) work.fetch_bytes_per_s = configuration.source.max_rate;
  for (const auto& image : verified.manifest().images) {
    work.image_bytes += image.plain_bytes;
    work.fetched_bytes += image.stored_bytes;
  }
  for (const auto& action : report.compaction.actions) {
    if (action.kind == permanent::CompactionAction::Kind::remove_disposable) continue;
    work.compacted_bytes += report.compaction.file(action).status.size_bytes;
  }
  return permanent::make_forecast({
      .space = space,
      .reserved_bytes = reserved_bytes,
      .reclaimable = report.compaction.frees,
      .rollback_reserve = permanent::rollback_reserve_of(report.inventory(), space.block_bytes),
      .event_reserve = permanent::kEventReserve,
      .migration_headroom = permanent::migration_headroom_of(report.inventory(), space.block_bytes),
      .log_reserve_bytes = configuration.reserve_bytes,
      .write_rate_bytes_per_s = report.write_rate ? report.write_rate->bytes_per_s() : 0,
      .write_rate_is_measured = report.write_rate.has_value(),
      .expected_duration_s = expected_duration_s(work),
      .max_fill_percent = configuration.max_fill_percent,
  });
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

void tell_writes(Device& device, const bundle::Manifest& manifest, const PreflightReport& report) {
  EngineSink& sink = device.sink();
  for (const auto& action : report.compaction.actions) sink.planned_write(planned_write_of(report.compaction, action));
  const auto& reserve = report.forecast.input.rollback_reserve;
  sink.planned_write({.where = "state store " + device.configuration().store_path,
                      .what = "snapshot of configuration and state, at most",
                      .bytes = permanent::snapshot_bound_bytes(report.inventory())});
  sink.planned_write({.where = "permanent partition",
                      .what = "reserve for a rollback, " + std::to_string(reserve.inodes) + " files",
                      .bytes = reserve.bytes + report.forecast.input.log_reserve_bytes});
  for (const auto& image : manifest.images) {
    const Volume* volume = device.configuration().slots[report.target].find(image.volume);
    sink.planned_write({.where = "slot " + std::string(name_of(report.target)) + ", volume " + image.volume + " (" +
                                 volume->device_path + ")",
                        .what = "image " + manifest.version,
                        .bytes = image.plain_bytes});
  }
  sink.planned_write({.where = "boot environment (" + device.boot->traits().backend + ")",
                      .what = "out of the order, then the switch",
                      .bytes = 0});
}

Error refusal_error(const permanent::Gate& gate) {
  return make_error(gate.code, gate.message)
      .with_detail({"measured", static_cast<std::int64_t>(gate.measured)})
      .with_detail({"limit", static_cast<std::int64_t>(gate.limit)})
      .with_detail({"unit", gate.unit});
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
  SK_TRY(device.boot->check_can_arm());  // the switch must not be the first to find out

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
  SK_TRY_ASSIGN(const auto limits, files_to_keep(device, manifest));
  SK_TRY_ASSIGN(report.compaction,
                permanent::plan_compaction(*root, std::move(inventory).assume_value(), configuration.classes, limits));
  const auto look_of = [&](const std::string& volume) { return look_for_chunks(manifest, volume, report); };
  SK_TRY_ASSIGN(auto fallback, fallback_while_probing(device, *root, report, look_of));
  for (auto& [volume, chunks] : report.old_chunks) chunks.finish();
  SK_TRY_ASSIGN(const auto space, root->space());
  SK_TRY(root->close());
  SK_TRY_ASSIGN(const auto reserved, permanent::bytes_kept_back(device.storage(), configuration.permanent_path));
  report.forecast = make_forecast_of(device, manifest, report, fallback, space, reserved);
  report.advice = permanent::advise(report.forecast, configuration.classes, report.compaction);
  report.gates = report.forecast.gates;
  report.gates.push_back(config_busy_gate(busy));
  SK_TRY_ASSIGN(auto worn, storage_worn_gate(device, report.target, errors));
  report.gates.push_back(std::move(worn));
  report.gates.push_back(fallback.gate);
  report.gates.push_back(quarantine_gate(device, manifest.digest()));
  report.fallback = std::move(fallback.reading);
  return report;
}

Result<UpdatePlan> plan_update(Device& device, const bundle::VerifiedManifest& manifest) {
  SK_TRY_ASSIGN(auto report, examine(device, manifest));
  for (const auto& gate : report.gates) device.sink().gate(gate);
  if (const auto* refusal = report.first_refusal()) {
    Error error = refusal_error(*refusal);
    const std::string advice = permanent::sentence_of(report.advice);
    if (!advice.empty()) error.message += "; " + advice;
    return error;
  }
  report.compaction.keep_planned_files();  // of 200,000 files the rest may be 20 MiB, and later steps need memory, too
  return UpdatePlan(std::move(report));
}

}  // namespace slotkeeper
