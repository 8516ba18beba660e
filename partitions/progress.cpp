#include "partitions/progress.hpp"

namespace slotkeeper {

std::string_view name_of(Phase phase) {
  switch (phase) {
    case Phase::open:
      return "open";
    case Phase::verify:
      return "verify";
    case Phase::preflight:
      return "preflight";
    case Phase::compact:
      return "compact";
    case Phase::snapshot:
      return "snapshot";
    case Phase::stage:
      return "stage";
    case Phase::check:
      return "check";
    case Phase::switch_over:
      return "switch";
    case Phase::restore:
      return "restore";
  }
  SK_INVARIANT(false && "a phase without a name");
  return {};
}

Result<void> ProgressSink::check_cancelled() {
  if (cancel_requested()) return make_error(Errc::cancelled, "the operation was stopped before the switch");
  return success();
}

}  // namespace slotkeeper
