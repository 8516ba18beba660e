// The kernel's mount table. Private to partitions/io.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "partitions/io/result.hpp"
#include "partitions/io/storage.hpp"

namespace slotkeeper::io {

struct MountEntry {
  Mount mount;
  std::string filesystem_options;  ///< those of the filesystem, as listed; still escaped

  /// Mounted so, or made so by the kernel after an error: newer ones no longer say "ro" then, but "emergency_ro" or
  /// "shutdown".
  [[nodiscard]] bool is_read_only() const;
};

/// The text of /proc/self/mountinfo. Errors: io_error when a line has another form than proc(5) tells.
[[nodiscard]] Result<std::vector<MountEntry>> parse_mounts(std::string_view text);
[[nodiscard]] Result<std::vector<MountEntry>> read_mount_entries(Storage& storage);

/// Undoes the kernel's "\040" spelling of blanks and backslashes.
[[nodiscard]] std::string unescape_octal(std::string_view text);

/// The layers of an overlay, from its options: lower ones from top to bottom, then the upper one when there is one.
struct OverlayLayers {
  std::vector<std::string> lower;
  std::string upper;
};
[[nodiscard]] OverlayLayers overlay_layers(std::string_view filesystem_options);

}  // namespace slotkeeper::io
