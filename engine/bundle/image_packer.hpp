// Part of `bundle create`: the frames and the index of one image.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/bundle/chunk_index.hpp"
#include "engine/bundle/frame_cipher.hpp"
#include "engine/bundle/frame_codec.hpp"
#include "engine/bundle/manifest.hpp"
#include "engine/bundle/old_contents.hpp"
#include "engine/bundle/temporary_file.hpp"
#include "partitions/progress.hpp"

namespace slotkeeper::bundle {

/// Larger images have so many chunks of kDeltaChunkMaxBytes that their index would not stay small.
inline constexpr std::uint64_t kDeltaImageMaxBytes = 32ull << 30;

/// Packs images on all processors; what comes out does not depend on their number.
class ImagePacker {
 public:
  /// An image file that is to become the image of a volume, made from an old one where there is one.
  struct Input {
    io::File& file;
    std::string volume;
    const OldContents* old = nullptr;
    ImageKey key;  ///< without one it is not encrypted
  };
  struct Settings {
    int compression_level = 0;
    std::uint32_t chunk_bytes = 0;  ///< 0: by content, as suits the image
    std::uint64_t total_bytes = 0;  ///< of all images, for the progress
  };
  ImagePacker(const Settings& settings, ProgressSink& progress);

  /// Reads the image once; appends its frames to `frames`; `index` becomes what is stored of its index. With an old
  /// image it has at most kDeltaImageMaxBytes. Errors: io_error, storage_full, cancelled.
  [[nodiscard]] Result<Image> pack_image(const Input& input, TemporaryFile& frames, std::vector<std::byte>& index);

 private:
  Settings settings_;
  ProgressSink& progress_;
  std::uint64_t done_bytes_ = 0;
  unsigned threads_;
};

}  // namespace slotkeeper::bundle
