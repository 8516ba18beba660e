// What the reserve can promise on a filesystem. Measured by reserve_filesystems_test.cpp; engine/DESIGN.md has the
// table.
#pragma once

#include <cstdint>
#include <string>

namespace slotkeeper::permanent {

/// Whether writing over a file that has its blocks needs no other blocks. `filesystem_magic` is f_type of statfs.
[[nodiscard]] bool overwrites_in_place(std::uint64_t filesystem_magic);

/// How much less than on ext4 a rollback on a full partition is sure of here, in one sentence; empty for nothing less.
[[nodiscard]] std::string reserve_weakness(std::uint64_t filesystem_magic);

}  // namespace slotkeeper::permanent
