// The bytes of a member's header, from its name and size alone. libarchive's restricted pax writer makes the same ones;
// a test holds the two together.
#include <algorithm>

#include "engine/bundle/container.hpp"

namespace slotkeeper::bundle {
namespace {

constexpr std::uint64_t kUstarSizeEnd = 1ull << 33;     ///< 11 octal digits
constexpr std::uint64_t kUnmarkedSizeEnd = 1ull << 36;  ///< 12 octal digits, without a blank behind them

std::string octal(std::uint64_t value, std::size_t digits) {
  std::string text(digits, '0');
  for (std::size_t i = digits; i-- > 0; value >>= 3) text[i] = static_cast<char>('0' + (value & 7));
  return text;
}

/// The 12 bytes of the size field.
std::string size_field(std::uint64_t size_bytes) {
  if (size_bytes < kUstarSizeEnd) return octal(size_bytes, 11) + ' ';
  if (size_bytes < kUnmarkedSizeEnd) return octal(size_bytes, 12);
  std::string binary(12, '\0');  // big-endian, the first bit set to tell it from digits
  for (std::size_t i = binary.size(); i-- > 4; size_bytes >>= 8) binary[i] = static_cast<char>(size_bytes & 0xff);
  binary[0] = static_cast<char>(0x80);
  return binary;
}

std::string ustar_header(std::string_view name, std::uint64_t size_bytes, char type) {
  std::string header(kContainerBlockBytes, '\0');
  const auto put = [&header](std::size_t offset, std::string_view text) {
    std::copy(text.begin(), text.end(), header.begin() + static_cast<std::ptrdiff_t>(offset));
  };
  SK_INVARIANT(name.size() <= 100);
  put(0, name);
  put(100, "000444 ");  // mode
  put(108, "000000 ");  // owner
  put(116, "000000 ");  // group
  put(124, size_field(size_bytes));
  put(136, octal(0, 11) + ' ');  // time
  put(148, "        ");          // the checksum is taken over blanks
  header[156] = type;
  put(257, std::string_view("ustar\0"
                            "00",
                            8));
  put(329, "000000 ");  // device numbers
  put(337, "000000 ");
  std::uint64_t sum = 0;
  for (const char c : header) sum += static_cast<unsigned char>(c);
  put(148, octal(sum, 6) + '\0');
  return header;
}

/// "19 size=9000000000\n": the length in front counts itself.
std::string pax_record(std::string_view key, std::string_view value) {
  const std::size_t rest = 1 + key.size() + 1 + value.size() + 1;
  std::size_t length = rest + 1;
  while (std::to_string(length).size() + rest != length) ++length;
  return std::to_string(length) + ' ' + std::string(key) + '=' + std::string(value) + '\n';
}

}  // namespace

std::string member_header(std::string_view name, std::uint64_t size_bytes) {
  if (size_bytes < kUstarSizeEnd) return ustar_header(name, size_bytes, '0');
  const std::string record = pax_record("size", std::to_string(size_bytes));
  const std::size_t slash = name.rfind('/');
  const std::size_t base = slash == std::string_view::npos ? 0 : slash + 1;
  const std::string pax_name = std::string(name.substr(0, base)) + "PaxHeader/" + std::string(name.substr(base));
  std::string header = ustar_header(pax_name, record.size(), 'x') + record;
  header.resize(2 * kContainerBlockBytes, '\0');
  return header + ustar_header(name, size_bytes, '0');
}

}  // namespace slotkeeper::bundle
