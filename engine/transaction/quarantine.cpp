#include "engine/transaction/quarantine.hpp"

#include <algorithm>
#include <limits>

namespace slotkeeper {
namespace {

constexpr std::size_t kIdDigits = 16;

bool speaks_about_the_package(const RecordedCause& cause) {
  const auto code = errc_from_name(cause.code);
  return code == Errc::health || code == Errc::health_timeout;
}

}  // namespace

Result<void> count_failure(Device& device) {
  const TransactionRecord& record = *device.record;
  if (record.revert || !record.cause || !record.image.manifest_digest) return success();
  if (!speaks_about_the_package(*record.cause)) return success();
  auto& failures = device.facts.failures;
  const auto known = std::ranges::find(failures, *record.image.manifest_digest, &PackageFailures::manifest);
  PackageFailures package = known != failures.end() ? *known : PackageFailures{};
  if (package.transaction == record.id) return success();
  package.manifest = *record.image.manifest_digest;
  package.version = record.image.version;
  if (package.count < std::numeric_limits<std::uint32_t>::max()) ++package.count;
  package.transaction = record.id;
  package.code = record.cause->code;
  package.last = rfc3339(device.settings.host.now());
  if (known != failures.end()) {
    failures.erase(known);
  } else if (failures.size() == kFailingPackagesMax) {
    failures.erase(failures.begin());
  }
  failures.push_back(std::move(package));
  return device.save_facts();
}

void forget_failures(DeviceFacts& facts, const Sha256& manifest) {
  std::erase_if(facts.failures, [&](const PackageFailures& package) { return package.manifest == manifest; });
}

bool is_quarantined(const Device& device, const PackageFailures& package) {
  const std::uint32_t after = device.configuration().install.quarantine_after;
  return after > 0 && package.count >= after;
}

permanent::Gate quarantine_gate(const Device& device, const Sha256& manifest) {
  const std::uint32_t after = device.configuration().install.quarantine_after;
  const auto& failures = device.facts.failures;
  const auto found = std::ranges::find(failures, manifest, &PackageFailures::manifest);
  permanent::Gate gate{.code = Errc::quarantined,
                       .pass = true,
                       .measured = found == failures.end() ? 0 : found->count,
                       .limit = after == 0 ? std::numeric_limits<std::uint32_t>::max() : after - 1,
                       .unit = "count",
                       .message = "this bundle has not failed here before"};
  if (found == failures.end()) return gate;
  gate.pass = !is_quarantined(device, *found);
  gate.message = "this bundle was tried and did not become the firmware " + std::to_string(found->count) +
                 (found->count == 1 ? " time" : " times") + ", the last time on " + found->last + " (" + found->code +
                 ")";
  if (!gate.pass) {
    gate.message += "; 'slotkeeper quarantine clear " + manifest.hex().substr(0, kIdDigits) + "' allows it again";
  }
  return gate;
}

}  // namespace slotkeeper
