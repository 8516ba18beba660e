// Whatever parses prints as something that parses to the same value; escaping is always undone.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "engine/json/json.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace slotkeeper;
  constexpr std::size_t kLimit = 1 << 20;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto parsed = Json::parse(text, kLimit); parsed.has_value()) {
    const auto again = Json::parse(parsed.assume_value().print(), kLimit * 8);
    if (again.has_error() || again.assume_value() != parsed.assume_value()) std::abort();
  } else if (parsed.assume_error().code != Errc::corrupt) {
    std::abort();
  }
  const std::string escaped = escape_bytes(text);
  const auto raw = unescape_bytes(escaped);
  if (raw.has_error() || raw.assume_value() != text) std::abort();
  // Escaped text is valid UTF-8 without control characters: printed and parsed it is still the same.
  const auto value = Json::parse(Json(escaped).print(), kLimit * 8);
  if (value.has_error() || value.assume_value() != Json(escaped)) std::abort();
  static_cast<void>(unescape_bytes(text));
  return 0;
}
