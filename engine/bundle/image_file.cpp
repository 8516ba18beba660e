#include "engine/bundle/image_file.hpp"

namespace slotkeeper::bundle {

Result<void> unpack_image(const VerifiedManifest& manifest, std::size_t image, OnSlots* old, io::File& file,
                          ProgressSink& progress) {
  const std::uint64_t total = manifest.manifest().images[image].plain_bytes;
  ImageReader reader(manifest, image, {.on_slots = old});
  progress.progress(Phase::stage, 0, total);
  while (true) {
    SK_TRY(progress.check_cancelled());
    SK_TRY_ASSIGN(const auto chunk, reader.next());
    if (!chunk) break;
    if (!chunk->zeros) SK_TRY(file.write_at(chunk->offset, chunk->data));
    progress.progress(Phase::stage, chunk->offset + chunk->plain_bytes, total);
  }
  return file.resize(total);  // zeros at the end were never written
}

}  // namespace slotkeeper::bundle
