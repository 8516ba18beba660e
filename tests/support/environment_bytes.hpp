// Copies of a U-Boot environment made byte by byte, without the code under test.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bootloader-hooks/uboot_environment.hpp"
#include "partitions/digest.hpp"

namespace slotkeeper::test {

/// A copy with its CRC from the strings "name=value".
inline boot::EnvironmentCopy environment_copy(const std::vector<std::string>& entries, std::uint8_t flags,
                                              std::size_t size_bytes, std::byte padding = std::byte{0}) {
  boot::EnvironmentCopy copy(size_bytes, padding);
  std::size_t at = 5;
  for (const std::string& entry : entries) {
    for (const char c : entry) copy.at(at++) = static_cast<std::byte>(c);
    copy.at(at++) = std::byte{0};
  }
  copy.at(at) = std::byte{0};
  copy[4] = static_cast<std::byte>(flags);
  const std::uint32_t crc = crc32(io::ConstBytes(copy).subspan(5));
  for (std::size_t i = 0; i < 4; ++i) copy[i] = static_cast<std::byte>(crc >> (8 * i));
  return copy;
}

}  // namespace slotkeeper::test
