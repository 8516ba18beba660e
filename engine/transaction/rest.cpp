#include "engine/transaction/rest.hpp"

#include "engine/transaction/steps/snapshot.hpp"
#include "partitions/permanent/reserve.hpp"
#include "partitions/permanent/restore.hpp"

namespace slotkeeper {
namespace {

constexpr std::string_view kAsidePrefix = "aside:";

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

/// Keeps what the newer firmware wrote, once, before it is replaced.
Result<void> save_aside(Device& device, io::Directory& root, const KeptSnapshot& kept) {
  StoreArea& area = device.store->area(kept.other_area);
  const std::string name = std::string(kAsidePrefix) + kept.description.transaction;
  SK_TRY_ASSIGN(const auto seal, area.read_seal());
  if (seal) {
    const auto present = parse_snapshot_description(seal->description);
    if (present.has_value() && present.assume_value().transaction == name) return success();
  }
  const auto describe = [&](const permanent::SnapshotFacts& facts) {
    SnapshotDescription description = kept.description;
    description.transaction = name;
    description.facts = facts;
    return print_snapshot_description(description);
  };
  SK_TRY_ASSIGN(const auto facts,
                permanent::take_snapshot(root, kept.description.classes, area, describe, device.sink()));
  static_cast<void>(facts);
  return success();
}

Result<void> restore_previous(Device& device) {
  if (!device.facts.snapshot_of) {
    device.sink().notice("the firmware that runs cannot read the present configuration, and no older one is kept");
    return success();
  }
  SK_TRY_ASSIGN(const auto kept, find_kept_snapshot(device, *device.facts.snapshot_of));
  if (!kept) {
    device.sink().notice("the firmware that runs cannot read the present configuration, and no older one is kept");
    return success();
  }
  device.phase = Phase::restore;
  device.wrote = true;
  const auto carry_out = [&]() -> Result<void> {
    SK_TRY_ASSIGN(auto root, device.storage().open_directory(kept->description.permanent_path));
    SK_TRY(save_aside(device, *root, *kept));
    StoreArea& area = device.store->area(kept->area);
    SK_TRY(permanent::verify_snapshot(area, kept->description.facts, device.sink()));
    SK_TRY_ASSIGN(const auto report, permanent::restore_snapshot(*root, kept->description.classes, area,
                                                                 kept->description.facts, device.sink()));
    static_cast<void>(report);
    return root->close();
  };
  auto restored = carry_out();
  if (!restored.has_value()) return std::move(restored).assume_error().with_code(Errc::restore_incomplete);
  return success();
}

Result<void> settle_fallback(Device& device) {
  if (device.booted == device.facts.confirmed || device.facts.activated_boot_id == device.boot_id) return success();
  const SlotId lost = device.facts.confirmed;
  // A confirmed transaction that was undone on request restores by its own record.
  if (!(device.record && device.record->revert) && !can_read_configuration(device.facts, device.booted)) {
    SK_TRY(restore_previous(device));
  }
  device.cause = Failure{make_error(Errc::fallback_damaged, "slot " + std::string(name_of(lost)) +
                                                                " did not come up; the device fell back to slot " +
                                                                std::string(name_of(device.booted))),
                         std::nullopt};
  device.fell_back = true;
  device.facts.confirmed = device.booted;
  device.facts.activated_boot_id.clear();
  SK_TRY(device.save_facts());
  return device.add_history(Outcome::rolled_back, device.cause);
}

}  // namespace

bool can_read_configuration(const DeviceFacts& facts, SlotId slot) {
  const auto& writer = facts[facts.confirmed];
  const auto& reader = facts[slot];
  if (!writer || !reader || !writer->config_readable_by || !reader->config_schema) return true;
  return *reader->config_schema >= *writer->config_readable_by;
}

Result<void> put_at_rest(Device& device) {
  SK_TRY(settle_fallback(device));
  SK_TRY_ASSIGN(const auto reading, device.boot->read());
  auto wanted = boot::at_rest(reading.state, device.facts.confirmed, device.attempts());
  if (wanted.mark && wanted.mark->stage == boot::TransactionMark::Stage::trial) wanted.mark.reset();
  SK_TRY(device.store_environment(reading.state, wanted));
  if (reading.damaged_copy || reading.behind_copy) {  // writes nothing where the store has mended it
    device.wrote = true;
    SK_TRY(with_context(device.boot->repair(), "boot environment"));
  }
  SK_TRY_ASSIGN(const auto last_confirmed, device.store->read_last_confirmed());
  if (last_confirmed != device.facts.confirmed) {
    device.wrote = true;
    SK_TRY(device.store->write_last_confirmed(device.facts.confirmed));
  }
  SK_TRY_ASSIGN(auto root, device.open_permanent());
  SK_TRY(permanent::release_reserve(*root));
  return root->close();
}

}  // namespace slotkeeper
