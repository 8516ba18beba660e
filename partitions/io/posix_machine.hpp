// How busy the machine is, and who goes first on it. Private to partitions/io.
#pragma once

#include <optional>
#include <string_view>

#include "partitions/io/host.hpp"

namespace slotkeeper::io {

/// See `Host::work_done`.
[[nodiscard]] std::optional<MachineWork> posix_work_done();

/// The same, of the texts of /proc/stat and /proc/diskstats. `ticks_per_s` is the unit of the first. Stacked
/// devices and RAM disks are left out: what they do, the disk below them does. Nothing where a text is not what it
/// should be.
[[nodiscard]] std::optional<MachineWork> parse_work_done(std::string_view stat, std::string_view disk_stats,
                                                         std::int64_t ticks_per_s);

/// See `Host::set_priority`.
[[nodiscard]] Result<Priority> set_posix_priority(const Priority& wanted);

}  // namespace slotkeeper::io
