// What the process that holds a freeze does. Private to partitions/io.
#pragma once

#include <cstdint>

namespace slotkeeper::io {

/// To the freezer, one byte each. The end of the pipe means the same as `thaw`.
enum class FreezerCommand : char { freeze = 'F', thaw = 'T' };

/// From the freezer. Small enough that a pipe takes it as a whole.
struct FreezerReport {
  enum class Kind : std::uint32_t {
    ready,   ///< in a session of its own, memory locked, everything else closed
    frozen,  ///< the kernel has frozen the filesystem
    failed,  ///< it could not get ready or could not freeze: `os_errno`; the process ends
    thawed,  ///< after `frozen` and always the last: `os_errno` is 0 when the kernel thawed it
  };
  Kind kind = Kind::failed;
  std::int32_t os_errno = 0;
  std::uint32_t time_was_up = 0;  ///< 1: thawed because the limit was reached
  std::int64_t held_ns = 0;
};

struct FreezerPlan {
  int filesystem;  ///< open directory on it
  int commands;    ///< end of a pipe to read from
  int reports;     ///< end of a pipe to write to
  int descriptors_max;
  std::int64_t limit_ns;
};

/// The life of the freezer, after a fork and without an exec: calls that are safe then, and no other. All signals must
/// be blocked. Descriptors of `plan` must be above 2.
[[noreturn]] void live_as_freezer(const FreezerPlan& plan);

}  // namespace slotkeeper::io
