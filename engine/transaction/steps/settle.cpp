#include "engine/transaction/steps/settle.hpp"

#include "engine/transaction/steps/snapshot.hpp"

namespace slotkeeper {
namespace {

/// One look: the watch when the configuration equals the first generation, else the paths that differ or do not hold
/// still.
struct Look {
  std::optional<permanent::DriftWatch> watch;
  std::vector<std::string> paths;
};

Result<Look> look(Device& device) {
  SK_TRY_ASSIGN(const auto root, device.open_permanent());
  auto watch = permanent::DriftWatch::begin(*root, device.record->classes, device.settings.host.now(), device.sink());
  SK_TRY(root->close());
  if (!watch.has_value()) {
    if (watch.assume_error().code != Errc::config_busy) return std::move(watch).as_failure();
    return Look{.watch = std::nullopt, .paths = paths_of(watch.assume_error())};
  }
  const permanent::Inventory& inventory = watch.assume_value().inventory();
  SK_INVARIANT(device.record->first.has_value());
  if (inventory.config_root == device.record->first->config_root) {
    return Look{.watch = std::move(watch).assume_value(), .paths = {}};
  }
  SK_TRY_ASSIGN(auto paths, permanent::paths_unlike_snapshot(device.store->area(AreaKind::snapshot_first), inventory,
                                                             permanent::kDriftPathsMax));
  return Look{.watch = std::nullopt, .paths = std::move(paths)};
}

}  // namespace

std::vector<std::string> paths_of(const Error& error) {
  for (const ErrorDetail& detail : error.details) {
    const auto* paths = std::get_if<std::vector<std::string>>(&detail.value);
    if (detail.name == "paths" && paths != nullptr) return *paths;
  }
  return {};
}

Error drift_error(const Device& device, const std::vector<std::string>& paths, int attempts) {
  const bool staged = device.record && device.record->state >= State::staging;
  std::string message = "the configuration was changed again and again while the update secured it (" +
                        std::to_string(attempts) + " times)";
  if (!paths.empty()) message += ", first " + paths.front();
  message += staged ? "; try again when nothing edits it" : "; nothing was installed, try again when nothing edits it";
  return make_error(staged ? Errc::config_drift : Errc::config_busy, std::move(message)).with_detail({"paths", paths});
}

Result<void> secure_again(Device& device, const std::vector<std::string>& paths, SecuringRetries& retries) {
  std::vector<std::string> changed = paths;
  for (;;) {
    if (retries.made == kSecuringRetriesMax) return drift_error(device, changed, retries.made + 1);
    device.sink().notice("the configuration was changed during the update" +
                         (changed.empty() ? std::string() : " (" + changed.front() + ")") + "; it is secured again");
    device.settings.host.sleep(kSecuringPause * (1 << retries.made));
    ++retries.made;
    SK_TRY(device.sink().check_cancelled());
    auto facts = take_generation(device, AreaKind::snapshot_first);
    if (facts.has_value()) {
      device.record->first = facts.assume_value();
      return device.save_record();
    }
    if (facts.assume_error().code != Errc::config_busy) return std::move(facts).as_failure();
    changed = paths_of(facts.assume_error());
  }
}

Result<permanent::DriftWatch> settle(Device& device, SecuringRetries& retries) {
  for (;;) {
    SK_TRY_ASSIGN(auto now, look(device));
    if (now.watch) return std::move(*now.watch);
    SK_TRY(secure_again(device, now.paths, retries));
  }
}

Result<void> await_standstill(Device& device, SecuringRetries& retries) {
  for (;;) {
    SK_TRY_ASSIGN(const auto watch, settle(device, retries));
    device.settings.host.sleep(kStandstill);
    SK_TRY_ASSIGN(const auto root, device.open_permanent());
    SK_TRY_ASSIGN(const auto look, watch.look_again(*root, [&] { return !device.sink().cancel_requested(); }));
    SK_TRY(root->close());
    SK_TRY(device.sink().check_cancelled());
    if (look.paths.empty()) return success();
    SK_TRY(secure_again(device, look.paths, retries));
  }
}

}  // namespace slotkeeper
