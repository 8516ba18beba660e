#include "engine/transaction/actions.hpp"

#include "engine/transaction/compacting.hpp"
#include "engine/transaction/configuration_fate.hpp"
#include "engine/transaction/floor.hpp"
#include "engine/transaction/hooks.hpp"
#include "engine/transaction/quarantine.hpp"
#include "engine/transaction/rest.hpp"
#include "engine/transaction/steps/migrate.hpp"
#include "engine/transaction/steps/snapshot.hpp"
#include "partitions/permanent/reserve.hpp"

namespace slotkeeper {
namespace {

using NextEvent = Result<std::optional<Event>>;

/// The firmware on trial may call other files logs than the original does; a restore has to know both.
Result<void> note_trial_classes(Device& device) {
  TransactionRecord& record = *device.record;
  const auto& own = device.configuration().classes;
  if (own == record.classes) return success();
  record.trial_classes = own;
  if (print_record(record).size() <= kRecordPayloadMaxBytes) return success();
  record.trial_classes.reset();
  return make_error(Errc::config,
                    "the classes of the permanent partition in both firmwares together are too long to "
                    "be recorded");
}

/// Configuration or state differ from the first generation: what the original wrote after it goes into the second. Only
/// from here on there is something to restore: before, nothing but the original has written.
Result<void> decide_second_generation(Device& device) {
  TransactionRecord& record = *device.record;
  if (record.second_decided) return success();
  if (!record.first) {
    return make_error(Errc::state_store, "the record knows no snapshot, so there is nothing to roll back to");
  }
  SK_TRY_ASSIGN(auto root, device.open_permanent());
  SK_TRY_ASSIGN(const auto inventory, permanent::take_inventory(*root, record.classes,
                                                                permanent::HashScope::config_and_state, device.sink()));
  SK_TRY(root->close());
  if (inventory.protected_root != record.first->protected_root) {
    SK_TRY_ASSIGN(record.second, take_generation(device, AreaKind::snapshot_second));
  }
  SK_TRY(note_trial_classes(device));
  record.second_decided = true;
  record.restore_wanted = true;
  return device.save_record();
}

Result<void> prepare_trial(Device& device) {
  SK_TRY(decide_second_generation(device));
  SK_TRY(migrate_configuration(device));
  report_fate(device, fate_after_trial(*device.record));
  return success();
}

NextEvent begin_trial(Device& device) {
  device.phase = Phase::snapshot;
  TransactionRecord& record = *device.record;
  if (record.trial_boot_id != device.boot_id) {
    if (record.trial_boots >= record.attempts) {
      set_cause(device,
                make_error(Errc::health, "the trial was started " + std::to_string(record.trial_boots) +
                                             " times and never confirmed"),
                std::nullopt);
      return std::optional{Event::trial_exhausted};
    }
    ++record.trial_boots;
    record.trial_boot_id = device.boot_id;
    record.trial_since_boot_s =
        std::chrono::duration_cast<std::chrono::seconds>(device.settings.host.since_boot()).count();
    SK_TRY(device.save_record());
  }
  auto prepared = prepare_trial(device);
  if (prepared.has_value()) return std::optional<Event>{};
  // Without a snapshot of the last moment of the original, or half migrated, the trial must not start.
  set_cause(device, std::move(prepared).assume_error(), Phase::snapshot);
  return std::optional{Event::unhealthy};
}

/// The target runs although the original is first, or is about to be. A restart brings the original, unless that does
/// not come up: after as many returns as there are tries the device stays on what works.
Result<void> ask_for_restart(Device& device) {
  TransactionRecord& record = *device.record;
  if (record.trial_boot_id != device.boot_id) {
    record.trial_boot_id = device.boot_id;
    ++record.trial_boots;
    SK_TRY(device.save_record());
  }
  device.reboot_needed = record.trial_boots <= 2 * record.attempts;
  if (!device.reboot_needed) {
    device.sink().notice("slot " + std::string(name_of(record.original)) +
                         " was to be started and did not come up; the device stays in slot " +
                         std::string(name_of(record.target)) +
                         ". A restart by hand tries it again; look at its firmware ('slotkeeper verify')");
  }
  return success();
}

NextEvent withdraw(Device& device) {
  TransactionRecord& record = *device.record;
  SK_TRY_ASSIGN(const auto facts, device.boot_facts());
  if (device.booted == record.target) {
    // What runs is never marked bad: should the original not come up, there is still something that does.
    auto wanted = boot::at_rest(facts.environment, record.original, record.attempts);
    wanted.mark.reset();
    SK_TRY(device.store_environment(facts.environment, wanted));
    SK_TRY(ask_for_restart(device));
    return std::optional<Event>{};
  }
  auto wanted = record.revert ? boot::at_rest(facts.environment, record.original, record.attempts)
                              : boot::rolled_back(facts.environment, record.original, record.attempts);
  wanted.mark.reset();
  SK_TRY(device.store_environment(facts.environment, wanted));
  if (record.revert && device.facts.confirmed != record.original) {
    device.facts.confirmed = record.original;
    SK_TRY(device.save_facts());
  }
  if (record.restore_wanted) return std::optional{Event::withdrawn_after_trial};
  report_fate(device, ConfigurationFate::kept);
  return std::optional{Event::withdrawn};
}

NextEvent restore(Device& device) {
  SK_TRY(restore_of_transaction(device));
  return std::optional{Event::restored};
}

NextEvent send_back(Device& device) {
  SK_TRY_ASSIGN(const auto facts, device.boot_facts());
  auto wanted = boot::at_rest(facts.environment, device.record->original, device.record->attempts);
  wanted.mark.reset();
  SK_TRY(device.store_environment(facts.environment, wanted));
  SK_TRY(ask_for_restart(device));
  return std::optional<Event>{};
}

NextEvent finish_confirm(Device& device) {
  device.phase.reset();
  TransactionRecord& record = *device.record;
  SK_TRY_ASSIGN(const auto facts, device.boot_facts());
  SK_TRY(device.store_environment(
      facts.environment, boot::confirmed(facts.environment, record.target, record.attempts, record.mark_id())));
  DeviceFacts wanted = device.facts;
  wanted.confirmed = record.target;
  wanted[record.target] = record.image;
  wanted.snapshot_of = record.id;
  if (record.image.manifest_digest) forget_failures(wanted, *record.image.manifest_digest);
  if (record.floor) wanted.floor = record.floor;
  if (wanted != device.facts) {
    device.facts = std::move(wanted);
    SK_TRY(device.save_facts());
  }
  raise_counter(device);
  SK_TRY(device.store->write_last_confirmed(record.target));
  report_fate(device, fate_after_trial(record));
  SK_TRY(device.add_history(Outcome::confirmed, std::nullopt));
  return std::optional{Event::finished};
}

/// Another slot runs than the record can explain. Nothing that runs is touched; the slot that runs is what counts.
NextEvent abandon(Device& device) {
  set_cause(device, make_error(Errc::wrong_state, "another slot was started in the middle of the update"),
            std::nullopt);
  SK_TRY(put_at_rest(device));
  return std::optional<Event>{};
}

std::optional<Failure> recorded_failure(const TransactionRecord& record) {
  if (!record.cause) return std::nullopt;
  std::optional<Phase> phase;
  for (int i = 0; i <= static_cast<int>(Phase::restore); ++i) {
    if (name_of(static_cast<Phase>(i)) == record.cause->phase) phase = static_cast<Phase>(i);
  }
  return Failure{make_error(errc_from_name(record.cause->code).value_or(Errc::internal), record.cause->message), phase};
}

NextEvent rest(Device& device) {
  SK_TRY(put_at_rest(device));
  return std::optional<Event>{};
}

NextEvent carry_out(Device& device, Action action) {
  switch (action) {
    case Action::none:
    case Action::stay_armed:
      return std::optional<Event>{};
    case Action::begin_trial:
      return begin_trial(device);
    case Action::withdraw:
      return withdraw(device);
    case Action::restore:
      return restore(device);
    case Action::send_back:
      return send_back(device);
    case Action::finish_confirm:
      return finish_confirm(device);
    case Action::abandon:
      return abandon(device);
    case Action::rest:
      return rest(device);
  }
  return make_error(Errc::internal, "unknown action");
}

/// Persist, then act: the record says the new state before anything is done in it.
Result<void> persist(Device& device, State to) {
  if (device.record->state == to) return success();
  if (to == State::rolled_back) {
    // Before the state that ends the transaction: a cut in between comes here again and finds the entry.
    const auto cause = recorded_failure(*device.record);
    const bool postponed = cause && info(cause->error.code).exit_status == 3;
    SK_TRY(count_failure(device));
    SK_TRY(device.add_history(postponed ? Outcome::postponed : Outcome::rolled_back, cause));
  }
  device.record->state = to;
  return device.save_record();
}

Result<void> run(Device& device, State to, Action action) {
  for (int count = 0; count < kActionsMax; ++count) {
    SK_TRY(persist(device, to));
    SK_TRY_ASSIGN(const auto next, carry_out(device, action));
    if (!next) return success();
    const Transition* row = find_transition(device.record->state, *next);
    SK_INVARIANT(row != nullptr);
    to = row->to;
    action = row->action;
  }
  return make_error(Errc::internal, "recovery did not come to rest");
}

/// The live system may need the room now, and nothing is armed yet that a reserve would be for: it goes before the
/// slower parts of a rollback. `put_at_rest` does it again where this fails, and tells.
void give_room_back(Device& device) {
  device.watch.reset();
  if (device.record->state >= State::arming) return;
  auto root = device.open_permanent();
  if (root.has_value()) static_cast<void>(permanent::release_reserve(*root.assume_value()));
}

}  // namespace

void set_cause(Device& device, const Error& error, std::optional<Phase> phase) {
  if (!device.record->cause) {
    device.record->cause = RecordedCause{.code = std::string(info(error.code).name),
                                         .phase = phase ? std::string(name_of(*phase)) : "",
                                         .message = error.message};
  }
  if (!device.cause) device.cause = Failure{error, phase};
}

Result<void> carry_on(Device& device, Event event) {
  SK_INVARIANT(device.record.has_value());
  const Transition* row = find_transition(device.record->state, event);
  SK_INVARIANT(row != nullptr);
  return run(device, row->to, row->action);
}

namespace {

/// An environment of a single copy that cannot be read at all is made anew. The bootloader starts the last confirmed
/// slot meanwhile; so does it afterwards, and without a mark no trial goes on.
Result<void> replace_lost_environment(Device& device) {
  if (!device.boot->traits().has_one_copy) return success();
  const auto reading = device.boot->read();
  if (reading.has_value() || reading.assume_error().code != Errc::boot_environment) return success();
  const SlotId confirmed = device.facts.confirmed;
  device.sink().notice("the boot environment is lost and is made anew with slot " + std::string(name_of(confirmed)) +
                       " alone (" + reading.assume_error().message + ")");
  device.wrote = true;
  return with_context(device.boot->initialise(device.as_kept(boot::only_slot({}, confirmed, device.attempts()))),
                      "boot environment");
}

Result<void> recover_transaction(Device& device) {
  SK_TRY(replace_lost_environment(device));
  if (!device.record) return put_at_rest(device);
  SK_TRY_ASSIGN(const auto facts, device.boot_facts());
  const NextStep next = decide(*device.record, facts);
  if (!is_over(device.record->state) && !device.record->cause &&
      (next.to == State::withdrawing || next.to == State::rolled_back)) {
    const bool tried = next.event == Event::original_tried || device.record->trial_boots > 0;
    set_cause(device,
              tried ? make_error(Errc::health, "the new firmware was started but never confirmed")
                    : make_error(Errc::cancelled,
                                 "the update was cut off (state " + std::string(name_of(device.record->state)) + ")"),
              std::nullopt);
  }
  if (!device.cause && device.has_open_transaction()) device.cause = recorded_failure(*device.record);
  return run(device, next.to, next.action);
}

}  // namespace

Result<void> recover_device(Device& device) {
  if (device.record) end_quiet_time_of_others(device);
  // Before anything else looks at the permanent partition; but an error there must not keep the boot order as it is.
  Result<void> compacted = finish_compaction(device);
  SK_TRY(recover_transaction(device));
  return compacted;
}

Error roll_back_after(Device& device, Error why) {
  if (!device.has_open_transaction()) return why;
  const auto phase = device.phase;
  // The switch may or may not have happened: the next boot knows, and recovery decides then.
  if (why.code == Errc::switch_indeterminate) return why;
  if (device.watch) why = device.watch->reason(std::move(why));
  set_cause(device, why, phase);
  give_room_back(device);
  auto withdrawn = carry_on(device, Event::failed);
  device.phase = phase;
  if (withdrawn.has_value()) return why;
  Error worse = std::move(withdrawn).assume_error();
  why.message += "; rolling back met another error, which 'slotkeeper recover' takes up again: " + worse.message;
  return why;
}

}  // namespace slotkeeper
