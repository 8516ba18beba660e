// A small device of real parts: two slots and an ext4 permanent partition on loop devices, a U-Boot environment in two
// copies, a state store, and the real program. The bootloader is played by the rig, in the way of U-Boot.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/loopback/fingerprint.hpp"
#include "tests/loopback/material.hpp"
#include "tests/loopback/program.hpp"
#include "tests/support/fault_disk/fault_disk.hpp"
#include "tests/support/loop_device.hpp"
#include "tests/support/temporary_directory.hpp"

namespace slotkeeper::test {

struct RigSettings {
  std::uint64_t slot_bytes = 16ull << 20;
  std::uint64_t permanent_bytes = 12ull << 20;
  unsigned int reserved_percent = 0;  ///< of the permanent partition, for root
  std::uint64_t store_bytes = 8ull << 20;
  bool provisioned = true;
  bool second_volume = false;  ///< slots have a volume `data`, too, of 4 MiB
  std::optional<std::chrono::milliseconds> slow_target =
      std::nullopt;  ///< every write to slot B takes so long (up to 1 MiB each)
};

class DeviceRig {
 public:
  explicit DeviceRig(const RigSettings& settings = RigSettings());
  DeviceRig(const DeviceRig&) = delete;
  DeviceRig& operator=(const DeviceRig&) = delete;
  ~DeviceRig();

  // ---- the program -------------------------------------------------------------------------------------------------
  /// --config, --json and --booted-slot stand before the arguments.
  [[nodiscard]] std::vector<std::string> command(const std::vector<std::string>& arguments) const;
  [[nodiscard]] Answer run(const std::vector<std::string>& arguments) const { return run_program(command(arguments)); }
  [[nodiscard]] Answer install(const std::string& bundle) const { return run({"install", bundle}); }

  // ---- what runs ---------------------------------------------------------------------------------------------------
  /// The slot that runs, as --booted-slot tells it; 0: the option is not given.
  char booted = 'A';
  /// Power off and on: the bootloader takes slots until one comes up, the permanent partition is mounted anew.
  /// Returns the slot that runs now. Nothing of ours is run.
  char boot();
  /// The bootloader alone: takes a slot and counts down.
  [[nodiscard]] std::optional<char> bootloader_takes();
  /// Whether a kernel would come up with what the slot holds.
  [[nodiscard]] bool comes_up(char slot) const;

  // ---- its parts ---------------------------------------------------------------------------------------------------
  [[nodiscard]] std::string path(const std::string& name) const { return folder_ / name; }
  [[nodiscard]] std::string permanent(const std::string& name = "") const { return folder_ / ("permanent/" + name); }
  [[nodiscard]] std::string store() const { return folder_ / "state.store"; }
  [[nodiscard]] std::string slot_device(char slot) const;
  [[nodiscard]] std::string permanent_device() const { return permanent_loop_->path(); }
  [[nodiscard]] std::string environment_file() const { return folder_ / "uboot.env"; }
  static constexpr std::uint64_t kEnvironmentBytes = 8192;  ///< of one copy

  /// Variables of the newest valid copy; nothing where both are damaged.
  [[nodiscard]] std::optional<std::map<std::string, std::string>> environment() const;
  [[nodiscard]] std::string variable(const std::string& name) const;
  [[nodiscard]] bool environment_copy_is_valid(unsigned int copy) const;
  void damage_environment_copy(unsigned int copy) const;

  [[nodiscard]] std::string configuration() const { return contents_of(folder_ / "system.toml"); }
  void set_configuration(const std::string& text) const { write_file(folder_ / "system.toml", text); }
  /// Replaces a piece of it, which must be there.
  void edit_configuration(const std::string& piece, const std::string& by) const;

  void unmount_permanent() { mount_.reset(); }
  void mount_permanent();
  /// A file below download/, which compaction may remove.
  void add_disposable(const std::string& name, std::uint64_t size_bytes) const;
  /// Fills the permanent partition to this level with files of class `log`.
  void fill_permanent(unsigned int percent) const;

  // ---- what it holds -----------------------------------------------------------------------------------------------
  /// "slot A", "slot B", "environment", "permanent ./...", "store", "store history".
  [[nodiscard]] Fingerprint fingerprint() const;
  /// Configuration and state of the permanent partition alone.
  [[nodiscard]] Fingerprint protected_files() const;
  [[nodiscard]] std::string slot_hash(char slot) const;
  /// Does slot B (or A) hold the image of this version?
  [[nodiscard]] bool holds(char slot, const std::string& version) const;

 private:
  void make_permanent(const RigSettings& settings);
  void make_environment() const;
  void make_configuration(const RigSettings& settings) const;

  TemporaryDirectory folder_;
  std::map<std::string, std::string> slots_;  ///< the devices, by "A", "B", "A.data", "B.data"
  std::vector<std::unique_ptr<LoopDevice>> loops_;
  std::unique_ptr<FaultDisk> slow_disk_;
  std::unique_ptr<LoopDevice> permanent_loop_;
  std::unique_ptr<MountedFilesystem> mount_;
};

}  // namespace slotkeeper::test
