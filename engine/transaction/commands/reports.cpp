#include "engine/transaction/commands/commands.hpp"
#include "engine/transaction/floor.hpp"
#include "engine/transaction/forecast_report.hpp"
#include "engine/transaction/steps/choose_bundle.hpp"
#include "engine/transaction/steps/last_look.hpp"
#include "engine/transaction/steps/open.hpp"
#include "engine/transaction/steps/preflight.hpp"
#include "engine/transaction/steps/preflight_gates.hpp"
#include "partitions/permanent/reserve_strength.hpp"

namespace slotkeeper {
namespace {

std::string slot_health(const Device& device, const boot::BootState& environment, SlotId slot) {
  const auto& state = environment[slot];
  if (state.health == boot::SlotHealth::bad) return "bad";
  if (!device.facts[slot]) return "unknown";
  const bool on_trial = device.has_open_transaction() && device.record->target == slot;
  if (on_trial) return "unknown";
  return std::string(boot::name_of(state.health));
}

Json slot_to_json(const Device& device, const boot::BootState& environment, SlotId slot) {
  const auto& baseline = device.facts[slot];
  const bool staged = device.has_open_transaction() && device.record->target == slot &&
                      device.record->state >= State::staged && device.record->state <= State::confirming;
  const SlotBaseline* known = baseline ? &*baseline : staged ? &device.record->image : nullptr;
  const auto& tries = environment[slot].tries_left;
  return JsonObject{
      {"version", known != nullptr && !known->version.empty() ? Json(escape_bytes(known->version)) : Json()},
      {"health", slot_health(device, environment, slot)},
      {"booted", device.booted_is_known && device.booted == slot},
      {"primary", environment.primary() == slot},
      {"tries_left", tries ? Json(*tries) : Json()},
      {"manifest_sha256", known != nullptr && known->manifest_digest ? Json(known->manifest_digest->hex()) : Json()},
      {"baseline", known != nullptr ? Json(name_of(known->origin)) : Json()},
  };
}

Result<Json> permanent_to_json(Device& device) {
  SK_TRY_ASSIGN(auto root, device.open_permanent());
  SK_TRY_ASSIGN(const auto space, root->space());
  SK_TRY_ASSIGN(const auto inventory, permanent::take_inventory(*root, device.configuration().classes,
                                                                permanent::HashScope::config, device.sink()));
  SK_TRY(root->close());
  JsonObject classes;
  for (const auto& [name, totals] : inventory.classes) {
    classes.emplace_back(escape_bytes(name), JsonObject{{"files", totals.files}, {"bytes", totals.bytes}});
  }
  // Rounded up, so that 54 is never shown for a partition that the gate refuses.
  const auto percent = space.capacity_bytes == 0
                           ? 0
                           : static_cast<std::uint64_t>(
                                 (static_cast<unsigned __int128>(space.used_bytes()) * 100 + space.capacity_bytes - 1) /
                                 space.capacity_bytes);
  return Json(JsonObject{{"path", escape_bytes(device.configuration().permanent_path)},
                         {"capacity_bytes", space.capacity_bytes},
                         {"used_bytes", space.used_bytes()},
                         {"fill_percent", percent},
                         {"inodes", space.inodes},
                         {"inodes_used", space.inodes - space.inodes_free},
                         {"classes", std::move(classes)},
                         {"root_sha256", inventory.config_root.hex()}});
}

/// Where less is promised of who may update this device.
std::vector<std::string> trust_weaknesses(const TrustSettings& trust) {
  std::vector<std::string> weaker;
  if (auto lacking = bundle::algorithm_weakness()) weaker.push_back(std::move(*lacking));
  if (trust.judged_at == bundle::JudgedAt::signing_time) {
    weaker.emplace_back(
        "signers say themselves when they signed (trust.time = \"signing-time\"): who has the key of a certificate "
        "that "
        "has ended can still sign");
  }
  return weaker;
}

JsonArray weaknesses(const Device& device) {
  JsonArray weaker;
  if (!device.booted_is_known) {
    weaker.emplace_back("it is not known which slot runs: neither the kernel command line nor the root device tells");
  }
  for (const auto& sentence : device.boot->traits().weaknesses) weaker.emplace_back(sentence);
  for (const auto& volume : device.configuration().slots.a.volumes) {
    if (volume.check == VolumeCheck::none) {
      weaker.emplace_back("volume '" + volume.name + "' is not verified (verify = \"none\")");
    }
  }
  const auto& baseline = device.facts[device.facts.confirmed];
  if (baseline && baseline->origin == BaselineOrigin::adopted) {
    weaker.emplace_back("the baseline of slot " + std::string(name_of(device.facts.confirmed)) +
                        " was adopted as found; only a factory bundle proves what should be there");
  }
  for (auto& sentence : wear_weaknesses(device)) weaker.emplace_back(std::move(sentence));
  if (auto root = device.open_permanent(); root.has_value()) {
    const auto space = root.assume_value()->space();
    if (space.has_value()) {
      std::string weakness = permanent::reserve_weakness(space.assume_value().filesystem_magic);
      if (!weakness.empty()) weaker.emplace_back(std::move(weakness));
    }
  }
  for (auto& sentence : trust_weaknesses(device.configuration().trust)) weaker.emplace_back(std::move(sentence));
  if (auto weakness = weakness_of_last_look(device)) weaker.emplace_back(std::move(*weakness));
  return weaker;
}

Result<CommandResult> status(Device& device) {
  SK_TRY_ASSIGN(const auto reading, device.boot->read());
  SK_TRY_ASSIGN(auto permanent, permanent_to_json(device));
  CommandResult result;
  Json transaction;
  if (device.has_open_transaction()) {
    transaction = JsonObject{{"id", device.record->id},
                             {"state", name_of(device.record->state)},
                             {"target", name_of(device.record->target)},
                             {"version", escape_bytes(device.record->image.version)}};
  }
  auto weaker = weaknesses(device);
  if (reading.damaged_copy) {
    weaker.emplace_back("one copy of the boot environment is damaged; 'slotkeeper recover' rewrites it");
  }
  if (const auto ready = device.boot->check_can_arm(); !ready.has_value()) {
    weaker.emplace_back("no update can be installed: " + ready.assume_error().message);
  }
  // Whoever looks at a device has to see the rest of it also when its counter or its trust anchors are out of order.
  const auto found_floor = read_floor(device);
  const Floor floor = found_floor.has_value() ? found_floor.assume_value() : Floor{};
  if (!found_floor.has_value()) {
    weaker.emplace_back("no update can be installed: " + found_floor.assume_error().message);
  } else if (!floor.is_authentic) {
    weaker.emplace_back("the recorded firmware group is not authentic, so that only higher ones are accepted: " +
                        floor.doubt);
  } else if (floor.rules.group && !floor.counter) {
    weaker.emplace_back(
        "no hardware counter holds the firmware group (hook 'counter'): who can write the state store "
        "can set it back");
  }
  result.extra = JsonObject{{"slots", JsonObject{{"A", slot_to_json(device, reading.state, SlotId::a)},
                                                 {"B", slot_to_json(device, reading.state, SlotId::b)}}},
                            {"transaction", std::move(transaction)},
                            {"permanent", std::move(permanent)},
                            {"floor", to_json(floor)},
                            {"weaker", std::move(weaker)}};
  return result;
}

Result<CommandResult> preflight(Device& device, const std::string& location) {
  if (!device.booted_is_known) return booted_slot(device.settings, *device.boot).as_failure();
  SK_TRY(find_health_checks(device.storage(), device.configuration()));
  SK_TRY_ASSIGN(auto offered, open_and_verify(device, location));
  SK_TRY_ASSIGN(const auto manifest, choose_bundle(device, location, std::move(offered)));
  SK_TRY_ASSIGN(const auto report, examine(device, manifest));
  JsonObject forecast = forecast_members(report, device.configuration().classes);
  device.sink().forecast(forecast);
  for (const auto& gate : report.gates) device.sink().gate(gate);
  tell_writes(device, manifest.manifest(), report);
  if (const auto* refusal = report.first_refusal()) {
    CommandResult postponed = failed_command(refusal_error(*refusal), device.phase);
    postponed.extra.emplace_back("forecast", std::move(forecast));
    return postponed;
  }
  CommandResult result;
  result.outcome = Outcome::ok;
  result.extra.emplace_back("forecast", std::move(forecast));
  result.extra.emplace_back("version", escape_bytes(manifest.manifest().version));
  result.extra.emplace_back("target", name_of(report.target));
  result.lines.push_back("Version " + manifest.manifest().version + " can be installed in slot " +
                         std::string(name_of(report.target)) + ".");
  return result;
}

Result<CommandResult> history(Device& device) {
  SK_TRY_ASSIGN(const auto entries, device.store->read_history());
  JsonArray list;
  for (const auto& entry : entries) {
    auto json = Json::parse(entry.payload, kEntryPayloadMaxBytes);
    if (json.has_value()) list.push_back(std::move(json).assume_value());
  }
  CommandResult result;
  result.outcome = Outcome::ok;
  result.extra.emplace_back("transactions", std::move(list));
  return result;
}

Result<void> verify_slots(Device& device, std::vector<std::string>& differences) {
  for (const SlotId slot : {SlotId::a, SlotId::b}) {
    const bool staged = device.has_open_transaction() && device.record->target == slot &&
                        (device.record->state == State::staged || device.record->state == State::arming ||
                         device.record->state == State::armed || device.record->state == State::trial);
    const auto& known = device.facts[slot];
    const SlotBaseline* baseline = known ? &*known : staged ? &device.record->image : nullptr;
    if (baseline == nullptr) continue;
    SK_TRY_ASSIGN(const auto damaged,
                  damaged_volumes(device.settings, device.configuration().slots[slot], *baseline, Phase::verify));
    for (const auto& volume : damaged) {
      differences.push_back("slot " + std::string(name_of(slot)) + ", volume " + volume);
    }
  }
  return success();
}

Result<void> verify_snapshots(Device& device, std::vector<std::string>& differences) {
  if (!device.record) return success();
  const auto& record = *device.record;
  const bool kept = device.has_open_transaction() || device.facts.snapshot_of == record.id;
  if (!kept) return success();
  const auto check = [&](const std::optional<permanent::SnapshotFacts>& facts, AreaKind kind,
                         const char* name) -> Result<void> {
    if (!facts) return success();
    auto verified = permanent::verify_snapshot(device.store->area(kind), *facts, device.sink());
    if (verified.has_value()) return success();
    const Errc code = verified.assume_error().code;
    if (code != Errc::readback_mismatch && code != Errc::state_store) return verified;
    differences.push_back(std::string(name) + " snapshot (" + verified.assume_error().message + ")");
    return success();
  };
  SK_TRY(check(record.first, AreaKind::snapshot_first, "first"));
  return check(record.second, AreaKind::snapshot_second, "second");
}

Result<CommandResult> verify(Device& device) {
  device.phase = Phase::verify;
  std::vector<std::string> differences;
  SK_TRY(verify_slots(device, differences));
  SK_TRY(verify_snapshots(device, differences));
  SK_TRY_ASSIGN(auto root, device.open_permanent());
  // Every file is read: a block that cannot be read any more is found here and not in the middle of an update.
  SK_TRY_ASSIGN(const auto inventory, permanent::take_inventory(*root, device.configuration().classes,
                                                                permanent::HashScope::everything, device.sink()));
  SK_TRY(root->close());
  if (!differences.empty()) {
    std::string list;
    for (const auto& difference : differences) list += (list.empty() ? "" : "; ") + difference;
    return make_error(Errc::readback_mismatch, "differs from what was recorded: " + list)
        .with_detail({"differences", differences});
  }
  CommandResult result;
  result.outcome = Outcome::ok;
  result.extra.emplace_back("root_sha256", inventory.config_root.hex());
  result.lines.emplace_back("Everything reads as recorded.");
  return result;
}

CommandResult unwrap(const Device& device, Result<CommandResult> result) {
  if (!result.has_value()) return failed_command(std::move(result).assume_error(), device.phase);
  return std::move(result).assume_value();
}

}  // namespace

CommandResult report_preflight(Device& device, const std::string& location) {
  return unwrap(device, preflight(device, location));
}
CommandResult report_status(Device& device) { return unwrap(device, status(device)); }
CommandResult report_history(Device& device) { return unwrap(device, history(device)); }
CommandResult verify_device(Device& device) { return unwrap(device, verify(device)); }

}  // namespace slotkeeper
