// `quarantine list` and `quarantine clear`.
#include "engine/transaction/quarantine.hpp"

#include <algorithm>

#include "engine/transaction/commands/commands.hpp"

namespace slotkeeper {
namespace {

constexpr std::size_t kIdDigitsMin = 8;

bool is_hexadecimal(const std::string& text) {
  return std::ranges::all_of(text, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

}  // namespace

CommandResult report_quarantine(Device& device) {
  CommandResult result;
  JsonArray packages;
  std::size_t refused = 0;
  for (auto package = device.facts.failures.rbegin(); package != device.facts.failures.rend(); ++package) {
    const bool is_refused = is_quarantined(device, *package);
    if (is_refused) ++refused;
    packages.emplace_back(JsonObject{{"id", package->manifest.hex()},
                                     {"version", escape_bytes(package->version)},
                                     {"failures", package->count},
                                     {"quarantined", is_refused},
                                     {"code", package->code},
                                     {"last", package->last}});
  }
  result.lines.push_back(packages.empty() ? "No bundle has failed on this device."
                                          : std::to_string(refused) + " of " + std::to_string(packages.size()) +
                                                " bundles that failed here are not tried any more.");
  result.extra.emplace_back("packages", std::move(packages));
  return result;
}

CommandResult clear_quarantine(Device& device, const std::optional<std::string>& id) {
  if (id && (id->size() < kIdDigitsMin || !is_hexadecimal(*id))) {
    return failed_command(make_error(Errc::usage, "ID: '" + escape_bytes(*id) +
                                                      "' is not the beginning of a manifest's "
                                                      "SHA-256, of at least " +
                                                      std::to_string(kIdDigitsMin) +
                                                      " digits; 'slotkeeper quarantine list' shows them"));
  }
  const auto cleared = std::erase_if(device.facts.failures, [&](const PackageFailures& package) {
    return !id || package.manifest.hex().starts_with(*id);
  });
  CommandResult result;
  if (cleared == 0) {
    result.outcome = Outcome::nothing_to_do;
    result.lines.push_back(id ? "No bundle with this ID has failed here." : "No bundle has failed on this device.");
  } else {
    auto saved = device.save_facts();
    if (!saved.has_value()) return failed_command(std::move(saved).assume_error());
    result.lines.push_back(std::to_string(cleared) + (cleared == 1 ? " bundle" : " bundles") + " may be tried again.");
  }
  result.extra.emplace_back("cleared", cleared);
  return result;
}

}  // namespace slotkeeper
