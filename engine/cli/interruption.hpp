// SIGINT and SIGTERM as a request that the engine honours where it is safe.
#pragma once

namespace slotkeeper::cli {

/// From now on SIGINT and SIGTERM only set a flag, and a reader or terminal that goes away (SIGPIPE, SIGHUP) does not
/// end the process.
void handle_interruptions();

[[nodiscard]] bool interruption_requested();

}  // namespace slotkeeper::cli
