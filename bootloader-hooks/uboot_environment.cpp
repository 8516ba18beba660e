#include "bootloader-hooks/uboot_environment.hpp"

#include <algorithm>
#include <cstring>
#include <memory>

#ifdef SLOTKEEPER_WITH_UBOOT
#include <libuboot.h>
#endif

#include "bootloader-hooks/fw_env_config.hpp"
#include "partitions/digest.hpp"
#include "partitions/io/memory_file.hpp"

namespace slotkeeper::boot {
namespace {

constexpr std::size_t kCrcBytes = 4;
constexpr std::size_t kFlagsAt = 4;
constexpr std::size_t kDataAt = 5;
constexpr std::string_view kAttributes = ".flags=";

std::uint32_t stored_crc(io::ConstBytes copy) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < kCrcBytes; ++i) value |= static_cast<std::uint32_t>(copy[i]) << (8 * i);
  return value;
}

void store_crc(io::Bytes copy, std::uint32_t value) {
  for (std::size_t i = 0; i < kCrcBytes; ++i) copy[i] = static_cast<std::byte>(value >> (8 * i));
}

std::uint8_t flags_of(io::ConstBytes copy) { return static_cast<std::uint8_t>(copy[kFlagsAt]); }

/// The "name=value" strings of a valid copy.
[[maybe_unused]] std::vector<std::string> entries_of(io::ConstBytes copy) {
  std::vector<std::string> entries;
  std::string_view data = io::as_text(copy.subspan(kDataAt));
  while (!data.empty() && data.front() != '\0') {
    const std::size_t end = std::min(data.find('\0'), data.size());
    entries.emplace_back(data.substr(0, end));
    data.remove_prefix(std::min(end + 1, data.size()));
  }
  return entries;
}

Error too_full(std::size_t size_bytes) {
  return make_error(Errc::boot_environment,
                    "the boot environment of " + std::to_string(size_bytes) + " bytes has no room for our variables");
}

Result<EnvironmentCopy> copy_of(const std::vector<std::string>& entries, std::size_t size_bytes, std::uint8_t flags) {
  EnvironmentCopy copy(size_bytes);
  std::size_t position = kDataAt;
  for (const std::string& entry : entries) {
    if (entry.size() + 2 > size_bytes - position) return too_full(size_bytes);
    std::memcpy(copy.data() + position, entry.data(), entry.size());
    position += entry.size() + 1;
  }
  copy[kFlagsAt] = static_cast<std::byte>(flags);
  store_crc(copy, crc32(io::ConstBytes(copy).subspan(kDataAt)));
  return copy;
}

}  // namespace

bool is_valid_copy(io::ConstBytes copy) {
  if (copy.size() < kEnvironmentBytesMin) return false;
  const io::ConstBytes data = copy.subspan(kDataAt);
  if (stored_crc(copy) != crc32(data)) return false;
  const std::string_view text = io::as_text(data);
  return text.front() == '\0' || text.find(std::string_view("\0\0", 2)) != std::string_view::npos;
}

bool is_blank_copy(io::ConstBytes copy) {
  return std::ranges::all_of(copy, [](std::byte byte) { return byte == std::byte{0}; }) ||
         std::ranges::all_of(copy, [](std::byte byte) { return byte == std::byte{0xff}; });
}

std::optional<std::size_t> current_copy(const EnvironmentCopies& copies) {
  const bool first = is_valid_copy(copies[0]);
  const bool second = is_valid_copy(copies[1]);
  if (!first && !second) return std::nullopt;
  if (first != second) return first ? 0 : 1;
  const std::uint8_t one = flags_of(copies[0]);
  const std::uint8_t two = flags_of(copies[1]);
  if (one == 0xff && two == 0) return 1;
  if (two == 0xff && one == 0) return 0;
  return two > one ? 1 : 0;
}

EnvironmentCopy empty_copy(std::size_t size_bytes) {
  SK_INVARIANT(size_bytes >= kEnvironmentBytesMin);
  auto copy = copy_of({}, size_bytes, 0);
  return std::move(copy).assume_value();
}

EnvironmentCopy numbered_after(EnvironmentCopy copy) {
  copy[kFlagsAt] = static_cast<std::byte>(flags_of(copy) + 1U);
  return copy;
}

#ifdef SLOTKEEPER_WITH_UBOOT

namespace {

struct CloseContext {
  void operator()(uboot_ctx* context) const {
    libuboot_close(context);
    libuboot_exit(context);
  }
};

/// libubootenv with the environment of two copies loaded.
struct Loaded {
  std::unique_ptr<io::MemoryFile> file;
  std::unique_ptr<uboot_ctx, CloseContext> context;
};

Error no_valid_copy(const EnvironmentCopies& copies) {
  const bool blank = is_blank_copy(copies[0]) && is_blank_copy(copies[1]);
  return make_error(Errc::boot_environment, blank ? "the boot environment was never initialised: both copies are blank"
                                                  : "both copies of the boot environment are damaged");
}

bool is_attributes(const std::string& entry) { return entry.starts_with(kAttributes); }

/// What the library is shown: copies without attributes; a copy that is not valid for us is not valid for it either.
Result<std::vector<std::byte>> bytes_to_show(const EnvironmentCopies& copies) {
  std::vector<std::byte> shown;
  for (const EnvironmentCopy& copy : copies) {
    const bool is_valid = is_valid_copy(copy);
    std::vector<std::string> entries;
    if (is_valid) entries = entries_of(copy);
    std::erase_if(entries, is_attributes);
    SK_TRY_ASSIGN(auto plain, copy_of(entries, copy.size(), flags_of(copy)));
    if (!is_valid) store_crc(plain, ~stored_crc(plain));
    shown.insert(shown.end(), plain.begin(), plain.end());
  }
  return shown;
}

Result<Loaded> load(const EnvironmentCopies& copies) {
  if (!current_copy(copies)) return no_valid_copy(copies);
  Loaded loaded;
  SK_TRY_ASSIGN(const auto shown, bytes_to_show(copies));
  SK_TRY_ASSIGN(loaded.file, io::MemoryFile::create("boot environment", shown));
  const std::size_t size = copies[0].size();
  std::string path = loaded.file->path();
  std::array<uboot_env_device, 2> places{};
  for (std::size_t i = 0; i < places.size(); ++i) {
    places[i].devname = path.data();
    places[i].offset = static_cast<long long>(i) * static_cast<long long>(size);
    places[i].envsize = size;
  }
  uboot_ctx* context = nullptr;
  if (libuboot_initialize(&context, places.data()) != 0) {
    return make_error(Errc::io_error, "libubootenv could not open the boot environment in memory");
  }
  loaded.context.reset(context);
  if (libuboot_open(context) != 0) {
    return make_error(Errc::internal, "libubootenv refuses a copy of the boot environment that is valid");
  }
  return loaded;
}

Variables variables_of(uboot_ctx* context) {
  Variables variables;
  for (void* entry = libuboot_iterator(context, nullptr); entry != nullptr; entry = libuboot_iterator(context, entry)) {
    variables[libuboot_getname(entry)] = libuboot_getvalue(entry);
  }
  return variables;
}

std::string name_of(const std::string& entry) { return entry.substr(0, entry.find('=')); }

/// The entries with the changes made, everything else in its place, byte for byte. A variable that is there more than
/// once, of which only the last one counts, is there once afterwards.
std::vector<std::string> changed_entries(std::vector<std::string> entries, const VariableChanges& changes) {
  for (const auto& [name, value] : changes) {
    const auto first = std::ranges::find(entries, name, name_of);
    const auto place = first - entries.begin();
    entries.erase(
        std::remove_if(first, entries.end(), [&wanted = name](const auto& entry) { return name_of(entry) == wanted; }),
        entries.end());
    if (value) entries.insert(entries.begin() + place, name + "=" + *value);
  }
  return entries;
}

}  // namespace

Result<Variables> read_variables(const EnvironmentCopies& copies) {
  SK_TRY_ASSIGN(const Loaded loaded, load(copies));
  return variables_of(loaded.context.get());
}

Result<EnvironmentCopy> compose_next(const EnvironmentCopies& copies, const VariableChanges& changes) {
  SK_TRY_ASSIGN(Variables wanted, read_variables(copies));
  for (const auto& [name, value] : changes) {
    if (value) {
      wanted[name] = *value;
    } else {
      wanted.erase(name);
    }
  }
  const std::size_t current = *current_copy(copies);
  const std::size_t next = 1 - current;
  SK_TRY_ASSIGN(auto copy, copy_of(changed_entries(entries_of(copies[current]), changes), copies[current].size(),
                                   static_cast<std::uint8_t>(flags_of(copies[current]) + 1U)));
  // The library has the last word on what the copy says.
  EnvironmentCopies after = copies;
  after[next] = copy;
  SK_TRY_ASSIGN(const Variables read_again, read_variables(after));
  if (current_copy(after) != next || read_again != wanted) {
    return make_error(Errc::internal, "libubootenv reads the new boot environment differently");
  }
  return copy;
}

#else

namespace {
Error without_uboot() {
  return make_error(Errc::config, "this program was built without support for the U-Boot environment");
}
}  // namespace

Result<Variables> read_variables(const EnvironmentCopies&) { return without_uboot(); }
Result<EnvironmentCopy> compose_next(const EnvironmentCopies&, const VariableChanges&) { return without_uboot(); }

#endif

}  // namespace slotkeeper::boot
