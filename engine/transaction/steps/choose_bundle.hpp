// Between steps 2 and 3 of 9: a delta is made from one old image, bit for bit. Where the slot that runs holds another
// one, the full bundle beside the delta is installed in its place. Looks and decides; changes no byte anywhere.
#pragma once

#include <string>

#include "engine/bundle/bundle.hpp"
#include "engine/transaction/device.hpp"

namespace slotkeeper {

/// The bundle to install: `offered`, or the full one that it names, with a notice why. `location` is that of `offered`.
///
/// Requires: nothing; a bundle that is no delta is given back as it is.
/// Ensures:  every image that needs an old one finds it in the slot that runs, by the recorded checksums, which
///           preflight compares with the slot; a full bundle has the version and the images of the delta.
/// Durable:  nothing.
/// Errors:   incompatible (the slot holds another image and there is no full bundle, or it holds something else);
///           those of opening and verifying the full bundle; io_error, cancelled.
[[nodiscard]] Result<bundle::VerifiedManifest> choose_bundle(Device& device, const std::string& location,
                                                             bundle::VerifiedManifest offered);

/// Whether a slot with this baseline holds what the delta would make already, whatever bundle it came from.
[[nodiscard]] bool holds_result_of_delta(const SlotBaseline& baseline, const bundle::Manifest& manifest);

}  // namespace slotkeeper
