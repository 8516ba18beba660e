#include "engine/transaction/steps/check.hpp"

#include "engine/transaction/steps/last_look.hpp"
#include "engine/transaction/steps/settle.hpp"
#include "partitions/permanent/reserve.hpp"

namespace slotkeeper {
namespace {

Result<void> check_filesystem(Device& device, const UpdatePlan& plan) {
  const std::string& path = device.record->permanent_path;
  SK_TRY_ASSIGN(const auto errors, device.storage().filesystem_errors(path));
  if (errors.value_or(0) > plan.report().errors_counted) {
    return make_error(Errc::io_error, "the filesystem of the permanent partition counted " +
                                          std::to_string(*errors - plan.report().errors_counted) +
                                          " new errors during the update");
  }
  SK_TRY_ASSIGN(auto root, device.open_permanent());
  SK_TRY_ASSIGN(const auto space, root->space());
  SK_TRY(root->close());
  if (space.read_only) return make_error(Errc::read_only, "the permanent partition turned read-only: " + path);
  return success();
}

/// The snapshot reads as sealed, and what a rollback needs on the permanent partition is there.
Result<void> check_secured(Device& device) {
  StoreArea& area = device.store->area(AreaKind::snapshot_first);
  SK_TRY(permanent::verify_snapshot(area, *device.record->first, device.sink()));
  SK_TRY_ASSIGN(auto root, device.open_permanent());
  SK_TRY_ASSIGN(const bool whole, permanent::reserve_is_whole(*root, area));
  SK_TRY(root->close());
  if (whole) return success();
  return make_error(Errc::storage_full, "the reserve that a rollback needs on the permanent partition is damaged");
}

/// The configuration equals the snapshot, at an instant after which nothing long is done before the switch. It is
/// secured again where somebody edited it meanwhile.
Result<void> settle_configuration(Device& device) {
  SecuringRetries retries;
  for (int looks = 1;; ++looks) {
    const int before = retries.made;
    SK_TRY_ASSIGN(auto watch, settle(device, retries));
    if (retries.made != before) SK_TRY(check_secured(device));
    SK_TRY_ASSIGN(const auto look, take_last_look(device, std::move(watch)));
    if (look.paths.empty()) return success();
    // What was touched need not differ from the snapshot: the next round reads it.
    if (looks == kLastLooksMax) return drift_error(device, look.paths, looks);
    device.settings.host.sleep(kSecuringPause);
  }
}

}  // namespace

Result<CommitReady> check_all(Device& device, const UpdatePlan& plan, const CheckedSnapshot&,
                              const StagedSlot& staged) {
  device.phase = Phase::check;
  SK_TRY(device.sink().check_cancelled());
  {
    const BackgroundWork background(device);
    SK_TRY(staged.fallback().finish());
  }
  SK_TRY(check_secured(device));
  // What takes long is behind us: from here on the services of the device may be held still.
  SK_TRY_ASSIGN(auto quiet, QuietTime::begin(device));
  SK_TRY(device.sink().check_cancelled());
  SK_TRY(settle_configuration(device));
  SK_TRY(check_filesystem(device, plan));
  SK_TRY_ASSIGN(const auto facts, device.boot_facts());
  const auto expected = boot::only_slot(facts.environment, device.booted, device.attempts());
  if (device.as_kept(facts.environment) != device.as_kept(expected)) {
    return make_error(Errc::readback_mismatch,
                      "the boot environment no longer says what staging wrote: somebody else changed it");
  }
  SK_TRY(device.sink().check_cancelled());
  return CommitReady(staged.slot(), std::move(quiet));
}

}  // namespace slotkeeper
