#include "engine/transaction/steps/open.hpp"

#include "engine/configuration/decryption_key.hpp"
#include "engine/configuration/trust_policy.hpp"

namespace slotkeeper {
Result<bundle::Bundle> open_bundle_at(Device& device, const std::string& location) {
  device.phase = Phase::open;
  // The sink is asked for anew each time: from the compaction on a watch stands before it.
  const SourceCalls calls{.check_cancelled = [&device] { return device.sink().check_cancelled(); },
                          .notice = [&device](std::string_view text) { device.sink().notice(text); }};
  SK_TRY_ASSIGN(auto source, open_source(device.storage(), location, device.configuration().source, calls));
  return bundle::open_bundle(std::move(source));
}

Result<bundle::VerifiedManifest> verify(Device& device, bundle::Bundle bundle) {
  device.phase = Phase::verify;
  SK_TRY_ASSIGN(const auto policy,
                load_trust_policy(device.storage(), device.configuration(), device.settings.host.now()));
  return bundle::verify_bundle(std::move(bundle), policy,
                               [&device] { return load_recipient(device.storage(), device.configuration()); });
}

Result<bundle::VerifiedManifest> open_and_verify(Device& device, const std::string& location) {
  SK_TRY_ASSIGN(auto bundle, open_bundle_at(device, location));
  return verify(device, std::move(bundle));
}

}  // namespace slotkeeper
