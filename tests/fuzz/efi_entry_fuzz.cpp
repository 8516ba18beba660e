// Boot loader entries with any name and content: the first line is the name, the rest the content, which is also tried
// as the integrator's lines.
#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "bootloader-hooks/efi_entry_layout.hpp"

using namespace slotkeeper;
using namespace slotkeeper::boot;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t line = std::min(input.find('\n'), input.size());
  const std::string_view content = input.substr(std::min(line + 1, input.size()));
  const auto name = parse_entry_name(input.substr(0, line));
  if (name) {
    const auto again = parse_entry_name(print_entry_name(*name));
    if (!again || again->slot != name->slot) std::abort();
  }

  const auto text = parse_entry(content);
  if (text && print_entry(*text) != content) std::abort();

  const auto body = check_entry_body(content, SlotId::a, "a.conf");
  if (!body.has_value()) {
    if (body.error().code != Errc::config) std::abort();
    return 0;
  }
  // What is accepted once is an entry that reads back.
  const EntryText made{.is_visible = true, .key = kEntryKeyMin, .body = body.value()};
  if (parse_entry(print_entry(made)) != made) std::abort();
  return 0;
}
