// Which files are logs of the trial although the class table of the snapshot calls them configuration: the new firmware
// may write its logs elsewhere, turn a log file into a directory of logs, or rotate and compress under other names.
#pragma once

#include <string>

#include "partitions/permanent/classes.hpp"

namespace slotkeeper::permanent {

class TrialLogs {
 public:
  /// `trial` is the class table of the firmware that was tried; null where it is not known or is the original's. Both
  /// must outlive this object.
  TrialLogs(const ClassTable& original, const ClassTable* trial) : original_(original), trial_(trial) {}

  /// The trial's own table calls this path a log.
  [[nodiscard]] bool calls_log(const std::string& path) const;
  /// For a file that the snapshot does not know: `calls_log`, or it lies below a path that either table calls a log, or
  /// has the name of such a log with what rotation and compression put behind it ("x.log.1", "x.log-20261126.zst").
  [[nodiscard]] bool may_hold_log(const std::string& path) const;

 private:
  [[nodiscard]] bool either_calls_log(const std::string& path) const;

  const ClassTable& original_;
  const ClassTable* trial_;
};

/// The name without what rotation and compression put behind it; the same name where there is nothing of that.
[[nodiscard]] std::string without_rotation(const std::string& path);

}  // namespace slotkeeper::permanent
