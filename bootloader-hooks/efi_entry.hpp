// Text and name of one boot loader entry of ours for systemd-boot. Pure functions; nothing here touches the partition.
//
// Every slot has two entries (Boot Loader Specification, type 1) in loader/entries, each exactly one sector long:
//   slotkeeper-a.conf            rest entry: never counted, never renamed, created once by `provision`
//   slotkeeper-a-trial+3.conf    trial entry: systemd-boot counts it by its name, +3 -> +2-1 -> +1-2 -> +0-3
//
// The sector:  "# crc32 " 8 hex digits "\n"      CRC-32 of everything behind this line
//              "sort-key slotkeeper-" 2 digits "\n"   01 to 99; the lowest one is started
//              "#architecture none\n"            or " architecture none\n", which hides the entry
//              lines of the integrator (the body), then "\n" up to 512 bytes
//
// An entry of another architecture is not shown and never started (Boot Loader Specification; boot.c of systemd 252,
// config_entry_add_type1), so one byte takes an entry out of the order and brings it back.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "partitions/io/result.hpp"
#include "partitions/slot_table.hpp"

namespace slotkeeper::boot {

inline constexpr std::size_t kEntryBytes = 512;         ///< one sector: overwriting it is atomic
inline constexpr std::size_t kEntryBodyBytesMax = 453;  ///< what the three lines of ours leave
inline constexpr std::uint32_t kEntryKeyMin = 1;
inline constexpr std::uint32_t kEntryKeyMax = 99;

enum class EntryKind : std::uint8_t { rest, trial };

/// The counter in the name of a trial entry. `left` is nothing where the name has none: systemd-bless-boot takes it
/// away, and systemd-boot does not count then.
struct EntryCounter {
  std::optional<std::uint32_t> left;
  std::uint32_t done = 0;
  bool operator==(const EntryCounter&) const = default;
};

struct EntryName {
  SlotId slot = SlotId::a;
  EntryKind kind = EntryKind::rest;
  EntryCounter counter = {};  ///< of a trial entry
  bool operator==(const EntryName&) const = default;
};

/// Names are compared without regard to case, as FAT and systemd-boot do. Nothing for a name that is not ours.
[[nodiscard]] std::optional<EntryName> parse_entry_name(std::string_view file_name);
[[nodiscard]] std::string print_entry_name(const EntryName& name);

struct EntryText {
  bool is_visible = false;
  std::uint32_t key = kEntryKeyMax;
  std::string body;  ///< whole lines, without `sort-key`
  bool operator==(const EntryText&) const = default;
};

/// `kEntryBytes` bytes. The body was checked by `check_entry_body`.
[[nodiscard]] std::string print_entry(const EntryText& text);
/// Nothing unless every byte is as `print_entry` makes it.
[[nodiscard]] std::optional<EntryText> parse_entry(std::string_view content);

/// The integrator's lines, as a body. `name` is for messages.
/// Errors: config (too long, no `linux` or `efi` line, a line that belongs to us, no or another slot on the kernel
/// command line, bytes that are no text).
[[nodiscard]] Result<std::string> check_entry_body(std::string_view text, SlotId slot, const std::string& name);

}  // namespace slotkeeper::boot
