// Recovery: (transaction record, boot facts) -> next step. A pure function over the transition table; nothing here
// touches the device.
#pragma once

#include <string>

#include "bootloader-hooks/boot_state.hpp"
#include "engine/transaction/record.hpp"
#include "engine/transaction/states.hpp"

namespace slotkeeper {

/// What can be seen of the device after a boot.
struct BootFacts {
  SlotId booted = SlotId::a;
  boot::BootState environment;
  bool keeps_mark = true;  ///< the boot environment can hold our mark; else the record takes its part
  std::string boot_id;
};

/// Which of the boot events this is.
[[nodiscard]] Event classify(const TransactionRecord& record, const BootFacts& facts);

struct NextStep {
  Event event;
  State to;
  Action action;
  /// The environment proves more than the record knows: the store lost a write. Nothing is restored then.
  bool record_lost = false;
};

/// Total: every persisted state has a row for every boot event.
[[nodiscard]] NextStep decide(const TransactionRecord& record, const BootFacts& facts);

}  // namespace slotkeeper
