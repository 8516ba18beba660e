// Which versions may follow each other: never back below what the last confirmed firmware allows. Pure functions.
#pragma once

#include <optional>
#include <string>

#include "engine/bundle/manifest.hpp"

namespace slotkeeper {

/// What the device holds to, from the manifest of a firmware that was confirmed. Without either, everything may follow.
struct VersionRules {
  std::optional<bundle::FirmwareGroup> group;
  std::optional<std::string> minimum_version;
};
[[nodiscard]] VersionRules rules_of(const bundle::Manifest& manifest);

/// Any version that the present group admits may be installed, an older one too; any version of a higher group; none of
/// a lower one that the present group does not admit. Without groups: none below the minimum.
/// Errors: downgrade. Source: gematik gemSpec_OM GS-A_4870 to GS-A_4872.
[[nodiscard]] Result<void> check_version(const VersionRules& floor, const bundle::Manifest& candidate);

/// Whether the floor rises when this one is confirmed. It never falls: an older version of the present group leaves it.
[[nodiscard]] bool raises(const VersionRules& floor, const bundle::Manifest& candidate);

}  // namespace slotkeeper
