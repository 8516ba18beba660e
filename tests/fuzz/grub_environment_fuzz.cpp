// An environment block of GRUB with any content.
//
// Inputs are the block, cut or padded with '#' to its 1024 bytes. A block that can be changed at all is changed in
// steps of one sector; where it was whole, each step but the last says the old state, the last one the new, and
// variables of others are in all of them.
#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "bootloader-hooks/grub_environment.hpp"

namespace {

using namespace slotkeeper;
using namespace slotkeeper::boot;

constexpr std::uint32_t kAttempts = 3;

void require(bool condition) {
  if (!condition) std::abort();
}

bool differ(const GrubBlock& one, const GrubBlock& another, std::size_t sector) {
  const auto begin = static_cast<std::ptrdiff_t>(sector * kGrubSectorBytes);
  return !std::equal(one.begin() + begin, one.begin() + begin + kGrubSectorBytes, another.begin() + begin);
}

Variables only(Variables variables, bool ours) {
  std::erase_if(variables, [&](const auto& entry) { return is_grub_ours(entry.first) != ours; });
  return variables;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  GrubBlock block;
  block.fill(std::byte{'#'});
  const auto bytes = std::as_bytes(std::span(data, std::min(size, block.size())));
  std::ranges::copy(bytes, block.begin());

  const Variables before = read_grub_variables(block);
  const BootState state = grub_state_of(before, kAttempts);
  const BootState wanted = armed(state, SlotId::b, kAttempts, "0123456789abcdef");
  const VariableChanges changes = grub_changes_to(before, wanted, kAttempts);
  const auto steps = plan_grub_steps(block, changes);
  if (!steps.has_value()) {
    require(steps.error().code == Errc::boot_environment);
    return 0;
  }
  require(is_grub_block(block));
  const bool was_whole = is_whole_grub_block(block);
  GrubBlock now = block;
  for (const GrubBlock& step : steps.value()) {
    require(differ(now, step, 0) != differ(now, step, 1));
    const Variables variables = read_grub_variables(step);
    const bool is_last = &step == &steps.value().back();
    if (was_whole) {
      require(only(variables, false) == only(before, false));
      require(is_last || only(variables, true) == only(before, true));
    }
    now = step;
  }
  require(grub_state_of(read_grub_variables(now), kAttempts) == wanted);
  require(grub_changes_to(read_grub_variables(now), wanted, kAttempts).empty());
  require(is_whole_grub_block(now) && !is_scattered(now));
  return 0;
}
