// The device at rest: no transaction is open. The confirmed slot is first with all its tries, both copies of the boot
// environment are valid, nothing of ours lies on the permanent partition but what `provision` made.
#pragma once

#include "engine/transaction/device.hpp"

namespace slotkeeper {

/// Writes only what does not hold yet. Where another slot runs than the confirmed one (`fell-back`), the running one
/// becomes the confirmed slot; the configuration is kept where its firmware can read it, else saved aside and the
/// `previous` snapshot is restored.
/// Errors: boot_environment, io_error, sync_failed, restore_incomplete.
[[nodiscard]] Result<void> put_at_rest(Device& device);

}  // namespace slotkeeper
