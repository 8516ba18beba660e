// Both copies of a U-Boot environment with any content, through libubootenv.
//
// The first byte of an input says whether the checksum of the first copy (bit 0) and of the second (bit 1) is put
// right, so that what lies behind it is reached; the rest are both copies, half and half. What can be read can be
// changed, and keeps all other variables.
#include <cstdint>
#include <cstdlib>

#include "bootloader-hooks/fw_env_config.hpp"
#include "bootloader-hooks/uboot_environment.hpp"
#include "partitions/digest.hpp"

namespace {

using namespace slotkeeper;
using namespace slotkeeper::boot;

constexpr std::size_t kCopyBytesMax = 4096;

void require(bool condition) {
  if (!condition) std::abort();
}

void mend(EnvironmentCopy& copy) {
  const std::uint32_t crc = crc32(io::ConstBytes(copy).subspan(5));
  for (std::size_t i = 0; i < 4; ++i) copy[i] = static_cast<std::byte>(crc >> (8 * i));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1) return 0;
  const auto bytes = std::as_bytes(std::span(data + 1, size - 1));
  const std::size_t half = bytes.size() / 2;
  if (half < kEnvironmentBytesMin || half > kCopyBytesMax) return 0;
  EnvironmentCopies copies{EnvironmentCopy(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(half)),
                           EnvironmentCopy(bytes.begin() + static_cast<std::ptrdiff_t>(half),
                                           bytes.begin() + static_cast<std::ptrdiff_t>(2 * half))};
  if ((data[0] & 1U) != 0) mend(copies[0]);
  if ((data[0] & 2U) != 0) mend(copies[1]);

  const auto current = current_copy(copies);
  const auto variables = read_variables(copies);
  require(variables.has_value() == current.has_value());
  if (!current) {
    require(variables.error().code == Errc::boot_environment);
    return 0;
  }
  const BootState state = boot_state_of(variables.value());
  const BootState wanted = armed(state, SlotId::b, 3, "0123456789abcdef");
  const VariableChanges changes = changes_to(variables.value(), wanted, 3);
  const auto next = compose_next(copies, changes);
  if (!next.has_value()) {
    require(next.error().code == Errc::boot_environment);  // no room
    return 0;
  }
  EnvironmentCopies after = copies;
  after[1 - *current] = next.value();
  require(current_copy(after) == 1 - *current);
  const auto read_again = read_variables(after);
  require(read_again.has_value());
  require(boot_state_of(read_again.value()) == wanted);
  require(changes_to(read_again.value(), wanted, 3).empty());
  for (const auto& [name, value] : variables.value()) {
    if (!changes.contains(name)) require(read_again.value().at(name) == value);
  }
  return 0;
}
