#include "engine/bundle/chunk_unpacker.hpp"

#include <string>

namespace slotkeeper::bundle {

ChunkUnpacker::ChunkUnpacker(const OldImageAccess& old, const ImageKey& key) : old_(old) {
  if (key.content_key) cipher_.emplace(key);
}

Result<void> ChunkUnpacker::unpack(const ChunkRow& wanted, std::uint64_t offset, io::Bytes stored, io::Bytes plain) {
  if (sha256(stored) != wanted.stored_digest) {
    return make_error(Errc::corrupt, "the bundle's bytes do not match the signed index");
  }
  io::ConstBytes frame = stored;
  if (cipher_) {
    SK_TRY_ASSIGN(frame, cipher_->open(offset, stored));
  }
  if ((wanted.flags & chunk_flag::kOldImage) != 0) return unpack_delta(wanted, frame, plain);
  SK_TRY(decoder_.decode(frame, plain));
  if (sha256(plain) != wanted.plain_digest) {
    return make_error(Errc::corrupt, "the decompressed bytes do not match the signed index");
  }
  return success();
}

Result<void> ChunkUnpacker::unpack_delta(const ChunkRow& wanted, io::ConstBytes stored, io::Bytes plain) {
  if (old_.on_slots == nullptr) {
    return make_error(Errc::incompatible, "it is made from the old image, which is not at hand");
  }
  SK_TRY_ASSIGN(const auto delta, parse_delta_frame(stored, old_.bytes));
  SK_TRY_ASSIGN(const auto prefix, read_prefix(delta));
  const auto decoded = decoder_.decode(delta.frame, plain, prefix);
  if (decoded.has_value() && sha256(plain) == wanted.plain_digest) return success();
  // The frame is the signed one. What it was decompressed against is not what it was made from.
  return make_error(Errc::readback_mismatch,
                    "it cannot be made from blocks " + std::to_string(delta.parts.front().first_block) +
                        " and following of the old image: they no longer read as the delta needs them; "
                        "'slotkeeper verify' checks the running slot");
}

Result<io::ConstBytes> ChunkUnpacker::read_prefix(const DeltaFrame& delta) {
  if (!prefix_) prefix_.emplace(kOldPartsMaxBytes);
  std::size_t filled = 0;
  for (const OldPart& part : delta.parts) {
    const auto into = prefix_->bytes().subspan(filled, std::size_t{part.blocks} * kOldBlockBytes);
    const std::uint64_t offset = std::uint64_t{part.first_block} * kOldBlockBytes;
    if (!old_.on_slots->read(ReusePlan::From::old_slot, offset, into)) {
      return make_error(Errc::io_error, "the old image cannot be read at offset " + std::to_string(offset));
    }
    filled += into.size();
  }
  return io::ConstBytes(prefix_->bytes()).first(filled);
}

}  // namespace slotkeeper::bundle
