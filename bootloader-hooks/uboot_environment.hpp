// The one door to libubootenv. The library never sees a device: it is fed a memory file with both copies and says what
// they mean. A new copy is composed here and given to the library again, which has to read what was meant. Reading,
// locking, writing, syncing and reading back the real copies is environment_copies.cpp.
//
// One copy is: CRC-32 of the data (4 bytes, little endian as every machine we run on), a flags byte that the CRC does
// not cover, then "name=value" strings, each ended by a zero byte, and one more zero byte behind the last. Of two valid
// copies the one with the higher flags is current, where 0 follows 255; of two with equal flags the first.
//
// What 0.3.2 was seen to do, and what is done about it:
//   - it reads past a copy without the closing zero byte: such a copy counts as damaged and is not shown to it
//   - its store ignores the results of write and fsync, writes leftovers of its memory behind the closing zero byte,
//     drops the attributes (".flags") of variables that are not set and leaks when there is no room: it is not used
//   - opening waits without a limit for the lock of the U-Boot tools and ignores its failure: the caller takes that
//     lock first, with a limit, and has given it back when it calls; what it read is compared again under the lock
#pragma once

#include <array>
#include <cstddef>
#include <vector>

#include "bootloader-hooks/uboot_variables.hpp"
#include "partitions/io/result.hpp"
#include "partitions/io/types.hpp"

namespace slotkeeper::boot {

using EnvironmentCopy = std::vector<std::byte>;
using EnvironmentCopies = std::array<EnvironmentCopy, 2>;  ///< of the same size

/// The CRC matches and the closing zero byte is there.
[[nodiscard]] bool is_valid_copy(io::ConstBytes copy);

/// Never written: all bytes 0x00 or all 0xff.
[[nodiscard]] bool is_blank_copy(io::ConstBytes copy);

/// The copy that U-Boot takes, 0 or 1; nothing when none is valid.
[[nodiscard]] std::optional<std::size_t> current_copy(const EnvironmentCopies& copies);

/// A valid copy without any variable.
[[nodiscard]] EnvironmentCopy empty_copy(std::size_t size_bytes);

/// The same content, numbered as the one that follows: of two copies with the same content either may win.
[[nodiscard]] EnvironmentCopy numbered_after(EnvironmentCopy copy);

/// The variables of the current copy, without ".flags".
/// Errors: boot_environment (no valid copy), io_error, internal (the library disagrees).
[[nodiscard]] Result<Variables> read_variables(const EnvironmentCopies& copies);

/// The current copy with `changes` made, numbered as the newer one: what belongs where the other copy lies now. All
/// other variables are kept byte for byte. Touches no device.
/// Errors: boot_environment (no valid copy, no room for the changes), io_error, internal (the library lost something).
[[nodiscard]] Result<EnvironmentCopy> compose_next(const EnvironmentCopies& copies, const VariableChanges& changes);

}  // namespace slotkeeper::boot
