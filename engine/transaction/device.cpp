#include "engine/transaction/device.hpp"

#include <algorithm>

#include "engine/transaction/hooks.hpp"
#include "engine/transaction/steps/last_look.hpp"
#include "partitions/slot_hash.hpp"

namespace slotkeeper {

std::string_view engine_version() { return SLOTKEEPER_VERSION; }

std::uint32_t Device::attempts() const { return boot->traits().attempts; }

const std::string& Device::permanent_path() const {
  return has_open_transaction() ? record->permanent_path : configuration().permanent_path;
}

Result<std::unique_ptr<io::Directory>> Device::open_permanent() const {
  return with_context(storage().open_directory(permanent_path()), "permanent partition");
}

void Device::set_report(std::string_view name, Json value) {
  Json members = std::move(report);
  members.set(name, std::move(value));
  report = *members.as_object();
}

Result<void> Device::save_record() {
  SK_INVARIANT(record.has_value());
  SK_TRY(store->write_record(RecordKind::transaction, print_record(*record)));
  wrote = true;
  return success();
}

Result<void> Device::save_facts() {
  SK_TRY(store->write_record(RecordKind::facts, print_facts(facts)));
  wrote = true;
  return success();
}

Result<void> Device::advance(Event event) {
  SK_INVARIANT(record.has_value());
  const Transition* row = find_transition(record->state, event);
  SK_INVARIANT(row != nullptr);
  record->state = row->to;
  return save_record();
}

Result<BootFacts> Device::boot_facts() {
  SK_TRY_ASSIGN(auto reading, boot->read());
  return BootFacts{.booted = booted,
                   .environment = std::move(reading.state),
                   .keeps_mark = boot->traits().keeps_mark,
                   .boot_id = boot_id};
}

boot::BootState Device::as_kept(boot::BootState wanted) const {
  return boot::as_kept(std::move(wanted), boot->traits().keeps_mark, boot->traits().counts_tries);
}

Result<void> Device::store_environment(const boot::BootState& before, const boot::BootState& wanted) {
  // Where no mark is kept, storing one still tells the boot command that a trial is armed or confirmed.
  const bool tells = wanted.mark && !boot->traits().keeps_mark;
  const boot::BootState kept = as_kept(wanted);
  if (as_kept(before) == kept && !tells) return success();
  wrote = true;
  return with_context(boot->store(tells ? wanted : kept), "boot environment");
}

Json Device::history_entry(Outcome outcome, const std::optional<Failure>& why) const {
  Json entry = JsonObject{{"id", Json()},
                          {"outcome", name_of(outcome)},
                          {"ended", rfc3339(settings.host.now())},
                          {"engine", engine_version()}};
  if (why) {
    std::string message = escape_bytes(why->error.message.substr(0, kHistoryMessageMaxBytes));
    entry.set("code", info(why->error.code).name);
    entry.set("phase", why->phase ? Json(name_of(*why->phase)) : Json());
    entry.set("message", std::move(message));
  }
  return entry;
}

Result<void> Device::add_history(Outcome outcome, const std::optional<Failure>& why) {
  SK_INVARIANT(record.has_value());
  SK_TRY_ASSIGN(const auto entries, store->read_history());
  if (!entries.empty()) {
    // A cut between this entry and the record's last state makes recovery come here again.
    const auto newest = Json::parse(entries.front().payload, kEntryPayloadMaxBytes);
    if (newest.has_value()) {
      const Json* id = newest.assume_value().find("id");
      const Json* newest_outcome = newest.assume_value().find("outcome");
      if (id != nullptr && *id == Json(record->id) && newest_outcome != nullptr &&
          *newest_outcome == Json(name_of(outcome))) {
        return success();
      }
    }
  }
  Json entry = history_entry(outcome, why);
  entry.set("id", record->id);
  entry.set("started", record->started);
  entry.set("original", name_of(record->original));
  entry.set("target", name_of(record->target));
  entry.set("from", escape_bytes(record->original_version));
  entry.set("to", escape_bytes(record->image.version));
  entry.set("trial_boots", record->trial_boots);
  const Json result = report;
  for (const char* member : {"configuration", "manual_input_needed"}) {
    if (const Json* value = result.find(member)) entry.set(member, *value);
  }
  SK_TRY(store->append_history(entry.print()));
  wrote = true;
  return success();
}

Result<void> Device::add_history_without_transaction(Outcome outcome, const Failure& why, const std::string& version) {
  Json entry = history_entry(outcome, why);
  entry.set("to", escape_bytes(version));
  SK_TRY(store->append_history(entry.print()));
  wrote = true;
  return success();
}

namespace {

/// An environment inside a slot would be overwritten with it, and a store would change the slot that runs.
Result<void> check_outside_slots(io::Storage& storage, const SlotTable& slots, const std::string& path) {
  const std::string folder = path.substr(0, std::max<std::size_t>(path.rfind('/'), 1));
  SK_TRY_ASSIGN(const auto carrier, storage.identify(folder));
  for (const Slot* slot : {&slots.a, &slots.b}) {
    for (const auto& volume : slot->volumes) {
      const auto identity = storage.identify(volume.device_path);
      if (!identity.has_value() || !identity.assume_value().overlaps(carrier)) continue;  // who needs it will miss it
      return make_error(Errc::config, path + ": the boot environment lies in slot " + std::string(name_of(slot->id)) +
                                          ", volume " + volume.name + "; it needs a partition that both slots share");
    }
  }
  return success();
}

Result<std::unique_ptr<boot::BootControl>> make_grub_control(EngineSettings& settings) {
  const Configuration& configuration = settings.configuration;
  SK_TRY_ASSIGN(auto boot, boot::make_grub_control(settings.storage, {.grubenv = configuration.grubenv,
                                                                      .attempts = configuration.attempts}));
  SK_TRY(check_outside_slots(settings.storage, configuration.slots, configuration.grubenv));
  return boot;
}

Result<std::unique_ptr<boot::BootControl>> make_systemd_boot_control(EngineSettings& settings) {
  const Configuration& configuration = settings.configuration;
  SK_TRY_ASSIGN(auto boot, boot::make_systemd_boot_control(settings.storage, {.partition = configuration.efi_partition,
                                                                              .attempts = configuration.attempts}));
  SK_TRY(check_outside_slots(settings.storage, configuration.slots, configuration.efi_partition + "/loader"));
  return boot;
}

}  // namespace

Result<std::unique_ptr<boot::BootControl>> make_boot_control(EngineSettings& settings) {
  if (settings.make_boot_control) return settings.make_boot_control();
  const Configuration& configuration = settings.configuration;
  const std::uint32_t attempts = configuration.attempts;
  switch (configuration.boot_backend) {
    case BootBackend::uboot:
      return boot::make_uboot_control(settings.storage,
                                      {.fw_env_config = configuration.fw_env_config, .attempts = attempts});
    case BootBackend::grub:
      return make_grub_control(settings);
    case BootBackend::efi:
      if (configuration.efi_loader == EfiLoader::firmware)
        return boot::make_firmware_boot_control(settings.storage, {});
      return make_systemd_boot_control(settings);
    case BootBackend::custom:
      return boot::make_custom_control(settings.storage, settings.host,
                                       {.command = configuration.boot_command, .attempts = attempts});
  }
  return make_error(Errc::internal, "unknown boot backend");
}

Result<SlotId> booted_slot(EngineSettings& settings, boot::BootControl& boot) {
  auto found = find_booted_slot(settings.storage, settings.configuration.slots, std::nullopt);
  if (found.has_value()) {
    if (settings.assumed_slot && *settings.assumed_slot != found.assume_value()) {
      return make_error(Errc::unknown_slot, "--booted-slot says " + std::string(name_of(*settings.assumed_slot)) +
                                                ", but the device runs from slot " +
                                                std::string(name_of(found.assume_value())));
    }
    return found;
  }
  // Contradicting answers stay contradictions; only silence may be filled in.
  if (!settings.assumed_slot) {
    auto own = boot.booted();
    if (own.has_value() && own.assume_value()) {
      return find_booted_slot(settings.storage, settings.configuration.slots, own.assume_value());
    }
  }
  return find_booted_slot(settings.storage, settings.configuration.slots, settings.assumed_slot);
}

Result<std::unique_ptr<Device>> open_device(EngineSettings& settings, OpenFor purpose) {
  const bool writes = purpose != OpenFor::reading;
  SK_TRY(purpose == OpenFor::recovering ? check_permanent_partition(settings.storage, settings.configuration)
                                        : check_configuration(settings.storage, settings.configuration));
  SK_TRY_ASSIGN(auto boot, make_boot_control(settings));
  auto booted = booted_slot(settings, *boot);
  if (!booted.has_value() && writes) return std::move(booted).as_failure();
  SK_TRY_ASSIGN(auto store, StateStore::open(settings.storage, settings.configuration.store_path,
                                             writes ? StateStore::Access::write : StateStore::Access::read));
  SK_TRY_ASSIGN(auto boot_id, settings.host.boot_id());
  SK_TRY_ASSIGN(const auto facts_record, store->read_record(RecordKind::facts));
  if (!facts_record) {
    return make_error(Errc::not_provisioned, "the state store at " + settings.configuration.store_path +
                                                 " holds no facts: provisioning did not end");
  }
  SK_TRY_ASSIGN(auto facts, parse_facts(facts_record->payload));
  std::optional<TransactionRecord> record;
  SK_TRY_ASSIGN(const auto stored, store->read_record(RecordKind::transaction));
  if (stored) {
    SK_TRY_ASSIGN(record, parse_record(stored->payload));
  }
  auto device = std::make_unique<Device>(Device{.settings = settings,
                                                .boot = std::move(boot),
                                                .store = std::move(store),
                                                .boot_id = std::move(boot_id),
                                                .booted = booted.has_value() ? booted.assume_value() : facts.confirmed,
                                                .booted_is_known = booted.has_value(),
                                                .facts = std::move(facts),
                                                .record = std::move(record),
                                                .phase = std::nullopt,
                                                .cause = std::nullopt,
                                                .report = {},
                                                .watch = {},
                                                .pace = {}});
  // Before anything else: whoever writes to it would wait for ever.
  if (writes && may_be_quiet(*device)) SK_TRY(end_freeze_of_others(*device));
  return device;
}

Result<std::vector<std::string>> damaged_volumes(EngineSettings& settings, const Slot& slot,
                                                 const SlotBaseline& baseline, Phase phase, ProgressSink* sink,
                                                 SlotReading* reading, const BlockLookOf& look_of) {
  std::vector<std::string> damaged;
  for (const auto& expected : baseline.volumes) {
    const Volume* volume = slot.find(expected.volume);
    if (volume == nullptr) {
      damaged.push_back(expected.volume);
      continue;
    }
    if (volume->check == VolumeCheck::none) continue;
    SK_TRY_ASSIGN(auto found,
                  hash_volume(settings.storage, *volume, expected.length_bytes, sink != nullptr ? *sink : settings.sink,
                              phase, settings.helpers, look_of ? look_of(expected.volume) : BlockLook{}));
    if (found.digest != expected.digest) damaged.push_back(expected.volume);
    if (reading != nullptr) (*reading)[expected.volume] = std::move(found.fast_hashes);
  }
  return damaged;
}

}  // namespace slotkeeper
