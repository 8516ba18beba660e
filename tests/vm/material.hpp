// What the machines are made from, for one bootloader: images that make-images makes, and disks in the states from
// which tests begin, made by a machine itself. Kept in the build, shared by test processes.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "tests/support/tree_listing.hpp"
#include "tests/vm/virtual_machine.hpp"

namespace slotkeeper::test {

/// States of a disk, with the power off. In the original's slot A runs 3.5.0.
enum class DiskState {
  provisioned,      ///< `slotkeeper provision` was run
  armed_good,       ///< 3.5.1 was installed; the configuration was edited; the device was switched off
  armed_unhealthy,  ///< the same with 3.6.4
  fallen,           ///< 3.6.4 was tried, changed the configuration, failed its health check: the original is next
};

struct PartitionPlace {
  std::uint64_t offset_bytes = 0;
  std::uint64_t size_bytes = 0;
};

class Material {
 public:
  /// Makes what is missing; waits while another process does.
  [[nodiscard]] static const Material& of(const std::string& bootloader);

  [[nodiscard]] const std::string& bootloader() const { return bootloader_; }
  /// Arguments of QEMU for a machine of its own: files that it writes to are copied into `folder`.
  [[nodiscard]] std::vector<std::string> qemu_arguments(const std::string& folder) const;
  /// What the bootloader says when it is about to choose a slot.
  [[nodiscard]] std::string bootloader_marker() const;
  [[nodiscard]] VirtualMachine::Drive bundles() const { return {.file = folder_ + "/bundles.img", .read_only = true}; }
  [[nodiscard]] std::string image(const std::string& version) const { return folder_ + "/" + version + ".img"; }
  /// "boot", "environment", "state", "rootfs-a", "rootfs-b", "permanent".
  [[nodiscard]] const PartitionPlace& partition(const std::string& name) const { return partitions_.at(name); }

  /// A disk in this state, not to be written to. Made by a machine where it is missing.
  [[nodiscard]] std::string disk(DiskState state) const;
  /// The configuration that belongs to this state's disk when no trial is under way.
  [[nodiscard]] const TreeListing& configuration(DiskState state) const;
  /// How many lines the system log has, which is never written to.
  [[nodiscard]] std::uint64_t system_log_lines() const;

 private:
  explicit Material(std::string bootloader);
  void make_images() const;
  void load_layout();
  void make_disk(DiskState state, const std::string& into) const;

  std::string bootloader_;
  std::string folder_;
  std::map<std::string, PartitionPlace> partitions_;
  mutable std::map<bool, TreeListing> configurations_;  ///< by whether it was edited
};

/// Copies a partition of a disk into a file.
void extract_partition(const std::string& disk, const PartitionPlace& place, const std::string& file);

/// The command by which the original's configuration is edited between the installation and the restart.
[[nodiscard]] std::string edit_command(const std::string& permanent);

/// Everything in a permanent partition that is configuration; times of directories apart.
[[nodiscard]] TreeListing list_configuration(const std::string& mounted);

}  // namespace slotkeeper::test
