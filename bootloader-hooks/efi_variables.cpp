#include "bootloader-hooks/efi_variables.hpp"

#include <algorithm>
#include <cerrno>

namespace slotkeeper::boot {
namespace {

constexpr std::string_view kGlobal = "-8be4df61-93ca-11d2-aa0d-00e098032b8c";
constexpr std::string_view kLoader = "-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
constexpr std::size_t kAttributesBytes = 4;
constexpr std::size_t kVariableBytesMax = 64u << 10;
constexpr std::uint32_t kFileMode = 0644;
constexpr std::uint32_t kActive = 1;
constexpr std::size_t kDescriptionAt = 6;
constexpr std::size_t kNumberDigits = 4;

std::uint32_t number_at(io::ConstBytes data, std::size_t at, std::size_t bytes) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < bytes; ++i) value |= static_cast<std::uint32_t>(data[at + i]) << (8 * i);
  return value;
}

std::vector<std::byte> file_of(const EfiVariable& variable) {
  std::vector<std::byte> bytes(kAttributesBytes);
  for (std::size_t i = 0; i < kAttributesBytes; ++i) bytes[i] = static_cast<std::byte>(variable.attributes >> (8 * i));
  bytes.insert(bytes.end(), variable.data.begin(), variable.data.end());
  return bytes;
}

std::optional<std::uint32_t> hex_digit(char c) {
  if (c >= '0' && c <= '9') return static_cast<std::uint32_t>(c - '0');
  if (c >= 'A' && c <= 'F') return static_cast<std::uint32_t>(c - 'A' + 10);
  if (c >= 'a' && c <= 'f') return static_cast<std::uint32_t>(c - 'a' + 10);
  return std::nullopt;
}

}  // namespace

std::string efi_global_name(const std::string& name) { return name + std::string(kGlobal); }
std::string efi_loader_name(const std::string& name) { return name + std::string(kLoader); }

Result<std::unique_ptr<io::Directory>> EfiVariables::open() const {
  return with_context(storage_.open_directory(path_),
                      "EFI variables (is efivarfs mounted, was the machine started by "
                      "UEFI?)");
}

Result<std::vector<std::string>> EfiVariables::names() const {
  SK_TRY_ASSIGN(const auto directory, open());
  std::vector<std::string> names;
  SK_TRY(directory->visit_entries([&](const io::DirectoryEntry& entry) -> Result<void> {
    names.push_back(entry.name);
    return success();
  }));
  SK_TRY(directory->close());
  std::ranges::sort(names);
  return names;
}

Result<std::optional<EfiVariable>> EfiVariables::read(const std::string& full_name) const {
  SK_TRY_ASSIGN(const auto directory, open());
  auto opened = directory->open_file(full_name, io::OpenMode::read_only());
  if (!opened.has_value()) {
    if (opened.assume_error().os_errno != ENOENT) return std::move(opened).as_failure();
    SK_TRY(directory->close());
    return std::optional<EfiVariable>();
  }
  const auto file = std::move(opened).assume_value();
  std::vector<std::byte> bytes(kAttributesBytes + kVariableBytesMax + 1);
  SK_TRY_ASSIGN(const std::size_t count, file->read_at(0, bytes));
  SK_TRY(file->close());
  SK_TRY(directory->close());
  if (count == bytes.size()) {
    return make_error(Errc::io_error, path_ + "/" + full_name + ": is longer than an EFI variable can be");
  }
  // A file whose first write failed holds nothing; there is no variable behind it.
  if (count < kAttributesBytes) return std::optional<EfiVariable>();
  bytes.resize(count);
  EfiVariable variable{.attributes = number_at(bytes, 0, kAttributesBytes), .data = {}};
  variable.data.assign(bytes.begin() + kAttributesBytes, bytes.end());
  return std::optional(std::move(variable));
}

Result<void> EfiVariables::write(const std::string& full_name, const EfiVariable& variable) const {
  SK_TRY_ASSIGN(const auto directory, open());
  auto protection = directory->clear_write_protection_of(full_name);
  const bool is_new = !protection.has_value() && protection.assume_error().os_errno == ENOENT;
  if (!protection.has_value() && !is_new) return std::move(protection).as_failure();
  SK_TRY_ASSIGN(const auto file, directory->open_file(full_name, is_new ? io::OpenMode::create_new(kFileMode)
                                                                        : io::OpenMode::read_write()));
  SK_TRY(file->write_at(0, file_of(variable)));
  SK_TRY(file->close());
  SK_TRY(directory->close());
  SK_TRY_ASSIGN(const auto after, read(full_name));
  if (after == variable) return success();
  return make_error(Errc::readback_mismatch, "the EFI variable " + full_name + " does not read back as it was written");
}

Result<void> EfiVariables::remove(const std::string& full_name) const {
  SK_TRY_ASSIGN(const auto directory, open());
  auto protection = directory->clear_write_protection_of(full_name);
  if (!protection.has_value()) {
    if (protection.assume_error().os_errno != ENOENT) return std::move(protection).as_failure();
    return directory->close();
  }
  SK_TRY(directory->remove_file(full_name));
  SK_TRY(directory->close());
  SK_TRY_ASSIGN(const auto after, read(full_name));
  if (!after) return success();
  return make_error(Errc::readback_mismatch, "the EFI variable " + full_name + " is still there after its removal");
}

std::string text_of_utf16(io::ConstBytes data) {
  std::string text;
  for (std::size_t at = 0; at + 2 <= data.size(); at += 2) {
    const std::uint32_t unit = number_at(data, at, 2);
    if (unit == 0) break;
    text += unit >= ' ' && unit <= '~' ? static_cast<char>(unit) : '?';
  }
  return text;
}

std::optional<LoadOption> parse_load_option(io::ConstBytes data) {
  if (data.size() < kDescriptionAt + 2) return std::nullopt;
  return LoadOption{.is_active = (number_at(data, 0, 4) & kActive) != 0,
                    .description = text_of_utf16(data.subspan(kDescriptionAt))};
}

std::optional<std::uint16_t> load_option_number(const std::string& full_name) {
  constexpr std::string_view kBoot = "Boot";
  if (full_name.size() != kBoot.size() + kNumberDigits + kGlobal.size()) return std::nullopt;
  if (!full_name.starts_with(kBoot) || !full_name.ends_with(kGlobal)) return std::nullopt;
  std::uint32_t number = 0;
  for (std::size_t i = 0; i < kNumberDigits; ++i) {
    const auto digit = hex_digit(full_name[kBoot.size() + i]);
    if (!digit) return std::nullopt;
    number = number * 16 + *digit;
  }
  return static_cast<std::uint16_t>(number);
}

std::string load_option_name(std::uint16_t number) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::string name = "Boot";
  for (const unsigned int shift : {12U, 8U, 4U, 0U}) name += kDigits[(number >> shift) & 0xfU];
  return name;
}

std::optional<std::vector<std::uint16_t>> parse_boot_numbers(io::ConstBytes data) {
  if (data.size() % 2 != 0) return std::nullopt;
  std::vector<std::uint16_t> numbers;
  for (std::size_t at = 0; at < data.size(); at += 2) {
    numbers.push_back(static_cast<std::uint16_t>(number_at(data, at, 2)));
  }
  return numbers;
}

std::vector<std::byte> print_boot_numbers(const std::vector<std::uint16_t>& numbers) {
  std::vector<std::byte> data;
  for (const std::uint16_t number : numbers) {
    data.push_back(static_cast<std::byte>(number & 0xffU));
    data.push_back(static_cast<std::byte>(number >> 8U));
  }
  return data;
}

}  // namespace slotkeeper::boot
