#include "engine/transaction/steps/snapshot.hpp"

#include "engine/transaction/steps/settle.hpp"
#include "partitions/permanent/reserve.hpp"

namespace slotkeeper {

Result<permanent::SnapshotFacts> take_generation(Device& device, AreaKind area) {
  SK_TRY_ASSIGN(auto root, device.open_permanent());
  const TransactionRecord& record = *device.record;
  const auto describe = [&](const permanent::SnapshotFacts& facts) {
    return print_snapshot_description(
        {.transaction = record.id, .classes = record.classes, .permanent_path = record.permanent_path, .facts = facts});
  };
  StoreArea& place = device.store->area(area);
  device.wrote = true;
  SK_TRY_ASSIGN(const auto facts, permanent::take_snapshot(*root, record.classes, place, describe, device.sink()));
  if (device.watch) device.watch->reserve_begins();
  SK_TRY_ASSIGN(const auto reserve, permanent::make_reserve(*root, place, record.slack_bytes, device.sink()));
  static_cast<void>(reserve);
  if (device.watch) device.watch->reserve_is_there();
  SK_TRY(root->close());
  return facts;
}

Result<CheckedSnapshot> secure_permanent(Device& device, const CompactedPermanent&) {
  device.phase = Phase::snapshot;
  if (device.watch) device.watch->room_is_needed();
  SK_TRY(device.sink().check_cancelled());
  // The generations are overwritten from here on: what was kept as `previous` is gone.
  if (device.facts.snapshot_of) {
    device.facts.snapshot_of.reset();
    SK_TRY(device.save_facts());
  }
  SK_TRY(device.store->area(AreaKind::snapshot_second).unseal());
  SecuringRetries retries;
  const auto facts = take_generation(device, AreaKind::snapshot_first);
  if (facts.has_value()) {
    device.record->first = facts.assume_value();
  } else {
    if (facts.assume_error().code != Errc::config_busy) return facts.as_failure();
    SK_TRY(secure_again(device, paths_of(facts.assume_error()), retries));
  }
  // What somebody edits all the time is better found now than after the other slot was written.
  SK_TRY(await_standstill(device, retries));
  SK_TRY(device.advance(Event::permanent_secured));
  return CheckedSnapshot(*device.record->first);
}

}  // namespace slotkeeper
