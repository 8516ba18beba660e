// Steps 1 and 2 of 9: from a path or URL to a verified manifest.
#pragma once

#include <string>

#include "engine/bundle/bundle.hpp"
#include "engine/transaction/device.hpp"

namespace slotkeeper {

/// Errors: those of open_source and bundle::open_bundle.
[[nodiscard]] Result<bundle::Bundle> open_bundle_at(Device& device, const std::string& location);
/// Errors: those of bundle::verify_bundle; config when the trust anchors cannot be read.
[[nodiscard]] Result<bundle::VerifiedManifest> verify(Device& device, bundle::Bundle bundle);
/// Both.
[[nodiscard]] Result<bundle::VerifiedManifest> open_and_verify(Device& device, const std::string& location);

}  // namespace slotkeeper
