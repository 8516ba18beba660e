// `bundle create`: packs images into a bundle and signs it. Reproducible: same inputs, same bytes, signature aside.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/bundle/bundle.hpp"
#include "engine/bundle/manifest.hpp"
#include "engine/bundle/signature.hpp"
#include "partitions/io/storage.hpp"
#include "partitions/progress.hpp"

namespace slotkeeper::bundle {

struct ImageInput {
  std::string volume;
  std::string path;
  bool encrypt = false;
};

/// What makes a bundle a delta: an image is made from that of the same volume in `old_path`, where there is one.
struct DeltaRequest {
  std::string old_path;                         ///< a bundle that is no delta itself
  TrustPolicy trust;                            ///< whom its signature is to be from
  FindRecipient find_recipient = no_recipient;  ///< who decrypts it
  std::string full;                             ///< name of the full bundle beside the delta; empty: none
};

struct CreateRequest {
  Manifest description;  ///< without images; they are described while they are packed
  std::vector<ImageInput> images;
  std::vector<std::string> recipients_pem;  ///< certificates of those who can decrypt the images that are encrypted
  SigningIdentity identity;
  std::string output_path;  ///< must not exist; appears under its name only when complete and synced
  int compression_level = 12;
  std::optional<DeltaRequest> delta;
  std::uint32_t chunk_bytes = 0;  ///< 0: chosen from the image's size so that the index stays below its limit
};

struct CreatedBundle {
  Manifest manifest;
  Sha256 digest;
  std::uint64_t size_bytes = 0;
};

/// Errors: config (missing image, empty image, size not a multiple of 512; an old bundle or a recipient that does not
/// do; encryption without a recipient, or a recipient without), io_error, storage_full, cancelled; of the old bundle
/// those of opening, verifying and unpacking one. On crash: temporary files next to the output may remain; the output
/// is absent or complete.
[[nodiscard]] Result<CreatedBundle> create_bundle(io::Storage& storage, const CreateRequest& request,
                                                  ProgressSink& progress);

}  // namespace slotkeeper::bundle
