#include "tests/support/played_bootloader.hpp"

#include <algorithm>
#include <cstdlib>
#include <sstream>

#include "partitions/digest.hpp"

namespace slotkeeper::test {
namespace {

constexpr std::size_t kCrcBytes = 4;
constexpr std::size_t kSectorBytes = 512;

std::uint32_t stored_crc(const std::string& copy) {
  std::uint32_t crc = 0;
  for (std::size_t i = kCrcBytes; i-- > 0;) crc = crc << 8U | static_cast<unsigned char>(copy[i]);
  return crc;
}
/// `header`: bytes before the variables; 5 with a flag, 4 without.
bool has_right_crc(const std::string& copy, std::size_t header) {
  return copy.size() > header && stored_crc(copy) == crc32(std::as_bytes(std::span(copy).subspan(header)));
}

BootVariables parse(const std::string& copy, std::size_t header) {
  BootVariables variables;
  for (std::size_t at = header; at < copy.size() && copy[at] != '\0';) {
    const std::string line = copy.substr(at, copy.find('\0', at) - at);
    variables[line.substr(0, line.find('='))] = line.substr(line.find('=') + 1);
    at += line.size() + 1;
  }
  return variables;
}

std::optional<char> confirmed_slot(const std::string& sectors) {
  for (const std::size_t header : {kCrcBytes, kCrcBytes + 1}) {
    const std::size_t at = header == kCrcBytes ? 0 : kSectorBytes;
    if (sectors.size() < at + kSectorBytes) continue;
    const std::string sector = sectors.substr(at, kSectorBytes);
    if (!has_right_crc(sector, header)) continue;
    const BootVariables variables = parse(sector, header);
    const auto found = variables.find("slotkeeper_confirmed");
    if (found != variables.end() && (found->second == "A" || found->second == "B")) return found->second[0];
  }
  return std::nullopt;
}

}  // namespace

std::string encode_environment(const BootVariables& variables, unsigned char flag, std::size_t size_bytes) {
  std::string copy(kCrcBytes + 1, '\0');
  for (const auto& [name, value] : variables) copy += name + "=" + value + '\0';
  copy.resize(size_bytes, '\0');
  copy[kCrcBytes] = static_cast<char>(flag);
  const std::uint32_t crc = crc32(std::as_bytes(std::span(copy).subspan(kCrcBytes + 1)));
  for (std::size_t i = 0; i < kCrcBytes; ++i) copy[i] = static_cast<char>(crc >> (8 * i));
  return copy;
}

bool EnvironmentBytes::is_valid(unsigned int copy) const { return has_right_crc(copies[copy], kCrcBytes + 1); }

std::optional<unsigned int> EnvironmentBytes::newest() const {
  if (!is_valid(0) || !is_valid(1)) {
    if (is_valid(0)) return 0;
    return is_valid(1) ? std::optional(1U) : std::nullopt;
  }
  // The higher flag, and 0 follows 255; the first where they are equal.
  const auto first = static_cast<unsigned char>(copies[0][kCrcBytes]);
  const auto second = static_cast<unsigned char>(copies[1][kCrcBytes]);
  const bool second_is_newer = (second > first && !(second == 255 && first == 0)) || (second == 0 && first == 255);
  return second_is_newer ? 1U : 0U;
}

BootVariables EnvironmentBytes::variables() const {
  const auto copy = newest();
  return copy ? parse(copies[*copy], kCrcBytes + 1) : BootVariables{};
}

BootDecision decide_boot(const EnvironmentBytes& environment, const std::string& confirmed_sectors, BootloaderKind kind,
                         int full_count) {
  BootVariables variables = environment.variables();
  const auto confirmed = confirmed_slot(confirmed_sectors);
  const auto tries_of = [&](char slot) {
    const auto found = variables.find(std::string("BOOT_") + slot + "_LEFT");
    return found == variables.end() ? 0 : std::atoi(found->second.c_str());
  };
  BootDecision decision;
  std::optional<char> taken;
  std::istringstream order(variables["BOOT_ORDER"]);
  for (std::string name; !taken && order >> name;) {
    if ((name == "A" || name == "B") && tries_of(name[0]) > 0) taken = name[0];
  }
  if (!taken) {
    decision.by_order = false;
    decision.slot = confirmed.value_or('A');
    return decision;
  }
  decision.slot = *taken;
  if (kind == BootloaderKind::never_counts) return decision;
  if (kind == BootloaderKind::ours && taken == confirmed) return decision;
  std::string& left = variables[std::string("BOOT_") + *taken + "_LEFT"];
  const std::string before = left;
  left = std::to_string(kind == BootloaderKind::ours ? std::min(tries_of(*taken) - 1, 8) : full_count);
  if (left == before) return decision;
  // U-Boot writes the copy that is not in use, with a flag that makes it the newest.
  const unsigned int current = *environment.newest();
  decision.written_copy = 1 - current;
  decision.written_bytes = encode_environment(
      variables, static_cast<unsigned char>(environment.copies[current][kCrcBytes] + 1), environment.copies[0].size());
  return decision;
}

}  // namespace slotkeeper::test
