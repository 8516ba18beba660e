// What all parts of a compaction ask of a file: whose it is, whether it is still the planned one, and what an error
// about it means.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "partitions/permanent/compaction.hpp"

namespace slotkeeper::permanent {

/// True when an error only says that this file is not what it was, or that somebody has a lease on it.
[[nodiscard]] bool is_about_this_file(const Error& error);
/// True when an error says that there is no block or no inode left.
[[nodiscard]] bool is_about_room(const Error& error);

/// Opens a file for reading and takes the lease; empty when somebody has it open, or it is gone or no regular file.
/// The lease goes with the object.
[[nodiscard]] Result<std::unique_ptr<io::File>> take_unused(io::Directory& parent, const std::string& name,
                                                            io::LeaseKind kind);

/// Same file with the same contents and one name; with `and_inode` nothing of its inode was touched either.
[[nodiscard]] bool is_as_planned(const Entry& planned, const io::EntryStatus& now, bool and_inode);

/// Looks a name up: nothing when it is not there any more.
[[nodiscard]] Result<std::optional<io::EntryStatus>> find_entry(io::Directory& directory, const std::string& name);

/// Removes a name if it is there.
[[nodiscard]] Result<void> remove_if_there(io::Directory& directory, const std::string& name);

[[nodiscard]] std::string compressed_name(const std::string& name);
/// Names in kOwnDirectory while the original with this inode is replaced: the replacement, and the original on its way
/// out.
[[nodiscard]] std::string replacement_name(std::uint64_t inode);
[[nodiscard]] std::string retired_name(std::uint64_t inode);

/// "812 KiB", rounded up.
[[nodiscard]] std::string kibibytes(std::uint64_t bytes);

/// Reads a file from front to end.
[[nodiscard]] Result<void> read_through(io::File& file, const std::function<Result<void>(io::ConstBytes)>& visit);

}  // namespace slotkeeper::permanent
