#include "bootloader-hooks/fw_env_config.hpp"

#include <charconv>
#include <limits>
#include <optional>
#include <vector>

namespace slotkeeper::boot {
namespace {

constexpr std::string_view kBlanks = " \t\r\v\f";
constexpr std::size_t kFieldsMin = 3;
constexpr std::size_t kFieldsMax = 5;

std::vector<std::string_view> fields_of(std::string_view line) {
  std::vector<std::string_view> fields;
  while (true) {
    const std::size_t begin = line.find_first_not_of(kBlanks);
    if (begin == std::string_view::npos) return fields;
    line.remove_prefix(begin);
    const std::size_t end = std::min(line.find_first_of(kBlanks), line.size());
    fields.push_back(line.substr(0, end));
    line.remove_prefix(end);
  }
}

std::optional<std::uint64_t> number_of(std::string_view digits, int base) {
  std::uint64_t value = 0;
  const char* end = digits.data() + digits.size();
  const auto parsed = std::from_chars(digits.data(), end, value, base);
  if (digits.empty() || parsed.ec != std::errc() || parsed.ptr != end) return std::nullopt;
  return value;
}

bool has_hex_prefix(std::string_view text) { return text.starts_with("0x") || text.starts_with("0X"); }

/// %lli of scanf without a sign.
std::optional<std::uint64_t> offset_of(std::string_view text) {
  if (has_hex_prefix(text)) return number_of(text.substr(2), 16);
  if (text.size() > 1 && text.front() == '0') return number_of(text.substr(1), 8);
  return number_of(text, 10);
}

/// %zx of scanf.
std::optional<std::uint64_t> size_of(std::string_view text) {
  return number_of(has_hex_prefix(text) ? text.substr(2) : text, 16);
}

Error refused(const std::string& where, std::string why) {
  return make_error(Errc::config, where + ": " + std::move(why));
}

Result<EnvironmentPlace> place_of(const std::vector<std::string_view>& fields, const std::string& where) {
  if (fields.size() < kFieldsMin || fields.size() > kFieldsMax) {
    return refused(where, "a copy of the environment is described by 'device offset size [sector-size [sectors]]'");
  }
  EnvironmentPlace place{.device_path = std::string(fields[0]), .offset = 0, .size_bytes = 0};
  if (!place.device_path.starts_with('/')) {
    return refused(where, "the device '" + place.device_path + "' is not named by an absolute path");
  }
  if (fields[1].starts_with('-')) {
    return refused(where, "offset " + std::string(fields[1]) +
                              " counts from the end of the device, which is not supported; write it from the start");
  }
  const auto offset = offset_of(fields[1]);
  if (!offset || *offset > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()) / 2) {
    return refused(where, "'" + std::string(fields[1]) + "' is not an offset in bytes");
  }
  place.offset = *offset;
  const auto size = size_of(fields[2]);
  if (!size || *size < kEnvironmentBytesMin || *size > kEnvironmentBytesMax) {
    return refused(where, "'" + std::string(fields[2]) + "' is not a size of an environment (hexadecimal, " +
                              std::to_string(kEnvironmentBytesMin) + " to " + std::to_string(kEnvironmentBytesMax) +
                              " bytes)");
  }
  place.size_bytes = static_cast<std::size_t>(*size);
  for (std::size_t i = kFieldsMin; i < fields.size(); ++i) {
    if (!size_of(fields[i])) return refused(where, "'" + std::string(fields[i]) + "' is not a hexadecimal number");
  }
  return place;
}

}  // namespace

Result<EnvironmentPlaces> parse_fw_env_config(std::string_view text, const std::string& name) {
  std::vector<EnvironmentPlace> places;
  std::size_t number = 0;
  std::string where = name;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    ++number;
    const auto fields = fields_of(line);
    if (fields.empty() || fields.front().starts_with('#')) continue;
    where = name + ", line " + std::to_string(number);
    if (line.find('\0') != std::string_view::npos) return refused(where, "holds a zero byte");
    SK_TRY_ASSIGN(auto place, place_of(fields, where));
    if (places.size() == 2) {
      return refused(where, "names a third copy of the environment, but the bootloader alternates between two");
    }
    places.push_back(std::move(place));
  }
  if (places.size() != 2) {
    return refused(name, "names " + std::to_string(places.size()) +
                             " copies of the environment; two are needed so that a power cut while one is written "
                             "leaves the other");
  }
  const EnvironmentPlace& first = places[0];
  const EnvironmentPlace& second = places[1];
  if (first.size_bytes != second.size_bytes) {
    return refused(where, "the copies are " + std::to_string(first.size_bytes) + " and " +
                              std::to_string(second.size_bytes) + " bytes long; they must be of the same size");
  }
  if (first.device_path == second.device_path && first.offset < second.offset + second.size_bytes &&
      second.offset < first.offset + first.size_bytes) {
    return refused(where, "the copies overlap on " + first.device_path);
  }
  return EnvironmentPlaces{places[0], places[1]};
}

}  // namespace slotkeeper::boot
