#include "engine/transaction/configuration_fate.hpp"

#include "partitions/permanent/restore.hpp"

namespace slotkeeper {
namespace {

constexpr std::string_view kAsidePrefix = "aside:";
constexpr std::string_view kWhatToDo =
    "; the snapshot is kept and the services of the permanent partition must stay down: remove the cause, then run "
    "'slotkeeper recover' or restart the device";

void set_report(Device& device, std::string_view key, Json value) {
  Json report = std::move(device.report);
  report.set(key, std::move(value));
  device.report = report.as_object() != nullptr ? *report.as_object() : JsonObject{};
}

void report_paths(Device& device, std::string_view key, const permanent::NamedPaths& paths) {
  JsonArray list;
  for (const auto& path : paths.named) list.emplace_back(escape_bytes(path));
  set_report(device, key, std::move(list));
  set_report(device, std::string(key) + "_count", paths.count);
}

/// A sealed snapshot and what it needs to be restored without the record it was made under.
struct KeptSnapshot {
  AreaKind area;
  AreaKind other_area;
  SnapshotDescription description;
};

/// The newest generation that is kept of a transaction.
Result<std::optional<KeptSnapshot>> find_kept_snapshot(Device& device, const std::string& transaction) {
  for (const auto& [area, other_area] : {std::pair{AreaKind::snapshot_second, AreaKind::snapshot_first},
                                         std::pair{AreaKind::snapshot_first, AreaKind::snapshot_second}}) {
    SK_TRY_ASSIGN(const auto seal, device.store->area(area).read_seal());
    if (!seal) continue;
    SK_TRY_ASSIGN(auto description, parse_snapshot_description(seal->description));
    if (description.transaction != transaction) continue;
    return std::optional{KeptSnapshot{area, other_area, std::move(description)}};
  }
  return std::optional<KeptSnapshot>{};
}

/// Copies the present configuration into an area of the state store. False when it has no room there, which must not
/// keep the device from coming up.
Result<bool> save_aside(Device& device, io::Directory& root, AreaKind area, SnapshotDescription description) {
  description.transaction = std::string(kAsidePrefix) + description.transaction;
  const auto describe = [&](const permanent::SnapshotFacts& facts) {
    description.facts = facts;
    return print_snapshot_description(description);
  };
  device.wrote = true;
  const auto taken =
      permanent::take_snapshot(root, description.classes, device.store->area(area), describe, device.sink());
  if (taken.has_value()) {
    set_report(device, "saved_aside", true);
    return true;
  }
  if (taken.assume_error().code != Errc::no_space) return taken.assume_error();
  device.sink().notice("the present configuration has no room in the state store and is not saved aside: " +
                       taken.assume_error().message);
  set_report(device, "saved_aside", false);
  return false;
}

const permanent::ClassTable* trial_classes_of(const Device& device, const std::string& transaction) {
  if (!device.record || device.record->id != transaction || !device.record->trial_classes) return nullptr;
  return &*device.record->trial_classes;
}

Result<void> restore_from(Device& device, io::Directory& root, const KeptSnapshot& kept) {
  device.phase = Phase::restore;
  StoreArea& area = device.store->area(kept.area);
  const SnapshotDescription& description = kept.description;
  SK_TRY(permanent::verify_snapshot(area, description.facts, device.sink()));
  SK_TRY_ASSIGN(const auto report,
                permanent::restore_snapshot(root, description.classes, area, description.facts, device.sink(),
                                            trial_classes_of(device, description.transaction)));
  device.wrote = device.wrote || report.changed;
  report_paths(device, "restored", report.replaced);
  report_paths(device, "removed", report.removed);
  if (report.kept.count != 0) report_paths(device, "kept", report.kept);
  report_fate(device, ConfigurationFate::restored);
  return success();
}

/// The area no longer holds what the record says of it.
Result<void> disown(Device& device, AreaKind area) {
  auto& claimed = area == AreaKind::snapshot_first ? device.record->first : device.record->second;
  if (!claimed) return success();
  claimed.reset();
  return device.save_record();
}

Result<void> carry_out_restore(Device& device) {
  TransactionRecord& record = *device.record;
  const auto& facts = record.second ? record.second : record.first;
  if (!facts) return make_error(Errc::state_store, "the record knows no snapshot");
  const KeptSnapshot kept = {.area = record.second ? AreaKind::snapshot_second : AreaKind::snapshot_first,
                             .other_area = record.second ? AreaKind::snapshot_first : AreaKind::snapshot_second,
                             .description = {.transaction = record.id,
                                             .classes = record.classes,
                                             .permanent_path = record.permanent_path,
                                             .facts = *facts}};
  SK_TRY_ASSIGN(auto root, device.open_permanent());
  if (record.revert && !record.saved_aside) {
    SK_TRY(disown(device, kept.other_area));
    SK_TRY_ASSIGN(const bool saved, save_aside(device, *root, kept.other_area, kept.description));
    static_cast<void>(saved);
    record.saved_aside = true;  // or cannot be; in any case not again once the restore has begun
    SK_TRY(device.save_record());
  }
  SK_TRY(restore_from(device, *root, kept));
  return root->close();
}

Result<void> save_aside_once(Device& device, io::Directory& root, AreaKind area,
                             const SnapshotDescription& description) {
  if (device.facts.saved_aside) return success();
  if (device.record) SK_TRY(disown(device, area));
  SK_TRY_ASSIGN(const bool saved, save_aside(device, root, area, description));
  static_cast<void>(saved);
  device.facts.saved_aside = true;
  return device.save_facts();
}

Result<void> settle_unreadable(Device& device) {
  std::optional<KeptSnapshot> kept;
  if (device.facts.snapshot_of) {
    SK_TRY_ASSIGN(kept, find_kept_snapshot(device, *device.facts.snapshot_of));
  }
  if (kept) {
    const auto whole =
        permanent::verify_snapshot(device.store->area(kept->area), kept->description.facts, device.sink());
    if (!whole.has_value()) {
      device.sink().notice("the configuration that is kept of the firmware that runs now is damaged: " +
                           whole.assume_error().message);
      kept.reset();
    }
  }
  const Configuration& configuration = device.configuration();
  const std::string& path = kept ? kept->description.permanent_path : configuration.permanent_path;
  SK_TRY_ASSIGN(auto root, device.storage().open_directory(path));
  if (kept) {
    SK_TRY(save_aside_once(device, *root, kept->other_area, kept->description));
    SK_TRY(restore_from(device, *root, *kept));
  } else {
    const SnapshotDescription description = {.transaction = device.facts.snapshot_of.value_or(""),
                                             .classes = configuration.classes,
                                             .permanent_path = path,
                                             .facts = {}};
    SK_TRY(save_aside_once(device, *root, AreaKind::snapshot_second, description));
    report_fate(device, ConfigurationFate::saved_aside);
    device.sink().notice(
        "the firmware that runs cannot read the present configuration, and no older one is kept; it stays in place, a "
        "copy is in the state store, and somebody has to set the device up again");
    set_report(device, "manual_input_needed", true);
  }
  return root->close();
}

Result<void> restore_what_was_saved_aside(Device& device) {
  SK_TRY_ASSIGN(const auto aside,
                find_kept_snapshot(device, std::string(kAsidePrefix) + device.facts.snapshot_of.value_or("")));
  if (aside) {
    SK_TRY_ASSIGN(auto root, device.storage().open_directory(aside->description.permanent_path));
    SK_TRY(restore_from(device, *root, *aside));
    SK_TRY(root->close());
  } else {
    device.sink().notice(
        "a fall-back to the other slot was cut off, and the configuration of this one could not be "
        "saved aside before: it may be mixed with the older one");
    set_report(device, "manual_input_needed", true);
  }
  device.facts.saved_aside = false;
  return device.save_facts();
}

Error as_incomplete(Error error) {
  error.message += kWhatToDo;
  return std::move(error).with_code(Errc::restore_incomplete);
}

}  // namespace

std::string_view name_of(ConfigurationFate fate) {
  switch (fate) {
    case ConfigurationFate::kept:
      return "kept";
    case ConfigurationFate::migrated:
      return "migrated";
    case ConfigurationFate::restored:
      return "restored";
    case ConfigurationFate::to_be_restored:
      return "to-be-restored";
    case ConfigurationFate::saved_aside:
      return "saved-aside";
  }
  return "kept";
}

void report_fate(Device& device, ConfigurationFate fate) {
  set_report(device, "configuration", name_of(fate));
  const bool asked = device.record && device.record->migration && device.record->migration->manual_input_needed;
  if (asked && fate == fate_after_trial(*device.record)) set_report(device, "manual_input_needed", true);
}

std::string reported_fate(const Device& device) {
  const Json report = device.report;
  const Json* fate = report.find("configuration");
  return fate != nullptr && fate->as_string() != nullptr ? *fate->as_string() : std::string();
}

ConfigurationFate fate_after_trial(const TransactionRecord& record) {
  return record.migration && record.migration->config_changed ? ConfigurationFate::migrated : ConfigurationFate::kept;
}

bool can_read_configuration(const Device& device, SlotId slot) {
  const auto& writer = device.facts[device.facts.confirmed];
  const auto& reader = device.facts[slot];
  if (writer && reader && writer->config_readable_by && reader->config_schema) {
    return *reader->config_schema >= *writer->config_readable_by;
  }
  const auto& record = device.record;
  const bool led_here = record && record->state == State::confirmed && record->target == device.facts.confirmed &&
                        record->original == slot;
  return !(led_here && record->migration && record->migration->config_changed);
}

Result<void> restore_of_transaction(Device& device) {
  device.phase = Phase::restore;
  auto restored = carry_out_restore(device);
  if (!restored.has_value()) return as_incomplete(std::move(restored).assume_error());
  return success();
}

Result<void> settle_configuration_after_fallback(Device& device) {
  if (can_read_configuration(device, device.booted)) {
    report_fate(device, ConfigurationFate::kept);
    return success();
  }
  auto settled = settle_unreadable(device);
  if (!settled.has_value()) return as_incomplete(std::move(settled).assume_error());
  return success();
}

Result<void> take_back_fallback(Device& device) {
  if (!device.facts.saved_aside) return success();
  auto restored = restore_what_was_saved_aside(device);
  if (!restored.has_value()) return as_incomplete(std::move(restored).assume_error());
  return success();
}

std::optional<Error> reason_to_hold_back(const Device& device) {
  if (!device.has_open_transaction() || device.booted != device.record->target) return std::nullopt;
  const TransactionRecord& record = *device.record;
  const std::string original = "slot " + std::string(name_of(record.original));
  if (record.state == State::restoring) {
    return make_error(Errc::restore_incomplete,
                      "the configuration is half restored; restart the device, so that " + original + " can go on");
  }
  const bool prepared = record.second_decided && record.migration;
  if (record.state != State::withdrawing || prepared || !device.cause) return std::nullopt;
  const Error& cause = device.cause->error;
  if (cause.code == Errc::cancelled) return std::nullopt;
  const bool judged = info(cause.code).exit_status == info(Errc::health).exit_status;
  return make_error(judged ? cause.code : Errc::health, "the trial of version " + record.image.version +
                                                            " was not started: " + cause.message +
                                                            "; restart the device, " + original + " is first again");
}

}  // namespace slotkeeper
