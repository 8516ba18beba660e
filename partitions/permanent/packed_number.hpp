// Numbers as LEB128: seven bits in a byte, the lowest first; small ones are short.
#pragma once

#include <cstdint>
#include <string>

namespace slotkeeper::permanent {

inline void put_number(std::string& out, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>(value | 0x80));
  out.push_back(static_cast<char>(value));
}

/// What `put_number` put there; `from` moves behind it.
[[nodiscard]] inline std::uint64_t take_number(const char*& from) {
  std::uint64_t value = 0;
  for (unsigned int shift = 0;; shift += 7) {
    const auto byte = static_cast<unsigned char>(*from++);
    value |= std::uint64_t{byte & 0x7fU} << shift;
    if (byte < 0x80) return value;
  }
}

}  // namespace slotkeeper::permanent
