#include "engine/transaction/floor.hpp"

#include <charconv>

#include "engine/bundle/version.hpp"
#include "engine/configuration/trust_policy.hpp"
#include "engine/transaction/hooks.hpp"

namespace slotkeeper {
namespace {

constexpr std::chrono::milliseconds kCounterLimit{30'000};  ///< a TPM is slow
constexpr const char* kCounterHook = "counter";

std::optional<std::int64_t> number_in(std::string_view text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.remove_suffix(1);
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || error != std::errc{} || end != text.data() + text.size() || number < 0) return std::nullopt;
  return number;
}

/// Nothing where the device has no counter.
Result<std::optional<std::int64_t>> ask_counter(Device& device, std::optional<std::int64_t> raise_to) {
  SK_TRY_ASSIGN(const auto hook, find_hook(device.storage(), device.configuration(), kCounterHook));
  if (!hook) return std::optional<std::int64_t>{};
  std::vector<std::string> environment = environment_for_programs(device);
  if (raise_to) environment.push_back("SLOTKEEPER_COUNTER_RAISE_TO=" + std::to_string(*raise_to));
  SK_TRY_ASSIGN(const auto run,
                run_program(device.settings.host, "hook", *hook, std::move(environment), kCounterLimit));
  const auto number = run.succeeded() ? number_in(run.standard_output) : std::nullopt;
  if (number) return number;
  return make_error(Errc::wrong_state, "the version counter of this device does not answer: " + run.story());
}

/// Without a look at the time: the firmware was confirmed when its certificate was valid.
Result<void> authenticate(EngineSettings& settings, const VersionFloor& floor) {
  SK_TRY_ASSIGN(auto policy, load_trust_policy(settings.storage, settings.configuration, settings.host.now()));
  policy.judged_at = bundle::JudgedAt::any_time;
  SK_TRY(bundle::verify_manifest_signature(floor.manifest, floor.signature, policy));
  return success();
}

std::int64_t group_of(const Floor& floor) { return floor.rules.group ? floor.rules.group->version : -1; }

bool counter_is_ahead(const Floor& floor) {
  return floor.counter && *floor.counter > std::max<std::int64_t>(group_of(floor), 0);
}

}  // namespace

Result<Floor> read_floor(Device& device) {
  Floor floor;
  SK_TRY_ASSIGN(floor.counter, ask_counter(device, std::nullopt));
  const auto& kept = device.facts.floor;
  if (!kept) return floor;
  auto manifest = bundle::parse_manifest(kept->manifest);
  if (!manifest.has_value()) {
    return std::move(manifest).assume_error().with_code(Errc::state_store).with_context("the version floor");
  }
  floor.rules = rules_of(manifest.assume_value());
  auto authentic = authenticate(device.settings, *kept);
  if (!authentic.has_value()) {
    if (authentic.assume_error().code == Errc::config) return std::move(authentic).as_failure();
    floor.is_authentic = false;
    floor.doubt = authentic.assume_error().message;
  }
  return floor;
}

Result<void> check_floor(Device& device, const bundle::Manifest& candidate) {
  SK_TRY_ASSIGN(const Floor floor, read_floor(device));
  const bool was_changed = !floor.is_authentic || counter_is_ahead(floor);
  if (!was_changed || (!floor.rules.group && !floor.counter)) return check_version(floor.rules, candidate);
  const std::int64_t held = std::max(group_of(floor), floor.counter.value_or(0));
  const std::int64_t own = candidate.firmware_group ? candidate.firmware_group->version : -1;
  // With a good counter the group that it names was confirmed here once; without a good manifest it may be a lower one.
  if (floor.counter ? own >= held && own > 0 : own > held) return success();
  const std::string why = floor.is_authentic ? "the hardware counter is ahead of the state store"
                                             : "the recorded firmware group is not authentic (" + floor.doubt + ")";
  return make_error(Errc::downgrade, why + ", so only a bundle of firmware group " +
                                         std::to_string(floor.counter ? held : held + 1) +
                                         " or higher is accepted; this one has " +
                                         (own < 0 ? std::string("none") : "group " + std::to_string(own)))
      .with_detail({"group", held});
}

Result<std::optional<VersionFloor>> floor_raised_by(const std::optional<VersionFloor>& present,
                                                    const bundle::VerifiedManifest& candidate) {
  VersionRules rules;
  if (present) {
    SK_TRY_ASSIGN(const auto manifest, bundle::parse_manifest(present->manifest));
    rules = rules_of(manifest);
  }
  if (!raises(rules, candidate.manifest())) return std::optional<VersionFloor>{};
  VersionFloor floor{.manifest = candidate.text(), .signature = candidate.signature()};
  if (floor.manifest.size() + escape_bytes(floor.signature).size() > kFloorMaxBytes) {
    return make_error(Errc::unsupported, "manifest and signature are longer than " + std::to_string(kFloorMaxBytes) +
                                             " bytes together, so the version floor could not be kept");
  }
  return std::optional(std::move(floor));
}

void raise_counter(Device& device) {
  const auto raise = [&]() -> Result<void> {
    if (!device.facts.floor) return success();
    SK_TRY_ASSIGN(const auto manifest, bundle::parse_manifest(device.facts.floor->manifest));
    if (!manifest.firmware_group) return success();
    const std::int64_t wanted = manifest.firmware_group->version;
    SK_TRY_ASSIGN(const auto counter, ask_counter(device, std::nullopt));
    if (!counter || *counter >= wanted) return success();
    SK_TRY_ASSIGN(const auto raised, ask_counter(device, wanted));
    if (raised && *raised >= wanted) return success();
    return make_error(Errc::wrong_state, "the version counter of this device stays below " + std::to_string(wanted));
  };
  const auto raised = raise();
  if (!raised.has_value()) device.sink().notice(raised.assume_error().message + "; 'slotkeeper recover' tries again");
}

Json to_json(const Floor& floor) {
  if (!floor.rules.group && !floor.rules.minimum_version && !floor.counter) return {};
  JsonArray admits;
  if (floor.rules.group) {
    for (const std::string& version : floor.rules.group->admits) admits.emplace_back(escape_bytes(version));
  }
  return JsonObject{
      {"group", floor.rules.group ? Json(floor.rules.group->version) : Json()},
      {"admits", std::move(admits)},
      {"minimum_version", floor.rules.minimum_version ? Json(*floor.rules.minimum_version) : Json()},
      {"authentic", floor.is_authentic},
      {"counter", floor.counter ? Json(*floor.counter) : Json()},
  };
}

}  // namespace slotkeeper
