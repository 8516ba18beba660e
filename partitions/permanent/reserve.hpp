// What a rollback will need on the permanent partition, made beforehand: one file per regular file of the snapshot,
// written to size, plus a slack file for directory blocks and log entries. They live in kOwnDirectory/reserve.
#pragma once

#include <memory>
#include <string>

#include "partitions/io/directory.hpp"
#include "partitions/permanent/forecast.hpp"
#include "partitions/permanent/snapshot.hpp"

namespace slotkeeper::permanent {

/// Makes kOwnDirectory where it is missing. Part of `provision`. Durable when it returns.
[[nodiscard]] Result<void> make_own_directory(io::Directory& root);

struct ReserveFacts {
  std::uint64_t files = 0;
  std::uint64_t bytes = 0;
};

/// Builds the reserve for a snapshot; files that are there already and large enough are kept, so it can be repeated.
/// Durable: files, their blocks and names. On crash: a part of them; `release_reserve` or a repetition clears up.
/// Errors: storage_full, io_error, sync_failed, cancelled.
[[nodiscard]] Result<ReserveFacts> make_reserve(io::Directory& root, StoreArea& snapshot, std::uint64_t slack_bytes,
                                                ProgressSink& progress);

/// True when every file of the reserve exists with all its blocks.
[[nodiscard]] Result<bool> reserve_is_whole(io::Directory& root, StoreArea& snapshot);

/// Removes the reserve; kOwnDirectory itself stays. Repeatable. Durable when it returns.
[[nodiscard]] Result<void> release_reserve(io::Directory& root);

}  // namespace slotkeeper::permanent
