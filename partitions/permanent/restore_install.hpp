// The second half of a restore: puts what was built and verified into place, each file by one rename.
#pragma once

#include "partitions/io/directory.hpp"
#include "partitions/permanent/restore.hpp"
#include "partitions/permanent/restore_build.hpp"
#include "partitions/permanent/restore_plan.hpp"
#include "partitions/permanent/trial_logs.hpp"
#include "partitions/progress.hpp"

namespace slotkeeper::permanent {

/// Carries out everything of `plan` that is not building, then gives the directories their attributes and times.
/// Requires: `built` holds every entry of `plan.build`.
/// Durable: all of it, when it returns. On crash: each config file is old or restored, complete, and each log of the
/// trial has at least one name; a restore that is run again does the rest.
/// Errors: io_error, storage_full, sync_failed.
[[nodiscard]] Result<void> install_replacements(io::Directory& root, const RestorePlan& plan, const Replacements& built,
                                                const TrialLogs& logs, RestoreReport& report, ProgressSink& progress);

}  // namespace slotkeeper::permanent
