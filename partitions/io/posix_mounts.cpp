#include "partitions/io/posix_mounts.hpp"

#include <algorithm>
#include <charconv>
#include <optional>
#include <sys/sysmacros.h>

namespace slotkeeper::io {
namespace {

constexpr std::size_t kMountTableBytes = std::size_t{16} << 20U;

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (std::size_t start = 0; start <= text.size();) {
    const std::size_t end = std::min(text.find(separator, start), text.size());
    parts.push_back(text.substr(start, end - start));
    start = end + 1;
  }
  return parts;
}

bool has_option(std::string_view options, std::string_view wanted) {
  const auto parts = split(options, ',');
  return std::find(parts.begin(), parts.end(), wanted) != parts.end();
}

std::optional<std::uint64_t> parse_number(std::string_view text) {
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos) return std::nullopt;
  unsigned int numbers[2] = {0, 0};
  const char* const end = text.data() + text.size();
  const auto first = std::from_chars(text.data(), text.data() + colon, numbers[0]);
  const auto second = std::from_chars(text.data() + colon + 1, end, numbers[1]);
  if (first.ec != std::errc() || second.ec != std::errc() || second.ptr != end) return std::nullopt;
  return makedev(numbers[0], numbers[1]);
}

/// 36 35 98:0 /root /mount options optional... - type source filesystem-options
std::optional<MountEntry> parse_line(std::string_view line) {
  const auto fields = split(line, ' ');
  constexpr std::size_t kDevice = 2;
  constexpr std::size_t kMountPoint = 4;
  constexpr std::size_t kOptions = 5;
  constexpr std::size_t kFirstOptional = 6;
  if (fields.size() <= kFirstOptional) return std::nullopt;
  const auto dash = std::find(fields.begin() + kFirstOptional, fields.end(), "-");
  if (fields.end() - dash < 4) return std::nullopt;
  const auto device = parse_number(fields[kDevice]);
  if (!device) return std::nullopt;
  MountEntry entry;
  entry.mount.mount_point = unescape_octal(fields[kMountPoint]);
  entry.mount.filesystem = unescape_octal(dash[1]);
  entry.mount.source = unescape_octal(dash[2]);
  entry.mount.device = *device;
  entry.mount.read_only = has_option(fields[kOptions], "ro") || has_option(dash[3], "ro");
  entry.filesystem_options = dash[3];
  return entry;
}

/// One character with a backslash before it stands for itself: overlayfs escapes ':' and ',' in the paths of layers.
std::vector<std::string> split_layers(std::string_view text) {
  std::vector<std::string> layers(1);
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == ':') {
      layers.emplace_back();
    } else {
      if (text[i] == '\\' && i + 1 < text.size()) ++i;
      layers.back() += text[i];
    }
  }
  // "lower::data" separates layers that carry data only; the empty piece between is none.
  std::erase(layers, "");
  return layers;
}

/// Options as the kernel lists them are separated by commas; one inside a path is escaped.
std::vector<std::string> split_options(std::string_view text) {
  std::vector<std::string> options(1);
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == ',') {
      options.emplace_back();
      continue;
    }
    options.back() += text[i];
    if (text[i] == '\\' && i + 1 < text.size()) options.back() += text[++i];
  }
  return options;
}

}  // namespace

bool MountEntry::is_read_only() const {
  return mount.read_only || has_option(filesystem_options, "emergency_ro") ||
         has_option(filesystem_options, "shutdown");
}

std::string unescape_octal(std::string_view text) {
  std::string plain;
  const auto is_octal = [](char c) { return c >= '0' && c <= '7'; };
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool escaped = text[i] == '\\' && i + 3 < text.size() && is_octal(text[i + 1]) && is_octal(text[i + 2]) &&
                         is_octal(text[i + 3]);
    if (!escaped) {
      plain += text[i];
      continue;
    }
    plain += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
    i += 3;
  }
  return plain;
}

Result<std::vector<MountEntry>> parse_mounts(std::string_view text) {
  std::vector<MountEntry> entries;
  for (const std::string_view line : split(text, '\n')) {
    if (line.empty()) continue;
    auto entry = parse_line(line);
    if (!entry) return make_error(Errc::io_error, "the mount table has an odd line: " + std::string(line));
    entries.push_back(std::move(*entry));
  }
  return entries;
}

Result<std::vector<MountEntry>> read_mount_entries(Storage& storage) {
  SK_TRY_ASSIGN(const std::string text, storage.read_text("/proc/self/mountinfo", kMountTableBytes));
  return parse_mounts(text);
}

OverlayLayers overlay_layers(std::string_view filesystem_options) {
  OverlayLayers layers;
  for (const std::string& escaped : split_options(filesystem_options)) {
    const std::string option = unescape_octal(escaped);
    const std::size_t equals = option.find('=');
    if (equals == std::string::npos) continue;
    const std::string key = option.substr(0, equals);
    const std::string value = option.substr(equals + 1);
    if (key == "lowerdir") layers.lower = split_layers(value);
    if (key == "lowerdir+") layers.lower.push_back(value);
    if (key == "upperdir") layers.upper = value;
  }
  return layers;
}

}  // namespace slotkeeper::io
