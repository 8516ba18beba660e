// Load options and lists of boot numbers with any content.
#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "bootloader-hooks/efi_variables.hpp"

using namespace slotkeeper;
using namespace slotkeeper::boot;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const io::ConstBytes bytes(reinterpret_cast<const std::byte*>(data), size);
  const auto option = parse_load_option(bytes);
  if (option && option->description.size() > size / 2) std::abort();
  const auto numbers = parse_boot_numbers(bytes);
  if (numbers.has_value() != (size % 2 == 0)) std::abort();
  if (numbers) {
    const auto printed = print_boot_numbers(*numbers);
    if (!std::equal(printed.begin(), printed.end(), bytes.begin(), bytes.end())) std::abort();
  }
  const auto number = load_option_number(std::string(reinterpret_cast<const char*>(data), size));
  if (number && load_option_name(*number).size() != 8) std::abort();
  return 0;
}
