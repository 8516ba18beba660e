// The environment block of GRUB: 1024 bytes in memory, read exactly as GRUB reads them, and changed in steps of one
// sector each. No I/O here.
//
// The block is the line "# GRUB Environment Block", lines "name=value", where a backslash stands before a backslash and
// a newline of the value, lines that begin with '#', which are skipped, and '#' up to the end. Of a name that is there
// more than once the last one counts when GRUB loads, and the first one is changed when GRUB saves. There is no
// checksum. (GRUB 2.06, grub-core/lib/envblk.c and commands/loadenv.c.)
//
// Our variables stand at the front, as one region that a comment fills to a length which never changes: so everything
// else stays where it is, and a new state is a change of the first sector alone, which a device writes in one piece. A
// block that others made is brought into this form on the first change: in one step with the change where both forms
// fit into the first sector, as they do for a block with little in it; else in steps that all mean the old state, and
// the change follows.
//
// Damage that can be recognised: another first line, a line without a name or '=', a zero byte, a last line that does
// not end, padding that is none. A flipped digit cannot; the engine compares what is read with its record.
#pragma once

#include <array>
#include <cstddef>
#include <vector>

#include "bootloader-hooks/grub_variables.hpp"
#include "partitions/io/result.hpp"
#include "partitions/io/types.hpp"

namespace slotkeeper::boot {

inline constexpr std::size_t kGrubBlockBytes = 1024;
inline constexpr std::size_t kGrubSectorBytes = 512;  ///< a device writes one in one piece

using GrubBlock = std::array<std::byte, kGrubBlockBytes>;

/// The first line is there: GRUB loads such a block, whatever follows.
[[nodiscard]] bool is_grub_block(const GrubBlock& block);
/// Nothing in it is recognisably damaged.
[[nodiscard]] bool is_whole_grub_block(const GrubBlock& block);
/// A variable of ours is there twice or lies beyond the first sector, so that a store could be torn.
[[nodiscard]] bool is_scattered(const GrubBlock& block);

/// A block without any variable.
[[nodiscard]] GrubBlock empty_grub_block();

/// What GRUB takes from the block; nothing from one without the first line.
[[nodiscard]] Variables read_grub_variables(const GrubBlock& block);

/// The blocks to be written one after the other, each of which differs from the one before in one sector. The last one
/// says what `changes` ask for; of our variables all others say what `block` says. Variables of others are kept in
/// every one of them, comments of others in the last one. Nothing to do: empty.
///
/// A damaged block is rewritten, even without changes, from what is readable; a cut between its steps may lose
/// variables of others that lay near the border of the sectors. A scattered one is rewritten, too.
///
/// Errors: boot_environment (no first line; no room for our variables).
[[nodiscard]] Result<std::vector<GrubBlock>> plan_grub_steps(const GrubBlock& block, const VariableChanges& changes);

}  // namespace slotkeeper::boot
