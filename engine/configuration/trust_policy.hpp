// From `[trust]` to what signatures are verified against: reads the files that the section names.
#pragma once

#include "engine/bundle/signature.hpp"
#include "engine/configuration/configuration.hpp"

namespace slotkeeper {

/// Errors: config (a file is missing, unreadable or too long; its contents are looked at with the first signature).
[[nodiscard]] Result<bundle::TrustPolicy> load_trust_policy(io::Storage& storage, const Configuration& configuration,
                                                            io::TimeStamp now);

}  // namespace slotkeeper
