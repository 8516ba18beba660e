// What is stored of a chunk made from the old image. The first three bytes of an input are the length of the old image
// in blocks, little-endian; the rest is what is stored. Whatever is accepted keeps its limits and prints as the same
// bytes.
#include <cstdint>
#include <cstdlib>
#include <span>

#include "engine/bundle/delta_frame.hpp"

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace slotkeeper;
  using namespace slotkeeper::bundle;
  if (size < 3) return 0;
  const std::uint64_t old_blocks = data[0] | data[1] << 8U | data[2] << 16U;
  const auto stored = std::as_bytes(std::span(data + 3, size - 3));
  const auto parsed = parse_delta_frame(stored, old_blocks * kOldBlockBytes);
  if (!parsed.has_value()) {
    require(parsed.assume_error().code == Errc::corrupt);
    return 0;
  }
  const DeltaFrame& delta = parsed.assume_value();
  require(delta.prefix_bytes() >= kOldBlockBytes && delta.prefix_bytes() <= kOldPartsMaxBytes);
  for (const OldPart& part : delta.parts) {
    require(part.blocks > 0 && std::uint64_t{part.first_block} + part.blocks <= old_blocks);
  }
  const auto printed = print_delta_frame(delta.parts, delta.frame);
  require(std::equal(printed.begin(), printed.end(), stored.begin(), stored.end()));
  return 0;
}
