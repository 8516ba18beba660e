// What a rollback will need on the permanent partition, made beforehand: one file per entry of the snapshot, written to
// the size of its contents in whole blocks, plus a slack file for directory blocks and log entries. They live in
// kOwnDirectory/reserve. Names: "SIZE-NUMBER", numbered from 0 for each size, and "slack".
#pragma once

#include <memory>
#include <string>

#include "partitions/io/directory.hpp"
#include "partitions/permanent/forecast.hpp"
#include "partitions/permanent/snapshot.hpp"

namespace slotkeeper::permanent {

/// Makes kOwnDirectory where it is missing. Part of `provision`. Durable when it returns.
/// Errors: config (something else has that name), storage_full, io_error, sync_failed.
[[nodiscard]] Result<void> make_own_directory(io::Directory& root);

struct ReserveFacts {
  std::uint64_t files = 0;
  std::uint64_t bytes = 0;
};

/// Builds the reserve for a snapshot; files that are there already and whole are kept, so it can be repeated, also for
/// another snapshot; what that one does not need goes when all else is there.
/// Durable: files, their blocks and names. On crash: a part of them; `release_reserve` or a repetition clears up.
/// Errors: storage_full (what there is of the reserve stays), io_error, sync_failed, cancelled, and those of
/// `SnapshotReader`.
[[nodiscard]] Result<ReserveFacts> make_reserve(io::Directory& root, StoreArea& snapshot, std::uint64_t slack_bytes,
                                                ProgressSink& progress);

/// True when every file that the snapshot asks for and the slack file exist with all their blocks.
[[nodiscard]] Result<bool> reserve_is_whole(io::Directory& root, StoreArea& snapshot);

/// Removes the reserve and what a restore left there; kOwnDirectory itself stays, and so does what it keeps of logs
/// that stood in a restore's way. Repeatable; no error when there is nothing. Durable when it returns.
[[nodiscard]] Result<void> release_reserve(io::Directory& root);

}  // namespace slotkeeper::permanent
