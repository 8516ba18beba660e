// Images of bundles in files: what `bundle extract` writes and `bundle create --delta-from` reads.
#pragma once

#include "engine/bundle/bundle.hpp"
#include "partitions/io/file.hpp"
#include "partitions/progress.hpp"

namespace slotkeeper::bundle {

/// A file in the place of the slot that runs.
class OldImageFile final : public OnSlots {
 public:
  explicit OldImageFile(io::File& file) : file_(file) {}
  [[nodiscard]] bool read(ReusePlan::From from, std::uint64_t offset, io::Bytes into) override {
    return from == ReusePlan::From::old_slot && file_.read_exactly_at(offset, into).has_value();
  }

 private:
  io::File& file_;
};

/// Writes the image into `file`, which is new and empty; nothing of it is synced. `old`: for a delta.
/// Errors: those of ImageReader and of writing, cancelled.
[[nodiscard]] Result<void> unpack_image(const VerifiedManifest& manifest, std::size_t image, OnSlots* old,
                                        io::File& file, ProgressSink& progress);

}  // namespace slotkeeper::bundle
