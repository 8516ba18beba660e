// A bundle with another signature: `bundle sign`, `bundle resign` and `bundle timestamp`. Only the member manifest.cms
// changes; all other bytes are copied as they are, so what was signed stays what is installed.
#pragma once

#include <functional>
#include <string>

#include "engine/bundle/bundle.hpp"
#include "partitions/io/storage.hpp"
#include "partitions/progress.hpp"

namespace slotkeeper::bundle {

/// From the manifest's bytes and the CMS over them to the CMS that takes its place.
using Seal = std::function<Result<std::string>(const std::string& manifest, const std::string& cms)>;

struct SealRequest {
  std::string bundle_path;
  std::string output_path;  ///< `bundle_path` itself is replaced at once; another one must not exist
};

struct SealedBundle {
  Inspection contents;
  std::string signature;
};

/// Checks the whole container, asks `seal`, and writes the result.
/// Durable: the output under its name. On crash: the bundle is what it was or what it was to become; a temporary file
/// beside it may remain.
/// Errors: corrupt, unsupported; those of `seal`; config (the output exists), io_error, storage_full, sync_failed,
/// readback_mismatch, cancelled.
[[nodiscard]] Result<SealedBundle> seal_bundle(io::Storage& storage, const SealRequest& request, const Seal& seal,
                                               ProgressSink& progress);

}  // namespace slotkeeper::bundle
