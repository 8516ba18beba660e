// From a stored frame to the chunk it holds: hashed against the index, only then decrypted where it
// is encrypted, decompressed, hashed again.
#pragma once

#include <cstdint>
#include <optional>

#include "engine/bundle/bundle.hpp"
#include "engine/bundle/delta_frame.hpp"
#include "engine/bundle/frame_cipher.hpp"
#include "engine/bundle/frame_codec.hpp"
#include "partitions/io/aligned_buffer.hpp"

namespace slotkeeper::bundle {

/// The image that the chunks of a delta are made from.
struct OldImageAccess {
  OnSlots* on_slots = nullptr;  ///< nothing: it cannot be had, and no chunk needs it
  std::uint64_t bytes = 0;
};

/// One for each thread. Memory: from the first chunk on that needs the old image, kOldPartsMaxBytes.
class ChunkUnpacker {
 public:
  ChunkUnpacker(const OldImageAccess& old, const ImageKey& key);
  /// Fills `plain`, which has the length of the chunk; `offset` is where it begins in the image. What is encrypted is
  /// decrypted in `stored`. Errors: corrupt (the frame is not the signed one or does not
  /// hold the chunk), readback_mismatch (the old image is not what the delta was made from), io_error (it cannot be
  /// read).
  [[nodiscard]] Result<void> unpack(const ChunkRow& wanted, std::uint64_t offset, io::Bytes stored, io::Bytes plain);

 private:
  [[nodiscard]] Result<void> unpack_delta(const ChunkRow& wanted, io::ConstBytes stored, io::Bytes plain);
  [[nodiscard]] Result<io::ConstBytes> read_prefix(const DeltaFrame& delta);

  OldImageAccess old_;
  std::optional<FrameCipher> cipher_;
  FrameDecoder decoder_;
  std::optional<io::AlignedBuffer> prefix_;
};

}  // namespace slotkeeper::bundle
