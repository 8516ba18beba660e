// The one interface between the engine and every bootloader.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bootloader-hooks/boot_state.hpp"
#include "partitions/io/host.hpp"
#include "partitions/io/result.hpp"
#include "partitions/io/storage.hpp"

namespace slotkeeper::boot {

/// What a backend can promise on this device.
struct BootTraits {
  std::string backend;                  ///< "uboot", "grub", "custom", ...
  bool keeps_mark = false;              ///< order, counters and mark change together in one store
  bool counts_tries = false;            ///< the bootloader counts trial boots down
  bool has_one_copy = false;            ///< damage leaves nothing to repair it from: `recover` initialises it anew
  std::uint32_t attempts = 1;           ///< what the engine may ask for, after the backend's own limit
  std::vector<std::string> weaknesses;  ///< sentences for `status`
  std::vector<std::string> places;      ///< files and devices that it works on, its lock among them
};

struct BootReading {
  BootState state;
  bool damaged_copy = false;  ///< one copy (GRUB: a part) of the environment is invalid; `repair` rewrites it
  /// Both copies are valid, but the one that is not current says something else about the slots: a cut between the two
  /// writes of a store, or a bootloader that counted. GRUB: our variables lie so that a store would not be atomic,
  /// after other tools or a cut while they were moved. No damage; `repair` and the next `store` bring it up to date.
  bool behind_copy = false;
  /// Why the next store would fail although the environment reads well, as a sentence; empty: it would not.
  std::string obstacle = {};
};

/// Errors: boot_environment (no valid copy), io_error, sync_failed, readback_mismatch, busy (locked by another tool).
class BootControl {
 public:
  BootControl() = default;
  BootControl(const BootControl&) = delete;
  BootControl& operator=(const BootControl&) = delete;
  virtual ~BootControl() = default;

  [[nodiscard]] virtual const BootTraits& traits() const = 0;

  /// Reads past the cache. Changes nothing.
  [[nodiscard]] virtual Result<BootReading> read() = 0;

  /// Makes the store say `wanted`. Atomic: at every instant the bootloader sees the old state or the new one, in full.
  /// Durable: all copies, flushed and read back. Variables of others are kept.
  /// On crash: the old or the new state; a copy may be damaged or behind, which `read` reports and `repair` mends.
  /// Writes nothing when all copies say `wanted` already.
  [[nodiscard]] virtual Result<void> store(const BootState& wanted) = 0;

  /// Rewrites a damaged copy from the valid one, and one that is behind from the current one. Else writes nothing.
  [[nodiscard]] virtual Result<void> repair() = 0;

  /// For `provision`: makes a valid store with `wanted` even where none is, keeping what can be read of it.
  [[nodiscard]] virtual Result<void> initialise(const BootState& wanted) = 0;

  /// The booted slot where the backend itself knows it (custom: `get-booted`).
  [[nodiscard]] virtual Result<std::optional<SlotId>> booted() = 0;
};

struct UbootSettings {
  std::string fw_env_config;  ///< path of fw_env.config with two copies
  std::uint32_t attempts = 3;
  std::string lock_path = "/var/lock/fw_printenv.lock";  ///< the one of the U-Boot tools; another one in tests only
  std::chrono::milliseconds lock_wait{10'000};           ///< how long other tools may hold it or get in between
};
struct GrubSettings {
  std::string grubenv;                                          ///< path of the environment block, 1024 bytes
  std::uint32_t attempts = 3;                                   ///< 1 to 9; what the boot script counts may be less
  std::string lock_path = "/var/lock/slotkeeper-grubenv.lock";  ///< the tools of GRUB know no lock
  std::chrono::milliseconds lock_wait{10'000};                  ///< how long others may hold it or get in between
};
struct CustomSettings {
  std::string command;  ///< executable, called with a verb
  std::uint32_t attempts = 3;
};
struct SystemdBootSettings {
  std::string partition;  ///< where the EFI system partition (or XBOOTLDR) with loader/entries is mounted
  std::uint32_t attempts = 3;
  std::string variables = "/sys/firmware/efi/efivars";  ///< another place in tests only
};
struct FirmwareBootSettings {
  std::string variables = "/sys/firmware/efi/efivars";  ///< another place in tests only
};

/// Errors: config (fw_env.config missing, malformed, or with one copy only).
[[nodiscard]] Result<std::unique_ptr<BootControl>> make_uboot_control(io::Storage& storage, UbootSettings settings);
/// The file may be missing or damaged: `initialise` makes it.
/// Errors: config (a filesystem or a file that cannot be overwritten in place so that GRUB sees it), io_error.
[[nodiscard]] Result<std::unique_ptr<BootControl>> make_grub_control(io::Storage& storage, GrubSettings settings);
/// Errors: config (missing, not executable, or writable by others than root).
[[nodiscard]] Result<std::unique_ptr<BootControl>> make_custom_control(io::Storage& storage, io::Host& host,
                                                                       CustomSettings settings);
/// Errors: config (no loader/entries on the partition).
[[nodiscard]] Result<std::unique_ptr<BootControl>> make_systemd_boot_control(io::Storage& storage,
                                                                             SystemdBootSettings settings);
/// Errors: config (the EFI variables cannot be listed).
[[nodiscard]] Result<std::unique_ptr<BootControl>> make_firmware_boot_control(io::Storage& storage,
                                                                              FirmwareBootSettings settings);

}  // namespace slotkeeper::boot
