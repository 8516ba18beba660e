// Reversible escaping of raw bytes, so that file names of any encoding fit into JSON and onto a terminal.
#include <cstdint>

#include "engine/json/json.hpp"

namespace slotkeeper {
namespace {

constexpr std::string_view kHexDigits = "0123456789abcdef";

unsigned char byte_at(std::string_view text, std::size_t index) { return static_cast<unsigned char>(text[index]); }

// Length of the valid UTF-8 sequence at `at` (RFC 3629: no overlong forms, no surrogates, at most U+10FFFF), 0 if none.
std::size_t sequence_length(std::string_view text, std::size_t at) {
  const unsigned char lead = byte_at(text, at);
  if (lead < 0x80) return 1;
  std::size_t length = 0;
  unsigned char second_min = 0x80;
  unsigned char second_max = 0xBF;
  if (lead >= 0xC2 && lead <= 0xDF) {
    length = 2;
  } else if (lead >= 0xE0 && lead <= 0xEF) {
    length = 3;
    if (lead == 0xE0) second_min = 0xA0;
    if (lead == 0xED) second_max = 0x9F;
  } else if (lead >= 0xF0 && lead <= 0xF4) {
    length = 4;
    if (lead == 0xF0) second_min = 0x90;
    if (lead == 0xF4) second_max = 0x8F;
  }
  if (length == 0 || length > text.size() - at) return 0;
  if (byte_at(text, at + 1) < second_min || byte_at(text, at + 1) > second_max) return 0;
  for (std::size_t i = 2; i < length; ++i)
    if ((byte_at(text, at + i) & 0xC0) != 0x80) return 0;
  return length;
}

// C0, DEL and the C1 range, which some terminals obey even as U+0080..U+009F.
bool is_control(std::string_view sequence) {
  const unsigned char lead = byte_at(sequence, 0);
  if (sequence.size() == 1) return lead < 0x20 || lead == 0x7F;
  return lead == 0xC2 && byte_at(sequence, 1) < 0xA0;
}

void append_hex(unsigned char byte, std::string& out) {
  out += "\\x";
  out += kHexDigits[byte >> 4];
  out += kHexDigits[byte & 0x0F];
}

}  // namespace

std::string escape_bytes(std::string_view raw) {
  std::string out;
  out.reserve(raw.size());
  for (std::size_t at = 0; at < raw.size();) {
    const std::size_t length = sequence_length(raw, at);
    if (length == 0) {
      append_hex(byte_at(raw, at++), out);
      continue;
    }
    const std::string_view sequence = raw.substr(at, length);
    if (sequence == "\\") {
      out += "\\\\";
    } else if (is_control(sequence)) {
      for (std::size_t i = 0; i < length; ++i) append_hex(byte_at(sequence, i), out);
    } else {
      out += sequence;
    }
    at += length;
  }
  return out;
}

Result<std::string> unescape_bytes(std::string_view escaped) {
  std::string out;
  out.reserve(escaped.size());
  for (std::size_t at = 0; at < escaped.size();) {
    if (escaped[at] != '\\') {
      out += escaped[at++];
      continue;
    }
    if (escaped.substr(at, 2) == "\\\\") {
      out += '\\';
      at += 2;
      continue;
    }
    const std::string_view digits = escaped.substr(at + 1, 3);
    const std::size_t high = digits.size() == 3 ? kHexDigits.find(digits[1]) : std::string_view::npos;
    const std::size_t low = digits.size() == 3 ? kHexDigits.find(digits[2]) : std::string_view::npos;
    if (digits.substr(0, 1) != "x" || high == std::string_view::npos || low == std::string_view::npos)
      return make_error(Errc::corrupt, "a backslash at byte " + std::to_string(at) +
                                           " of an escaped name is followed by neither a backslash nor xNN");
    out += static_cast<char>(high << 4 | low);
    at += 4;
  }
  return out;
}

}  // namespace slotkeeper
