// What the variables of a GRUB environment block say about the slots, and which of them have to change to say something
// else. Pure functions. The names are those that A/B scripts of the field read (RAUC's documentation of GRUB).
//
//   ORDER              "A B": the slots to try, best first. Other names are none of our slots: they are left out of the
//                      state that is read, and stay in the variable, behind our slots.
//   A_OK, B_OK         1: the slot may be tried. 0: it may not.
//   A_TRY, B_TRY       tries used, one decimal digit; tries left = attempts - tries used, never below 0. Anything else
//                      is not understood: no count, health unknown.
//   SLOTKEEPER_TX      the mark; a text that is none reads as no mark.
//   SLOTKEEPER_SCRIPT  left by a boot script that counts: how many tries it gives a slot, 1 to 9. Never written by us.
#pragma once

#include <array>
#include <optional>
#include <string_view>

#include "bootloader-hooks/boot_state.hpp"
#include "bootloader-hooks/variables.hpp"

namespace slotkeeper::boot {

/// The variables that we write, in the order in which they stand in the block.
inline constexpr std::array<std::string_view, 6> kGrubOurs{"ORDER", "A_OK", "A_TRY", "B_OK", "B_TRY", "SLOTKEEPER_TX"};
[[nodiscard]] bool is_grub_ours(std::string_view name);

/// A slot is good when it is in the order, OK and has tries left; bad when it is absent and not OK; else unknown.
[[nodiscard]] BootState grub_state_of(const Variables& variables, std::uint32_t attempts);

/// The changes after which `variables` say `wanted`; empty when they do. A slot without a count in its wanted state
/// gets all its tries when it is good, none when it is bad, and keeps its text when nothing is known of it; its _OK
/// follows its health, and stays when that is unknown.
[[nodiscard]] VariableChanges grub_changes_to(const Variables& variables, const BootState& wanted,
                                              std::uint32_t attempts);

/// How many tries the boot script gives a slot; nothing where none said so.
[[nodiscard]] std::optional<std::uint32_t> grub_script_attempts(const Variables& variables);

}  // namespace slotkeeper::boot
