#include "engine/transaction/steps/last_look.hpp"

#include <algorithm>
#include <array>
#include <cerrno>

#include "engine/transaction/steps/settle.hpp"

namespace slotkeeper {
namespace {

using std::chrono::duration_cast;
using std::chrono::milliseconds;

/// What a look under a freeze came to; without `look`, why there was none that counts.
struct FrozenLook {
  std::optional<permanent::QuickLook> look;
  milliseconds held{0};
  std::string why_not;
};

FrozenLook none(std::string why_not) { return {.look = std::nullopt, .held = {}, .why_not = std::move(why_not)}; }

std::vector<std::string> places_of_ours(const Device& device) {
  std::vector<std::string> places = device.boot->traits().places;
  places.push_back(device.configuration().store_path);
  return places;
}

/// Writes what is dirty, so that the freeze has little left to write. How long the last time took.
Result<milliseconds> flush(Device& device, io::Directory& root) {
  milliseconds took{0};
  for (int count = 0; count < kFlushesMax; ++count) {
    const auto begin = device.settings.host.monotonic();
    SK_TRY(root.sync_filesystem());
    took = duration_cast<milliseconds>(device.settings.host.monotonic() - begin);
    if (took <= kQuickFlush) break;
  }
  return took;
}

/// Errors that say "not here" or "not now"; what is left is a storage that fails.
bool is_refusal(const Error& error) {
  constexpr std::array kRefusals = {EOPNOTSUPP, ENOTTY, EBUSY, EPERM, EACCES, ENOSYS, EAGAIN, ENOMEM, ETIMEDOUT};
  return error.code == Errc::io_error && std::ranges::find(kRefusals, error.os_errno) != kRefusals.end();
}

std::string words_for(io::FreezeEnd end) {
  switch (end) {
    case io::FreezeEnd::asked:
      return "";
    case io::FreezeEnd::time_up:
      return "the freeze reached its limit";
    case io::FreezeEnd::freezer_died:
      return "the process that held the freeze was ended";
    case io::FreezeEnd::somebody_else:
      return "somebody else thawed the permanent partition";
  }
  return "";
}

/// `lying`: what of ours lies on the permanent partition.
Result<FrozenLook> look_frozen(Device& device, io::Directory& root, const permanent::DriftWatch& watch,
                               const std::vector<std::string>& lying) {
  const std::string& path = device.permanent_path();
  if (!lying.empty()) return none(lying.front() + " lies on the permanent partition");
  SK_TRY_ASSIGN(const auto took, flush(device, root));
  if (took > kSlowFlush) return none("the storage needs " + std::to_string(took.count()) + " ms to write back");

  io::Host& host = device.settings.host;
  const auto deadline = host.monotonic() + kFrozenLookLimit;
  auto freeze = device.storage().freeze(path, kFreezeLimit);
  if (!freeze.has_value()) {
    if (is_refusal(freeze.assume_error())) return none(freeze.assume_error().message);
    return std::move(freeze).as_failure();
  }
  // From here to the thaw nothing is written or reported.
  auto look = watch.look_again(root, [&] {
    return freeze.assume_value()->holds() && host.monotonic() < deadline && !device.sink().cancel_requested();
  });
  SK_TRY_ASSIGN(const io::ThawFacts thawed, freeze.assume_value()->thaw());
  SK_TRY(device.sink().check_cancelled());
  if (thawed.ended_by != io::FreezeEnd::asked) return none(words_for(thawed.ended_by));
  if (!look.has_value()) return std::move(look).as_failure();
  const auto held = duration_cast<milliseconds>(thawed.held);
  if (!look.assume_value().complete && look.assume_value().paths.empty()) {
    return none("not all of the configuration could be compared within " + std::to_string(held.count()) + " ms");
  }
  return FrozenLook{.look = std::move(look).assume_value(), .held = held, .why_not = {}};
}

/// `before`: root of the configuration as the watch read it, which is the snapshot's.
Result<std::vector<std::string>> read_again(Device& device, io::Directory& root, const Sha256& before) {
  const auto after =
      permanent::take_inventory(root, device.record->classes, permanent::HashScope::config, device.sink());
  if (!after.has_value()) {
    if (after.assume_error().code == Errc::config_busy) return paths_of(after.assume_error());
    return after.as_failure();
  }
  if (after.assume_value().config_root == before) return std::vector<std::string>();
  SK_TRY_ASSIGN(auto paths, permanent::paths_unlike_snapshot(device.store->area(AreaKind::snapshot_first),
                                                             after.assume_value(), permanent::kDriftPathsMax));
  if (paths.empty()) paths.emplace_back(".");  // the roots differ, so nothing may be committed whatever it was
  return paths;
}

}  // namespace

Result<LastLook> take_last_look(Device& device, permanent::DriftWatch watch) {
  // Before we stand there ourselves.
  SK_TRY_ASSIGN(const auto lying, device.storage().lying_on(device.permanent_path(), places_of_ours(device)));
  SK_TRY_ASSIGN(const auto root, device.open_permanent());
  SK_TRY_ASSIGN(auto frozen, look_frozen(device, *root, watch, lying));
  if (frozen.look) {
    device.set_report("last_check", JsonObject{{"level", "frozen"},
                                               {"frozen_ms", static_cast<std::uint64_t>(frozen.held.count())},
                                               {"entries", frozen.look->entries}});
    SK_TRY(root->close());
    return LastLook{.frozen = true, .paths = std::move(frozen.look->paths)};
  }
  device.sink().notice("the last check reads the configuration twice instead of under a freeze: " + frozen.why_not);
  device.set_report("last_check", JsonObject{{"level", "read-twice"}, {"why", escape_bytes(frozen.why_not)}});
  const Sha256 before = watch.inventory().config_root;
  watch.forget();
  SK_TRY_ASSIGN(auto paths, read_again(device, *root, before));
  SK_TRY(root->close());
  return LastLook{.frozen = false, .paths = std::move(paths)};
}

Result<void> end_freeze_of_others(Device& device) {
  SK_TRY_ASSIGN(const bool was_frozen,
                with_context(device.storage().thaw(device.permanent_path()), "permanent partition"));
  if (was_frozen) {
    device.sink().notice("the permanent partition was still frozen by a command that was killed; it is thawed now");
  }
  return success();
}

std::optional<std::string> weakness_of_last_look(const Device& device) {
  constexpr std::string_view kInstead = "; before the switch the configuration is read twice instead";
  constexpr std::array<std::string_view, 8> kFreezable = {"ext4",  "ext3", "ext2", "xfs",
                                                          "btrfs", "f2fs", "jfs",  "nilfs2"};
  const std::string& path = device.permanent_path();
  const auto mounts = device.storage().mounts();
  if (mounts.has_value()) {
    for (const io::Mount& mount : mounts.assume_value()) {
      if (mount.mount_point != path || std::ranges::find(kFreezable, mount.filesystem) != kFreezable.end()) continue;
      return "the permanent partition is " + mount.filesystem + ", which cannot be frozen" + std::string(kInstead);
    }
  }
  const std::vector<std::string> places = places_of_ours(device);
  const auto lying = device.storage().lying_on(path, places);
  if (!lying.has_value()) return std::nullopt;
  for (const std::string& place : lying.assume_value()) {
    if (std::ranges::find(places, place) == places.end()) continue;
    return place + " lies on the permanent partition, which therefore cannot be frozen" + std::string(kInstead);
  }
  return std::nullopt;
}

}  // namespace slotkeeper
