// The configuration file of the U-Boot tools (fw_printenv, fw_setenv), read exactly as they read it: what they and we
// take for the environment must never differ.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "partitions/io/result.hpp"

namespace slotkeeper::boot {

inline constexpr std::size_t kEnvironmentBytesMin = 64;
inline constexpr std::size_t kEnvironmentBytesMax = std::size_t{4} << 20U;  ///< U-Boot boards use up to 1 MiB
inline constexpr std::size_t kFwEnvConfigBytesMax = 64 * 1024;

/// Where one copy of the environment lies.
struct EnvironmentPlace {
  std::string device_path;
  std::uint64_t offset = 0;    ///< bytes from the start of the device
  std::size_t size_bytes = 0;  ///< of the copy, its header included
  bool operator==(const EnvironmentPlace&) const = default;
};

using EnvironmentPlaces = std::array<EnvironmentPlace, 2>;

/// One copy a line: `device offset size [sector-size [sectors]]`, '#' begins a comment line. The offset is decimal, 0x
/// hexadecimal or 0 octal, the sizes are hexadecimal with or without 0x: so do the tools. Sector sizes matter for MTD
/// only and are not looked at. `name` is the file's, for messages.
///
/// Errors: config with file and line: malformed, a relative path, a negative offset, another number of copies than two,
/// copies of different sizes, copies of one device that overlap.
[[nodiscard]] Result<EnvironmentPlaces> parse_fw_env_config(std::string_view text, const std::string& name);

}  // namespace slotkeeper::boot
