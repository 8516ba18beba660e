// Running another program in a session of its own. Private to partitions/io.
#pragma once

#include "partitions/io/host.hpp"

namespace slotkeeper::io {

[[nodiscard]] Result<ProcessOutcome> run_process(const ProcessRequest& request);

}  // namespace slotkeeper::io
