#include "engine/transaction/rest.hpp"

#include "engine/transaction/configuration_fate.hpp"
#include "partitions/permanent/reserve.hpp"

namespace slotkeeper {
namespace {

Result<void> settle_fallback(Device& device) {
  if (device.booted == device.facts.confirmed) return take_back_fallback(device);
  if (device.facts.activated_boot_id == device.boot_id) return success();
  const SlotId lost = device.facts.confirmed;
  // A confirmed transaction that is being undone on request restores by its own record.
  if (!(device.has_open_transaction() && device.record->revert)) SK_TRY(settle_configuration_after_fallback(device));
  device.cause = Failure{make_error(Errc::fallback_damaged, "slot " + std::string(name_of(lost)) +
                                                                " did not come up; the device fell back to slot " +
                                                                std::string(name_of(device.booted))),
                         std::nullopt};
  device.fell_back = true;
  device.facts.confirmed = device.booted;
  device.facts.activated_boot_id.clear();
  device.facts.saved_aside = false;
  SK_TRY(device.save_facts());
  if (!device.record) return device.add_history_without_transaction(Outcome::rolled_back, *device.cause, "");
  return device.add_history(Outcome::rolled_back, device.cause);
}

}  // namespace

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
  SK_TRY_ASSIGN(const bool is_known, device.store->is_last_confirmed_everywhere(device.facts.confirmed));
  if (!is_known) {
    device.wrote = true;
    SK_TRY(device.store->write_last_confirmed(device.facts.confirmed));
  }
  SK_TRY_ASSIGN(auto root, device.open_permanent());
  SK_TRY(permanent::release_reserve(*root));
  return root->close();
}

}  // namespace slotkeeper
