// EFI variables through efivarfs, and the few of them that decide about booting.
//
// A file holds 4 bytes of attributes (little endian), then the data. One write() sets the whole variable (SetVariable),
// unlink() removes it; there is nothing to sync: the call has returned when the firmware says that it is stored. Most
// variables carry the immutable flag (not BootOrder, BootNext and Boot####), which has to be lifted before.
// Sources: Linux, Documentation/filesystems/efivarfs.rst and fs/efivarfs; UEFI specification 2.10, 3.1 and 8.2.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "partitions/io/result.hpp"
#include "partitions/io/storage.hpp"

namespace slotkeeper::boot {

inline constexpr const char* kEfiVariablesPath = "/sys/firmware/efi/efivars";
/// Non-volatile, boot service and runtime access: what Boot#### and the order have.
inline constexpr std::uint32_t kEfiBootAttributes = 7;

struct EfiVariable {
  std::uint32_t attributes = kEfiBootAttributes;
  std::vector<std::byte> data;
  bool operator==(const EfiVariable&) const = default;
};

[[nodiscard]] std::string efi_global_name(const std::string& name);  ///< "BootOrder" -> "BootOrder-8be4df61-..."
[[nodiscard]] std::string efi_loader_name(const std::string& name);  ///< "LoaderEntryDefault" -> "...-4a67b082-..."

class EfiVariables {
 public:
  EfiVariables(io::Storage& storage, std::string path) : storage_(storage), path_(std::move(path)) {}

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] Result<std::vector<std::string>> names() const;
  /// Nothing where there is no such variable. Errors: io_error (also where efivarfs is not mounted).
  [[nodiscard]] Result<std::optional<EfiVariable>> read(const std::string& full_name) const;
  /// Durable: when it returns, as far as the firmware keeps its word. On crash: the old value or the new one.
  /// Errors: io_error, storage_full (the firmware has no room), readback_mismatch.
  [[nodiscard]] Result<void> write(const std::string& full_name, const EfiVariable& variable) const;
  /// Removing what is not there is no error.
  [[nodiscard]] Result<void> remove(const std::string& full_name) const;

 private:
  [[nodiscard]] Result<std::unique_ptr<io::Directory>> open() const;

  io::Storage& storage_;
  std::string path_;
};

/// UTF-16 up to its zero, or its end. What is no ASCII becomes '?': it is for names of ours and for messages.
[[nodiscard]] std::string text_of_utf16(io::ConstBytes data);

/// Head of a Boot#### variable: attributes (4), length of the device path (2), description (UTF-16, zero-terminated).
struct LoadOption {
  bool is_active = false;
  std::string description;
};
[[nodiscard]] std::optional<LoadOption> parse_load_option(io::ConstBytes data);

/// 0x001A for "Boot001A-8be4df61-..."; nothing for other names.
[[nodiscard]] std::optional<std::uint16_t> load_option_number(const std::string& full_name);
[[nodiscard]] std::string load_option_name(std::uint16_t number);  ///< "Boot001A"

/// BootOrder, or BootNext as a list of one. Nothing unless it is whole numbers of 16 bits.
[[nodiscard]] std::optional<std::vector<std::uint16_t>> parse_boot_numbers(io::ConstBytes data);
[[nodiscard]] std::vector<std::byte> print_boot_numbers(const std::vector<std::uint16_t>& numbers);

}  // namespace slotkeeper::boot
