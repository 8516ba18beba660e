#include "engine/transaction/steps/check.hpp"

#include "partitions/permanent/reserve.hpp"

namespace slotkeeper {
namespace {

Result<void> check_fallback(Device& device) {
  const auto& baseline = device.facts[device.booted];
  SK_INVARIANT(baseline.has_value());  // preflight refuses without
  SK_TRY_ASSIGN(const auto damaged, damaged_volumes(device.settings, device.configuration().slots[device.booted],
                                                    *baseline, Phase::check, &device.sink()));
  if (damaged.empty()) return success();
  return make_error(Errc::readback_mismatch, "slot " + std::string(name_of(device.booted)) +
                                                 " no longer reads as recorded (volume " + damaged.front() +
                                                 "): there would be nothing to fall back to");
}

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

/// Compares configuration and state with the snapshot and takes it again where somebody edited them meanwhile.
Result<void> settle_configuration(Device& device) {
  for (int attempt = 0;; ++attempt) {
    SK_TRY_ASSIGN(auto root, device.open_permanent());
    auto inventory =
        permanent::take_inventory(*root, device.record->classes, permanent::HashScope::config_and_state, device.sink());
    SK_TRY(root->close());
    if (!inventory.has_value()) {
      if (inventory.assume_error().code != Errc::config_busy) return std::move(inventory).as_failure();
      return std::move(inventory).assume_error().with_code(Errc::config_drift);
    }
    if (inventory.assume_value().config_root == device.record->first->config_root) return success();
    if (attempt == kSnapshotRetakesMax) {
      return make_error(Errc::config_drift, "the configuration was changed " + std::to_string(attempt + 1) +
                                                " times while the update secured it");
    }
    device.sink().notice("the configuration was changed during the update; it is secured again");
    SK_TRY_ASSIGN(device.record->first, take_generation(device, AreaKind::snapshot_first));
    SK_TRY(device.save_record());
  }
}

}  // namespace

Result<CommitReady> check_all(Device& device, const UpdatePlan& plan, const CheckedSnapshot&,
                              const StagedSlot& staged) {
  device.phase = Phase::check;
  SK_TRY(device.sink().check_cancelled());
  SK_TRY(check_fallback(device));
  SK_TRY(settle_configuration(device));
  StoreArea& area = device.store->area(AreaKind::snapshot_first);
  SK_TRY(permanent::verify_snapshot(area, *device.record->first, device.sink()));
  SK_TRY_ASSIGN(auto root, device.open_permanent());
  SK_TRY_ASSIGN(const bool whole, permanent::reserve_is_whole(*root, area));
  SK_TRY(root->close());
  if (!whole) {
    return make_error(Errc::storage_full, "the reserve that a rollback needs on the permanent partition is damaged");
  }
  SK_TRY(check_filesystem(device, plan));
  SK_TRY_ASSIGN(const auto facts, device.boot_facts());
  const auto expected = boot::only_slot(facts.environment, device.booted, device.attempts());
  if (device.as_kept(facts.environment) != device.as_kept(expected)) {
    return make_error(Errc::readback_mismatch,
                      "the boot environment no longer says what staging wrote: somebody else changed it");
  }
  SK_TRY(device.sink().check_cancelled());
  return CommitReady(staged.slot());
}

}  // namespace slotkeeper
