#include "engine/transaction/steps/switch_over.hpp"

namespace slotkeeper {
namespace {

/// After an error inside the switch: the original alone is in the order again, shown by reading back.
Error disarm(Device& device, Error why) {
  device.record->state = State::arming;  // whatever could not be recorded did not happen
  const auto attempt = [&]() -> Result<void> {
    SK_TRY_ASSIGN(const auto facts, device.boot_facts());
    SK_TRY(device.boot->store(
        device.as_kept(boot::rolled_back(facts.environment, device.record->original, device.attempts()))));
    SK_TRY_ASSIGN(const auto after, device.boot_facts());
    if (after.environment.primary() != device.record->original || after.environment.mark) {
      return make_error(Errc::readback_mismatch, "the boot environment still names the target");
    }
    return success();
  };
  auto disarmed = attempt();
  if (disarmed.has_value()) return why;
  return make_error(
      Errc::switch_indeterminate,
      "the switch failed (" + why.message + ") and could not be taken back (" + disarmed.assume_error().message + ")");
}

}  // namespace

Result<TrialBoot> switch_over(Device& device, const CommitReady& ready) {
  device.phase = Phase::switch_over;
  SK_INVARIANT(ready.target() == device.record->target && ready.target() != device.booted);
  SK_INVARIANT(device.record->armed_boot_id == device.boot_id);
  SK_TRY(device.advance(Event::checked));
  const auto commit = [&]() -> Result<void> {
    SK_TRY_ASSIGN(const auto facts, device.boot_facts());
    SK_TRY(device.store_environment(facts.environment, boot::armed(facts.environment, ready.target(), device.attempts(),
                                                                   device.record->mark_id())));
    // Before the record says `armed`: a command that is killed in between leaves a state from which `resume` is run.
    ready.quiet().end();
    return device.advance(Event::switched);
  };
  auto committed = commit();
  if (!committed.has_value()) return disarm(device, std::move(committed).assume_error());
  return TrialBoot(ready.target());
}

}  // namespace slotkeeper
