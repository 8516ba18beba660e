// What the variables of a U-Boot environment say about the slots, and which of them have to change to say something
// else. Pure functions.
//
//   BOOT_ORDER     "A B": the slots to try, best first. Other names (a recovery system, say) are none of our slots:
//   they
//                  are left out of the state that is read, and stay in the variable, behind our slots.
//   BOOT_A_LEFT    tries left; written as one decimal digit, which is the same number in hexadecimal. Anything but one
//   BOOT_B_LEFT    digit (leading zeros and 0x allowed) is not understood: no count, health unknown.
//   SLOTKEEPER_TX  the mark; a text that is none reads as no mark.
#pragma once

#include "bootloader-hooks/boot_state.hpp"
#include "bootloader-hooks/variables.hpp"

namespace slotkeeper::boot {

/// A slot is good when it is in the order with tries left, bad when it is absent with none left, else unknown.
[[nodiscard]] BootState boot_state_of(const Variables& variables);

/// The changes after which `variables` say `wanted`; empty when they do. A slot whose wanted state has no count gets
/// `attempts` when it is good, 0 when it is bad, and keeps its text when nothing is known of it.
[[nodiscard]] VariableChanges changes_to(const Variables& variables, const BootState& wanted, std::uint32_t attempts);

/// Whether both say the same in the variables that are ours.
[[nodiscard]] bool agree_on_slots(const Variables& one, const Variables& another);

}  // namespace slotkeeper::boot
