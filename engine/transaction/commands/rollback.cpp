#include "engine/transaction/actions.hpp"
#include "engine/transaction/commands/commands.hpp"
#include "engine/transaction/configuration_fate.hpp"

namespace slotkeeper {
namespace {

Result<void> check_revert(Device& device) {
  const SlotId original = device.record->original;
  const auto& baseline = device.facts[original];
  if (!baseline) return wrong_state(device, slot_text(original) + " no longer holds a known firmware");
  SK_TRY_ASSIGN(const auto damaged,
                damaged_volumes(device.settings, device.configuration().slots[original], *baseline, Phase::check));
  if (!damaged.empty()) {
    return wrong_state(device, slot_text(original) + " does not verify (volume " + damaged.front() + ")");
  }
  if (!can_read_configuration(device, original) && device.facts.snapshot_of != device.record->id) {
    return wrong_state(device, "the firmware in " + slot_text(original) +
                                   " cannot read the present configuration, and no older one is kept");
  }
  return success();
}

void report_fate_of_rollback(Device& device) {
  if (!reported_fate(device).empty()) return;
  const bool later = device.reboot_needed && device.record->restore_wanted;
  report_fate(device, later ? ConfigurationFate::to_be_restored : ConfigurationFate::kept);
}

}  // namespace

CommandResult run_rollback(Device& device, bool to_previous) {
  auto facts = device.boot_facts();
  if (!facts.has_value()) return failure(device, std::move(facts).assume_error(), false);
  if (device.has_open_transaction()) {
    const NextStep next = decide(*device.record, facts.assume_value());
    const bool waits = next.action == Action::stay_armed || next.action == Action::begin_trial;
    if (waits && !to_previous) {
      const Error why = make_error(Errc::cancelled, "the operator asked for it");
      set_cause(device, why, std::nullopt);
      if (device.record->state != State::trial) {
        device.record->state = State::armed;  // where a cut hid that the switch was made, the boot facts show it
        if (device.booted == device.record->target) device.record->restore_wanted = true;
      }
      auto withdrawn = carry_on(device, Event::rollback_requested);
      if (!withdrawn.has_value()) return failure(device, std::move(withdrawn).assume_error(), false);
    } else {
      auto recovered = recover_device(device);
      if (!recovered.has_value()) return failure(device, std::move(recovered).assume_error(), false);
      if (device.record->state == State::confirmed) {
        return failure(device, wrong_state(device, "the update is confirmed already; see rollback --to-previous"),
                       false);
      }
    }
    report_fate_of_rollback(device);
    return answer(device, Outcome::rolled_back,
                  device.reboot_needed ? "The original firmware runs after the next restart."
                                       : "The update was rolled back; " + slot_text(device.booted) + " stays.");
  }
  const bool confirmed_here = device.record && device.record->state == State::confirmed &&
                              device.booted == device.record->target && device.facts.confirmed == device.booted;
  if (!confirmed_here || !to_previous) {
    return failure(device,
                   wrong_state(device, confirmed_here ? "the update is confirmed; use rollback --to-previous"
                                                      : "there is no update to roll back"),
                   false);
  }
  auto possible = check_revert(device);
  if (!possible.has_value()) return failure(device, std::move(possible).assume_error(), false);
  device.record->revert = true;
  device.record->restore_wanted = !can_read_configuration(device, device.record->original);
  set_cause(device, make_error(Errc::cancelled, "the operator asked for the previous firmware"), std::nullopt);
  auto withdrawn = carry_on(device, Event::revert_requested);
  if (!withdrawn.has_value()) return failure(device, std::move(withdrawn).assume_error(), false);
  report_fate_of_rollback(device);
  return answer(device, Outcome::rolled_back,
                "The previous firmware in " + slot_text(device.record->original) + " runs after the next restart.");
}

}  // namespace slotkeeper
