#include "bootloader-hooks/efi_entry.hpp"

#include <algorithm>
#include <charconv>
#include <vector>

#include "partitions/digest.hpp"

namespace slotkeeper::boot {
namespace {

constexpr std::string_view kPrefix = "slotkeeper-";
constexpr std::string_view kTrial = "-trial";
constexpr std::string_view kSuffix = ".conf";
constexpr std::size_t kCounterDigitsMax = 9;  // what systemd-boot takes for a number in any case

constexpr std::string_view kCrcLine = "# crc32 ";
constexpr std::size_t kCrcDigits = 8;
constexpr std::string_view kKeyLine = "sort-key slotkeeper-";
constexpr std::string_view kShown = "#architecture none\n";
constexpr std::string_view kHidden = " architecture none\n";
static_assert(kShown.size() == kHidden.size());
static_assert(kCrcLine.size() + kCrcDigits + 1 + kKeyLine.size() + 2 + 1 + kShown.size() + kEntryBodyBytesMax ==
              kEntryBytes);

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool take(std::string_view& text, std::string_view expected) {
  if (!text.starts_with(expected)) return false;
  text.remove_prefix(expected.size());
  return true;
}

std::optional<std::uint32_t> take_number(std::string_view& text) {
  const std::size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
  if (digits == 0 || digits > kCounterDigitsMax) return std::nullopt;
  std::uint32_t value = 0;
  std::from_chars(text.data(), text.data() + digits, value);
  text.remove_prefix(digits);
  return value;
}

std::string hex_of(std::uint32_t value) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text(kCrcDigits, '0');
  for (std::size_t i = kCrcDigits; i-- > 0; value >>= 4U) text[i] = kDigits[value & 0xfU];
  return text;
}

/// Everything behind the line with the checksum.
std::string print_rest(const EntryText& text) {
  SK_INVARIANT(text.body.size() <= kEntryBodyBytesMax && text.key >= kEntryKeyMin && text.key <= kEntryKeyMax);
  std::string rest(kKeyLine);
  rest += static_cast<char>('0' + text.key / 10);
  rest += static_cast<char>('0' + text.key % 10);
  rest += '\n';
  rest += text.is_visible ? kShown : kHidden;
  rest += text.body;
  rest.resize(kEntryBytes - kCrcLine.size() - kCrcDigits - 1, '\n');
  return rest;
}

/// A line without what the loader strips; its first word.
std::string_view first_word(std::string_view line) {
  const std::size_t begin = std::min(line.find_first_not_of(" \t"), line.size());
  line.remove_prefix(begin);
  return line.substr(0, line.find_first_of(" \t"));
}

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    lines.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

/// The slots that `slotkeeper.slot=` names on this line.
std::vector<std::string_view> slots_named(std::string_view line) {
  constexpr std::string_view kArgument = "slotkeeper.slot=";
  std::vector<std::string_view> slots;
  for (std::size_t at = line.find(kArgument); at != std::string_view::npos; at = line.find(kArgument)) {
    line.remove_prefix(at + kArgument.size());
    slots.push_back(line.substr(0, line.find_first_of(" \t")));
  }
  return slots;
}

Error wrong(const std::string& name, const std::string& why) { return make_error(Errc::config, name + ": " + why); }

}  // namespace

std::optional<EntryName> parse_entry_name(std::string_view file_name) {
  std::string lowered(file_name);
  std::ranges::transform(lowered, lowered.begin(), lower);
  std::string_view text = lowered;
  EntryName name;
  if (!take(text, kPrefix) || text.empty() || (text.front() != 'a' && text.front() != 'b')) return std::nullopt;
  name.slot = text.front() == 'a' ? SlotId::a : SlotId::b;
  text.remove_prefix(1);
  if (text == kSuffix) return name;
  if (!take(text, kTrial)) return std::nullopt;
  name.kind = EntryKind::trial;
  if (take(text, "+")) {
    name.counter.left = take_number(text);
    if (!name.counter.left) return std::nullopt;
    if (take(text, "-")) {
      const auto done = take_number(text);
      if (!done) return std::nullopt;
      name.counter.done = *done;
    }
  }
  if (text != kSuffix) return std::nullopt;
  return name;
}

std::string print_entry_name(const EntryName& name) {
  std::string text(kPrefix);
  text += name.slot == SlotId::a ? 'a' : 'b';
  if (name.kind == EntryKind::trial) {
    text += kTrial;
    if (name.counter.left) text += "+" + std::to_string(*name.counter.left);
    if (name.counter.left && name.counter.done != 0) text += "-" + std::to_string(name.counter.done);
  }
  return text += kSuffix;
}

std::string print_entry(const EntryText& text) {
  const std::string rest = print_rest(text);
  std::string content(kCrcLine);
  content += hex_of(crc32(io::as_bytes(rest)));
  content += '\n';
  content += rest;
  return content;
}

std::optional<EntryText> parse_entry(std::string_view content) {
  const std::string_view whole = content;
  if (content.size() != kEntryBytes || !take(content, kCrcLine)) return std::nullopt;
  content.remove_prefix(kCrcDigits + 1);
  EntryText text;
  if (!take(content, kKeyLine)) return std::nullopt;
  const auto digit = [&](std::size_t at) -> std::uint32_t {
    const char c = content[at];
    return c >= '0' && c <= '9' ? static_cast<std::uint32_t>(c - '0') : 100;
  };
  text.key = digit(0) * 10 + digit(1);
  if (text.key < kEntryKeyMin || text.key > kEntryKeyMax) return std::nullopt;
  content.remove_prefix(2);
  if (!take(content, "\n")) return std::nullopt;
  text.is_visible = content.starts_with(kShown);
  content.remove_prefix(kShown.size());
  const std::size_t last = content.find_last_not_of('\n');
  if (last != std::string_view::npos) text.body = std::string(content.substr(0, last + 1)) + "\n";
  if (text.body.size() > kEntryBodyBytesMax) return std::nullopt;
  // The checksum, and that it is our spelling to the last byte.
  if (print_entry(text) != whole) return std::nullopt;
  return text;
}

Result<std::string> check_entry_body(std::string_view text, SlotId slot, const std::string& name) {
  const auto is_text = [](char c) { return c == '\n' || c == '\t' || static_cast<unsigned char>(c) >= ' '; };
  if (!std::ranges::all_of(text, is_text)) return wrong(name, "holds bytes that are no text (or carriage returns)");
  std::string body;
  bool starts_something = false;
  bool starts_linux = false;
  bool names_slot = false;
  for (const std::string_view line : lines_of(text)) {
    const std::string_view key = first_word(line);
    if (key.empty()) continue;
    if (key == "sort-key") return wrong(name, "the line 'sort-key' is Slotkeeper's own; take it out");
    starts_linux = starts_linux || key == "linux";
    starts_something = starts_something || key == "linux" || key == "efi";
    for (const std::string_view named : slots_named(key == "options" ? line : std::string_view())) {
      if (slot_from_name(named) != slot) {
        return wrong(
            name, "slotkeeper.slot=" + std::string(named) + " names another slot than " + std::string(name_of(slot)));
      }
      names_slot = true;
    }
    body += std::string(line) + "\n";
  }
  if (!starts_something) return wrong(name, "has neither a line 'linux' nor a line 'efi'");
  if (starts_linux && !names_slot) {
    return wrong(name, "the line 'options' must pass slotkeeper.slot=" + std::string(name_of(slot)));
  }
  if (body.size() > kEntryBodyBytesMax) {
    return wrong(name, "is " + std::to_string(body.size()) + " bytes long; at most " +
                           std::to_string(kEntryBodyBytesMax) + " fit beside Slotkeeper's lines into one sector");
  }
  return body;
}

}  // namespace slotkeeper::boot
