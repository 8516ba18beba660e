#include "engine/transaction/recovery.hpp"

#include "partitions/io/result.hpp"

namespace slotkeeper {
namespace {

using Stage = boot::TransactionMark::Stage;

/// The mark of this transaction. Where the boot environment has none, the record takes its part: it is written before
/// the switch and before `good`.
std::optional<Stage> mark_of(const TransactionRecord& record, const BootFacts& facts) {
  if (facts.keeps_mark) {
    const auto& mark = facts.environment.mark;
    if (!mark || mark->transaction != record.mark_id()) return std::nullopt;
    return mark->stage;
  }
  switch (record.state) {
    case State::confirming:
    case State::confirmed:
      return Stage::good;
    case State::arming:
      // Cut between record and switch: the primary tells on which side.
      if (facts.booted == record.original && facts.environment.primary() != record.target) return std::nullopt;
      return Stage::trial;
    case State::armed:
    case State::trial:
      return Stage::trial;
    default:
      return std::nullopt;
  }
}

bool is_untried(const TransactionRecord& record, const BootFacts& facts) {
  if (record.trial_boots != 0 || facts.environment.primary() != record.target) return false;
  const auto& tries = facts.environment[record.target].tries_left;
  // A bootloader that does not count leaves no trace of a failed boot but that another boot of the original followed.
  return tries ? *tries >= record.attempts : facts.boot_id == record.armed_boot_id;
}

}  // namespace

Event classify(const TransactionRecord& record, const BootFacts& facts) {
  const auto mark = mark_of(record, facts);
  if (facts.booted == record.target) {
    if (!mark) return Event::target_unmarked;
    return *mark == Stage::good ? Event::target_good : Event::target_trial;
  }
  if (!mark) return Event::original_unmarked;
  if (*mark == Stage::good) return Event::original_good;
  return is_untried(record, facts) ? Event::original_untried : Event::original_tried;
}

NextStep decide(const TransactionRecord& record, const BootFacts& facts) {
  const Event event = classify(record, facts);
  const Transition* row = find_transition(record.state, event);
  SK_INVARIANT(row != nullptr);
  const bool before_switch = record.state < State::arming;
  const bool proves_more = event != Event::original_unmarked && event != Event::target_unmarked;
  return NextStep{.event = event, .to = row->to, .action = row->action, .record_lost = before_switch && proves_more};
}

}  // namespace slotkeeper
