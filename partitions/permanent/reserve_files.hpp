// The files of the reserve as they lie in their directory: what make_reserve makes and a restore takes from.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "partitions/io/directory.hpp"

namespace slotkeeper::permanent {

inline constexpr std::string_view kReserveDirectory = "reserve";  ///< in kOwnDirectory
inline constexpr std::string_view kSlackName = "slack";

/// kOwnDirectory/reserve
[[nodiscard]] std::string reserve_path();

[[nodiscard]] std::string reserve_name(std::uint64_t size_bytes, std::uint64_t number);

struct ReserveFiles {
  std::map<std::uint64_t, std::vector<std::string>> by_size;  ///< names, the smallest number last
  std::optional<std::string> slack;
  std::vector<std::string> foreign;  ///< names that are none of a reserve, e.g. of a restore that was cut off
};

[[nodiscard]] Result<ReserveFiles> list_reserve(io::Directory& reserve);

/// True when the file has `size_bytes` or more, and blocks for all of it.
[[nodiscard]] Result<bool> is_whole(io::Directory& reserve, const std::string& name, std::uint64_t size_bytes);

}  // namespace slotkeeper::permanent
