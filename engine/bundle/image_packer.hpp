// Part of `bundle create`: the frames and the index of one image.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/bundle/chunk_index.hpp"
#include "engine/bundle/frame_codec.hpp"
#include "engine/bundle/manifest.hpp"
#include "engine/bundle/temporary_file.hpp"
#include "partitions/progress.hpp"

namespace slotkeeper::bundle {

/// Packs images on all processors; what comes out does not depend on their number.
class ImagePacker {
 public:
  struct Settings {
    int compression_level = 0;
    std::uint32_t chunk_bytes = 0;  ///< 0: by content, as suits the image
    std::uint64_t total_bytes = 0;  ///< of all images, for the progress
  };
  ImagePacker(const Settings& settings, ProgressSink& progress);

  /// Reads the image once; appends its frames to `frames`. Errors: io_error, storage_full, cancelled.
  [[nodiscard]] Result<Image> pack_image(io::File& file, const std::string& volume, TemporaryFile& frames,
                                         ChunkIndex& index);

 private:
  Settings settings_;
  ProgressSink& progress_;
  std::uint64_t done_bytes_ = 0;
  std::vector<FrameEncoder> encoders_;  ///< one for each thread
};

}  // namespace slotkeeper::bundle
