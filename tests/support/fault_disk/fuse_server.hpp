// The one door to libfuse: a folder with one file per disk of a model.
#pragma once

#include <functional>
#include <string>

#include "tests/support/fault_disk/model.hpp"

namespace slotkeeper::test {

/// Mounts the folder, calls `ready`, serves one request after the other (so that the log has one order) and returns
/// when it was unmounted or a signal said so. False when it could not be mounted.
[[nodiscard]] bool serve_fuse(const std::string& mount_point, FaultModel& model, const std::function<void()>& ready);

}  // namespace slotkeeper::test
