// The filesystems that a permanent partition may have, as the rig makes, mounts, mends and checks them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace slotkeeper::test {

struct Filesystem {
  std::string name;  ///< as mount calls it
  std::uint64_t size_bytes = 0;
  std::vector<std::string> make;       ///< the image is the last argument of each of these
  std::string mount_options;           ///< no commit by the clock, no discard: the same run makes the same log
  std::vector<std::string> look;       ///< fails where there is damage
  std::vector<std::string> mend = {};  ///< before a second mount where the first failed; nothing: it must not fail
  /// It keeps two copies of its own blocks, and goes on with one.
  bool survives_a_failed_write = false;
  /// What it needs a disk to write at once or not at all.
  std::uint64_t tear_unit_min = 512;

  /// The tool finds nothing to mend in an image that is not mounted.
  [[nodiscard]] bool is_sound(const std::string& image) const;
};

[[nodiscard]] const Filesystem& ext4();
/// Of this name: "ext4", "xfs", "btrfs".
[[nodiscard]] const Filesystem& filesystem(const std::string& name);

}  // namespace slotkeeper::test
