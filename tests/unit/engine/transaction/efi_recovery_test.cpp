// Recovery where the bootloader keeps no mark: systemd-boot, which counts tries, and UEFI firmware, which does not.
// Both sides of every cut between the record and the entries or variables, as the EFI backends read them.
#include <gtest/gtest.h>

#include "engine/transaction/recovery.hpp"

namespace slotkeeper {
namespace {

using boot::SlotBootState;
using boot::SlotHealth;

constexpr SlotId kOriginal = SlotId::a;
constexpr SlotId kTarget = SlotId::b;

TransactionRecord record_in(State state, std::uint32_t attempts) {
  TransactionRecord record;
  record.id = "01234567-89ab-4def-8123-456789abcdef";
  record.state = state;
  record.original = kOriginal;
  record.target = kTarget;
  record.attempts = attempts;
  record.armed_boot_id = "first";
  return record;
}

boot::BootState reading(std::vector<SlotId> order, const SlotBootState& original, const SlotBootState& target) {
  boot::BootState state;
  state.order = std::move(order);
  state[kOriginal] = original;
  state[kTarget] = target;
  return state;
}

NextStep decided(const TransactionRecord& record, SlotId booted, const boot::BootState& environment,
                 const char* boot_id) {
  const BootFacts facts{.booted = booted, .environment = environment, .keeps_mark = false, .boot_id = boot_id};
  const NextStep next = decide(record, facts);
  EXPECT_FALSE(next.record_lost);
  return next;
}

// What the systemd-boot backend reads.
const SlotBootState kFull{SlotHealth::good, 3};
const SlotBootState kBad{SlotHealth::bad, 0};
const auto kStaged = reading({kOriginal}, kFull, kBad);
const auto kArmed = reading({kTarget, kOriginal}, kFull, kFull);
const auto kTried = reading({kTarget, kOriginal}, kFull, {SlotHealth::good, 2});
const auto kUsedUp = reading({kOriginal, kTarget}, kFull, {SlotHealth::unknown, 0});
const auto kLost = reading({kOriginal}, kFull, {SlotHealth::bad, 0});  // the trial entry, in a rename
const auto kConfirmed = reading({kTarget, kOriginal}, kFull, kFull);

TEST(RecoveryOnSystemdBoot, BothSidesOfTheSwitch) {
  const auto arming = record_in(State::arming, 3);
  // Before: the record says arming, the entries still name the original alone.
  EXPECT_EQ(decided(arming, kOriginal, kStaged, "first").action, Action::withdraw);
  EXPECT_EQ(decided(arming, kOriginal, kStaged, "second").action, Action::withdraw);
  // After: it waits for the target, or the target runs already.
  EXPECT_EQ(decided(arming, kOriginal, kArmed, "second").to, State::armed);
  EXPECT_EQ(decided(arming, kTarget, kTried, "second").to, State::trial);
  EXPECT_EQ(decided(arming, kOriginal, kTried, "third").action, Action::withdraw);
  EXPECT_EQ(decided(arming, kOriginal, kUsedUp, "fifth").action, Action::withdraw);
}

TEST(RecoveryOnSystemdBoot, ATargetThatWasTriedAndIsNotRunningIsRolledBack) {
  for (const State state : {State::armed, State::trial}) {
    const auto record = record_in(state, 3);
    for (const auto& environment : {kTried, kUsedUp, kLost}) {
      const NextStep next = decided(record, kOriginal, environment, "second");
      EXPECT_EQ(next.event, Event::original_tried);
      EXPECT_EQ(next.to, State::withdrawing);
    }
  }
  EXPECT_EQ(decided(record_in(State::armed, 3), kOriginal, kArmed, "second").action, Action::stay_armed)
      << "its tries are untouched: somebody restarted before the reboot";
}

TEST(RecoveryOnSystemdBoot, BothSidesOfTheConfirmation) {
  const auto confirming = record_in(State::confirming, 3);
  EXPECT_EQ(decided(confirming, kTarget, kTried, "second").action, Action::finish_confirm);
  EXPECT_EQ(decided(confirming, kTarget, kConfirmed, "second").action, Action::finish_confirm);
  EXPECT_EQ(decided(record_in(State::confirmed, 3), kTarget, kConfirmed, "third").action, Action::rest);
}

TEST(RecoveryOnSystemdBoot, BothSidesOfAWithdrawal) {
  const auto sent_back = reading({kOriginal, kTarget}, kFull, {SlotHealth::good, 2});
  for (const auto& environment : {kTried, sent_back, kUsedUp, kLost, kStaged}) {
    EXPECT_EQ(decided(record_in(State::withdrawing, 3), kOriginal, environment, "third").action, Action::withdraw);
    EXPECT_EQ(decided(record_in(State::withdrawing, 3), kTarget, environment, "third").action, Action::withdraw);
    EXPECT_EQ(decided(record_in(State::restoring, 3), kOriginal, environment, "third").action, Action::restore);
    EXPECT_EQ(decided(record_in(State::restoring, 3), kTarget, environment, "third").action, Action::send_back);
  }
}

// What the backend on UEFI variables reads: BootNext is gone once the target was started.
const SlotBootState kGood{SlotHealth::good, std::nullopt};
const auto kFirmwareStaged = reading({kOriginal}, kGood, {SlotHealth::bad, std::nullopt});
const auto kFirmwareArmed = reading({kTarget, kOriginal}, kGood, kGood);
const auto kFirmwareTrial = reading({kOriginal}, kGood, {SlotHealth::unknown, std::nullopt});

TEST(RecoveryOnFirmware, BothSidesOfTheSwitch) {
  const auto arming = record_in(State::arming, 1);
  EXPECT_EQ(decided(arming, kOriginal, kFirmwareStaged, "first").action, Action::withdraw);
  EXPECT_EQ(decided(arming, kOriginal, kFirmwareArmed, "first").to, State::armed);
  EXPECT_EQ(decided(arming, kTarget, kFirmwareTrial, "second").to, State::trial);
  EXPECT_EQ(decided(arming, kOriginal, kFirmwareStaged, "third").action, Action::withdraw);
}

TEST(RecoveryOnFirmware, TheSingleTry) {
  const auto armed = record_in(State::armed, 1);
  EXPECT_EQ(decided(armed, kOriginal, kFirmwareArmed, "first").action, Action::stay_armed);
  EXPECT_EQ(decided(armed, kTarget, kFirmwareTrial, "second").action, Action::begin_trial);
  EXPECT_EQ(decided(armed, kOriginal, kFirmwareStaged, "third").event, Event::original_tried);
  EXPECT_EQ(decided(record_in(State::trial, 1), kOriginal, kFirmwareStaged, "third").to, State::withdrawing);
}

TEST(RecoveryOnFirmware, BothSidesOfTheConfirmation) {
  const auto confirming = record_in(State::confirming, 1);
  EXPECT_EQ(decided(confirming, kTarget, kFirmwareTrial, "second").action, Action::finish_confirm);
  EXPECT_EQ(decided(confirming, kTarget, kFirmwareArmed, "second").action, Action::finish_confirm);
  // Health passed and was recorded, but the power went before BootOrder: the original runs and finishes it.
  EXPECT_EQ(decided(confirming, kOriginal, kFirmwareStaged, "third").action, Action::finish_confirm);
}

}  // namespace
}  // namespace slotkeeper
