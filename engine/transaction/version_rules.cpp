#include "engine/transaction/version_rules.hpp"

#include <algorithm>

#include "engine/bundle/version.hpp"

namespace slotkeeper {
namespace {

constexpr std::size_t kNamedMax = 8;

std::string some_of(const std::vector<std::string>& versions) {
  std::string text;
  for (std::size_t i = 0; i < versions.size() && i < kNamedMax; ++i) text += (i == 0 ? "" : ", ") + versions[i];
  if (versions.size() > kNamedMax) text += " and " + std::to_string(versions.size() - kNamedMax) + " more";
  return text;
}

Result<void> check_group(const bundle::FirmwareGroup& present, const bundle::Manifest& candidate) {
  const auto& own = candidate.firmware_group;
  if (own && own->version > present.version) return success();
  if (std::ranges::find(present.admits, candidate.version) != present.admits.end()) return success();
  const std::string of =
      own ? "belongs to firmware group " + std::to_string(own->version) : "belongs to no firmware group";
  return make_error(Errc::downgrade, "version " + candidate.version + " " + of + ", and the present group " +
                                         std::to_string(present.version) + " admits only " + some_of(present.admits))
      .with_detail({"group", present.version})
      .with_detail({"version", candidate.version});
}

Result<void> check_minimum(const std::string& minimum, const bundle::Manifest& candidate) {
  const auto order = bundle::compare_versions(candidate.version, minimum);
  if (order && *order >= 0) return success();
  const std::string why = order ? "is below the minimum version " : "cannot be compared with the minimum version ";
  return make_error(Errc::downgrade, "version " + candidate.version + " " + why + minimum + " of this device")
      .with_detail({"minimum_version", minimum})
      .with_detail({"version", candidate.version});
}

}  // namespace

VersionRules rules_of(const bundle::Manifest& manifest) {
  return {.group = manifest.firmware_group, .minimum_version = manifest.minimum_version};
}

Result<void> check_version(const VersionRules& floor, const bundle::Manifest& candidate) {
  if (floor.group) return check_group(*floor.group, candidate);
  if (floor.minimum_version) return check_minimum(*floor.minimum_version, candidate);
  return success();
}

bool raises(const VersionRules& floor, const bundle::Manifest& candidate) {
  if (candidate.firmware_group) return !floor.group || candidate.firmware_group->version > floor.group->version;
  if (floor.group || !candidate.minimum_version) return false;
  if (!floor.minimum_version) return true;
  const auto order = bundle::compare_versions(*candidate.minimum_version, *floor.minimum_version);
  return order && *order > 0;
}

}  // namespace slotkeeper
