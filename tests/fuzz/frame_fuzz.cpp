// Frames from bytes. The first two bytes of an input are the length of the chunk, little-endian; the rest is the frame.
// Whatever is accepted fills the chunk, whole, and nothing behind it.
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "engine/bundle/frame_codec.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace slotkeeper;
  if (size < 2) return 0;
  std::vector<std::byte> plain(static_cast<std::size_t>(data[0] | data[1] << 8));
  const auto frame = std::as_bytes(std::span(data + 2, size - 2));
  static bundle::FrameDecoder decoder;  // one for all, as for a whole image: nothing of one frame may tell on the next
  const auto decoded = decoder.decode(frame, plain);
  if (!decoded.has_value()) {
    if (decoded.assume_error().code != Errc::corrupt) std::abort();
    return 0;
  }
  bundle::FrameEncoder encoder(1);
  const auto encoded = encoder.encode(plain);
  std::vector<std::byte> again(plain.size());
  if (!encoded.has_value() || !decoder.decode(encoded.assume_value(), again).has_value() || again != plain)
    std::abort();
  return 0;
}
