// /etc/slotkeeper/system.toml, checked and typed. Nothing that it asks for is ignored: an unknown key is refused with
// its name and line, a feature that this version lacks with `not_supported_yet`.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/bundle/manifest.hpp"
#include "engine/bundle/signature.hpp"
#include "engine/source/source_settings.hpp"
#include "partitions/io/storage.hpp"
#include "partitions/permanent/classes.hpp"
#include "partitions/slot_table.hpp"

namespace slotkeeper {

enum class BootBackend : std::uint8_t { uboot, grub, efi, custom };
/// Who picks the slot where the backend is `efi`.
enum class EfiLoader : std::uint8_t { systemd_boot, firmware };

/// `[install]`: how an update shares the device with what else runs on it.
struct InstallSettings {
  std::optional<std::uint64_t> max_write_rate = {};  ///< bytes per second, to the target slot
  std::optional<int> nice = {};
  std::optional<int> io_priority = {};  ///< see `io::Priority`
  std::uint32_t quarantine_after = 3;   ///< failures of one package; 0: never
  bool gentle = false;                  ///< one thread, small steps, and pauses that grow while the device is busy
};

/// `[trust]`: who may update this device.
struct TrustSettings {
  std::string anchors;               ///< path
  std::string crl;                   ///< path; empty: revocation is not asked for
  std::vector<std::string> signers;  ///< empty: whoever the anchors vouch for
  std::uint32_t signatures_required = 1;
  bundle::JudgedAt judged_at = bundle::JudgedAt::clock;
  std::string time_stamp_anchors;  ///< path; with `time = "timestamp"` and only then
};

struct Configuration {
  std::string path;  ///< of the file it came from

  std::string compatible;

  std::string store_path;
  std::uint64_t store_size_bytes = 32ull << 20;

  SlotTable slots;

  BootBackend boot_backend = BootBackend::uboot;
  std::string fw_env_config = "/etc/fw_env.config";
  std::string grubenv = "/boot/grub/grubenv";
  std::string boot_command;
  EfiLoader efi_loader = EfiLoader::systemd_boot;
  std::string efi_partition = "/boot/efi";
  std::uint32_t attempts = 3;

  std::string permanent_path;
  std::uint32_t max_fill_percent = 54;
  std::uint64_t reserve_bytes = 2ull << 20;
  std::chrono::milliseconds storm_probe{2000};
  permanent::ClassTable classes;

  TrustSettings trust;

  std::string encryption_key;          ///< of this device, to decrypt bundles; empty: none
  std::string encryption_certificate;  ///< what they are encrypted for; goes with the key

  std::string health_directory = "/etc/slotkeeper/health.d";
  std::chrono::milliseconds health_timeout{120'000};
  std::chrono::milliseconds confirm_within{900'000};
  bool health_allow_empty = false;

  std::string hooks_directory = "/etc/slotkeeper/hooks.d";

  SourceSettings source;
  InstallSettings install;
};

/// Parses text. Errors: config with "FILE:LINE: KEY: why", not_supported_yet.
[[nodiscard]] Result<Configuration> parse_configuration(std::string_view text, const std::string& file_name);

/// Reads and parses a file. Errors: config (also for a missing file).
[[nodiscard]] Result<Configuration> load_configuration(io::Storage& storage, const std::string& path);

/// Checks what needs the device: something is mounted at the permanent partition's path (an unmounted one would be an
/// empty directory of the running firmware), the hook and health directories and all files in them belong to root and
/// are writable by nobody else, the decryption key is readable by nobody else, and no hook is there that this version
/// does not run yet. Absent hook and health directories pass. Errors: config, not_supported_yet, io_error.
[[nodiscard]] Result<void> check_configuration(io::Storage& storage, const Configuration& configuration);

/// Only the first of these: what `recover` needs. A hook of wrong ownership must not keep a device from coming up.
[[nodiscard]] Result<void> check_permanent_partition(io::Storage& storage, const Configuration& configuration);

/// Path of the hook of this name; nothing when there is none or it is not executable. Ownership is checked as above, at
/// the moment of use. Errors: config, io_error.
[[nodiscard]] Result<std::optional<std::string>> find_hook(io::Storage& storage, const Configuration& configuration,
                                                           const std::string& name);

/// The health checks, sorted by name, as absolute paths; ownership is checked as above, hidden files are left out. For
/// `provision`, `preflight`, `install` and `confirm`. Errors: config when there is none and allow-empty is false, or
/// one is not executable.
[[nodiscard]] Result<std::vector<std::string>> find_health_checks(io::Storage& storage,
                                                                  const Configuration& configuration);

/// The manifest source of `bundle create`. Errors: config with file, line and key; not_supported_yet.
struct ManifestSource {
  struct Image {
    std::string volume;
    std::string file;                  ///< as written; relative to the manifest's folder
    std::optional<bool> encrypt = {};  ///< nothing: where there are recipients
  };
  std::string version;
  std::vector<std::string> compatible;
  std::optional<bundle::FirmwareGroup> firmware_group;
  std::optional<std::string> minimum_version;
  std::optional<std::int64_t> config_schema;
  std::optional<std::int64_t> config_readable_by;
  std::int64_t records_min = 1;
  std::int64_t records_max = 1;
  std::vector<Image> images;
};
[[nodiscard]] Result<ManifestSource> parse_manifest_source(std::string_view text, const std::string& file_name);

/// "2 MiB", "512 KiB", "4096": bytes. Nothing where it is malformed or overflows.
[[nodiscard]] std::optional<std::uint64_t> parse_size(std::string_view text);
/// "2s", "15min", "500ms", "0s".
[[nodiscard]] std::optional<std::chrono::milliseconds> parse_duration(std::string_view text);

}  // namespace slotkeeper
