#include "engine/transaction/update_transaction.hpp"

#include "engine/configuration/trust_policy.hpp"
#include "engine/transaction/steps/check.hpp"
#include "engine/transaction/steps/compact.hpp"
#include "engine/transaction/steps/preflight.hpp"
#include "engine/transaction/steps/snapshot.hpp"
#include "engine/transaction/steps/stage.hpp"

namespace slotkeeper {
namespace {

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
  return bundle::verify_bundle(std::move(bundle), policy);
}

bool holds_already(const Device& device, const bundle::VerifiedManifest& manifest) {
  const auto& baseline = device.facts[device.booted];
  return device.booted == device.facts.confirmed && baseline && baseline->manifest_digest == manifest.digest();
}

Result<std::string> make_uuid(io::Host& host) {
  std::array<std::byte, 16> bytes{};
  SK_TRY(host.random(bytes));
  bytes[6] = (bytes[6] & std::byte{0x0f}) | std::byte{0x40};
  bytes[8] = (bytes[8] & std::byte{0x3f}) | std::byte{0x80};
  std::string text;
  constexpr std::string_view kDigits = "0123456789abcdef";
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += kDigits[std::to_integer<std::size_t>(bytes[i] >> 4)];
    text += kDigits[std::to_integer<std::size_t>(bytes[i] & std::byte{0x0f})];
  }
  return text;
}

/// The record that everything after is done under. Durable: record `begun`.
Result<void> begin(Device& device, const bundle::VerifiedManifest& manifest, const UpdatePlan& plan) {
  const Configuration& configuration = device.configuration();
  TransactionRecord record;
  record.engine_version = engine_version();
  SK_TRY_ASSIGN(record.id, make_uuid(device.settings.host));
  record.state = State::begun;
  record.original = device.booted;
  record.target = plan.report().target;
  record.attempts = device.attempts();
  record.permanent_path = configuration.permanent_path;
  record.classes = configuration.classes;
  record.slot_table_digest = configuration.slots.digest();
  record.slack_bytes = configuration.reserve_bytes;
  record.image.origin = BaselineOrigin::bundle;
  record.image.version = manifest.manifest().version;
  record.image.manifest_digest = manifest.digest();
  for (const auto& image : manifest.manifest().images) {
    record.image.volumes.push_back(
        {.volume = image.volume, .length_bytes = image.plain_bytes, .digest = image.pieces_digest});
  }
  if (const auto& config = manifest.manifest().config) {
    record.image.config_schema = config->schema;
    record.image.config_readable_by = config->readable_by;
  }
  if (const auto& baseline = device.facts[device.booted]) record.original_version = baseline->version;
  record.started = rfc3339(device.settings.host.now());
  if (print_record(record).size() + 4096 > kRecordPayloadMaxBytes ||
      print_snapshot_description({record.id, record.classes, record.permanent_path, {}}).size() >
          kAreaDescriptionMaxBytes) {
    return make_error(Errc::config, "the classes of the permanent partition are too long to be recorded");
  }
  device.record = std::move(record);
  return device.save_record();
}

Result<void> begin_watch(Device& device, const UpdatePlan& plan) {
  const auto& forecast = plan.report().forecast;
  const auto& input = forecast.input;
  permanent::Amount with_reserve = input.event_reserve;  // the log reserve is the slack of the reserve
  with_reserve.bytes += input.migration_headroom.bytes;
  with_reserve.inodes += input.migration_headroom.inodes;
  SK_TRY_ASSIGN(device.watch, PermanentWatch::begin(device.sink(), device.storage(), device.settings.host,
                                                    {.path = device.record->permanent_path,
                                                     .before_reserve = forecast.needed,
                                                     .with_reserve = with_reserve,
                                                     .growth_bytes = forecast.growth_bytes,
                                                     .filesystem_errors = plan.report().errors_counted}));
  return success();
}

/// One last look; from the switch on nothing may stop the update any more.
Result<void> end_watch(Device& device) {
  SK_TRY(device.watch->end());
  device.watch.reset();
  return success();
}

}  // namespace

Result<bundle::VerifiedManifest> open_and_verify(Device& device, const std::string& location) {
  SK_TRY_ASSIGN(auto bundle, open_bundle_at(device, location));
  return verify(device, std::move(bundle));
}

Result<std::optional<TrialBoot>> update_transaction(Device& device, const UpdateRequest& request) {
  SK_TRY_ASSIGN(auto bundle, open_bundle_at(device, request.location));
  SK_TRY_ASSIGN(const auto manifest, verify(device, std::move(bundle)));
  if (!request.force && holds_already(device, manifest)) return std::optional<TrialBoot>{};
  SK_TRY_ASSIGN(auto plan, plan_update(device, manifest));
  SK_TRY(begin(device, manifest, plan));
  SK_TRY(begin_watch(device, plan));
  SK_TRY_ASSIGN(const auto compacted, compact_permanent(device, plan));
  SK_TRY_ASSIGN(const auto snapshot, secure_permanent(device, compacted));
  SK_TRY_ASSIGN(const auto staged, stage_images(device, manifest, plan, snapshot));
  SK_TRY_ASSIGN(const auto ready, check_all(device, plan, snapshot, staged));
  SK_TRY(end_watch(device));
  SK_TRY_ASSIGN(const auto trial, switch_over(device, ready));
  return std::optional{trial};
}

}  // namespace slotkeeper
