#include "tests/crash_kernel/filesystem.hpp"

#include <stdexcept>

#include "tests/crash_kernel/scene.hpp"
#include "tests/support/loop_device.hpp"

namespace slotkeeper::test {
namespace {

// Everything that could differ between two runs is fixed where the tool lets us.
Filesystem make_ext4_kind() {
  return {.name = "ext4",
          .size_bytes = kPermanentBytes,
          .make = {"mkfs.ext4", "-q", "-F", "-b", "1024", "-m", "0", "-I", "256", "-N", "256", "-J", "size=1", "-U",
                   "5107cafe-0000-4000-8000-000000000001", "-E",
                   "lazy_itable_init=0,lazy_journal_init=0,hash_seed=5107cafe-0000-4000-8000-000000000002"},
          .mount_options = "commit=3600",
          .look = {"e2fsck", "-fn"},
          .mend = {"e2fsck", "-fy"}};
}

/// 300 MiB is the least that mkfs makes.
Filesystem make_xfs_kind() {
  return {.name = "xfs",
          .size_bytes = 300u << 20,
          .make = {"mkfs.xfs", "-q", "-f", "-m", "uuid=5107cafe-0000-4000-8000-000000000003"},
          .mount_options = "nouuid",  // two tests may have theirs mounted at a time
          .look = {"xfs_repair", "-n"}};
}

/// With an identifier of its own for each: the kernel keeps those that are mounted apart by it. Its superblock has 4
/// KiB and is not mounted when it is torn ("Invalid argument").
Filesystem make_btrfs_kind() {
  return {.name = "btrfs",
          .size_bytes = 128u << 20,
          .make = {"mkfs.btrfs", "-q", "-f"},
          .mount_options = "commit=300,nodiscard",
          .look = {"btrfs", "check", "--readonly"},
          .survives_a_failed_write = true,
          .tear_unit_min = 4096};
}

}  // namespace

bool Filesystem::is_sound(const std::string& image) const {
  std::vector<std::string> command = look;
  command.push_back(image);
  try {
    run_tool(command);
    return true;
  } catch (const std::runtime_error&) {
    return false;
  }
}

const Filesystem& ext4() {
  static const Filesystem kind = make_ext4_kind();
  return kind;
}

const Filesystem& filesystem(const std::string& name) {
  static const Filesystem xfs = make_xfs_kind();
  static const Filesystem btrfs = make_btrfs_kind();
  for (const Filesystem* kind : {&ext4(), &xfs, &btrfs}) {
    if (kind->name == name) return *kind;
  }
  throw std::runtime_error("there is no filesystem " + name);
}

}  // namespace slotkeeper::test
