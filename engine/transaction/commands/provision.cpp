#include "engine/bundle/bundle.hpp"
#include "engine/configuration/decryption_key.hpp"
#include "engine/configuration/trust_policy.hpp"
#include "engine/transaction/commands/commands.hpp"
#include "engine/transaction/floor.hpp"
#include "partitions/permanent/reserve.hpp"
#include "partitions/slot_hash.hpp"

namespace slotkeeper {
namespace {

/// Hashes every volume of the slot over its whole length.
Result<SlotBaseline> adopt(EngineSettings& settings, const Slot& slot) {
  SlotBaseline baseline;
  for (const auto& volume : slot.volumes) {
    SK_TRY_ASSIGN(auto file, settings.storage.open_file(volume.device_path, {.follow_symlink = true}));
    SK_TRY_ASSIGN(const auto length, file->size());
    SK_TRY(file->close());
    SK_TRY_ASSIGN(const auto found,
                  hash_volume(settings.storage, volume, length, settings.sink, Phase::verify, settings.helpers));
    baseline.volumes.push_back({.volume = volume.name, .length_bytes = length, .digest = found.digest});
  }
  return baseline;
}

struct Factory {
  SlotBaseline baseline;
  std::optional<VersionFloor> floor = {};
};

/// The baseline that the factory bundle gives, after checking that the slot holds it.
Result<Factory> from_factory(EngineSettings& settings, const Slot& slot, const std::string& location) {
  const SourceCalls calls{.check_cancelled = [&settings] { return settings.sink.check_cancelled(); },
                          .notice = [&settings](std::string_view text) { settings.sink.notice(text); }};
  SK_TRY_ASSIGN(auto source, open_source(settings.storage, location, settings.configuration.source, calls));
  SK_TRY_ASSIGN(auto bundle, bundle::open_bundle(std::move(source)));
  SK_TRY_ASSIGN(const auto policy, load_trust_policy(settings.storage, settings.configuration, settings.host.now()));
  SK_TRY_ASSIGN(const auto verified, bundle::verify_bundle(std::move(bundle), policy, [&settings] {
                  return load_recipient(settings.storage, settings.configuration);
                }));
  const bundle::Manifest& manifest = verified.manifest();
  SK_TRY_ASSIGN(auto floor, floor_raised_by(std::nullopt, verified));
  SlotBaseline baseline;
  baseline.origin = BaselineOrigin::factory;
  baseline.version = manifest.version;
  baseline.manifest_digest = verified.digest();
  if (manifest.config) {
    baseline.config_schema = manifest.config->schema;
    baseline.config_readable_by = manifest.config->readable_by;
  }
  for (const auto& image : manifest.images) {
    baseline.volumes.push_back(
        {.volume = image.volume, .length_bytes = image.plain_bytes, .digest = image.pieces_digest});
  }
  for (const auto& volume : slot.volumes) {
    if (manifest.find(volume.name) == nullptr && volume.check == VolumeCheck::image) {
      return make_error(Errc::incompatible, "the factory bundle has no image for volume '" + volume.name + "'");
    }
  }
  SK_TRY_ASSIGN(const auto damaged, damaged_volumes(settings, slot, baseline, Phase::verify));
  if (!damaged.empty()) {
    return make_error(Errc::incompatible, "slot " + std::string(name_of(slot.id)) +
                                              " does not hold what the factory bundle says (volume " + damaged.front() +
                                              ")");
  }
  return Factory{.baseline = std::move(baseline), .floor = std::move(floor)};
}

Result<std::string> make_identifier(io::Host& host) {
  std::array<std::byte, 16> bytes{};
  SK_TRY(host.random(bytes));
  return sha256(bytes).hex().substr(0, 32);
}

/// A valid store is left alone without `force`; garbage is only overwritten with it.
Result<void> check_store(EngineSettings& settings, bool force) {
  const std::string& path = settings.configuration.store_path;
  auto store = StateStore::open(settings.storage, path, StateStore::Access::write);
  if (store.has_value()) {
    SK_TRY_ASSIGN(const auto facts, store.assume_value()->read_record(RecordKind::facts));
    SK_TRY(store.assume_value()->close());
    if (facts && !force) {
      return make_error(Errc::wrong_state, "the device is provisioned already (state store " + path +
                                               "); --force starts over and forgets checksums and history");
    }
    return success();
  }
  if (store.assume_error().code == Errc::not_provisioned) return success();
  const bool unreadable =
      store.assume_error().code == Errc::state_store || store.assume_error().code == Errc::foreign_record;
  if (force && unreadable) return success();
  return std::move(store).as_failure();
}

Result<boot::BootState> first_environment(boot::BootControl& boot, SlotId booted) {
  auto reading = boot.read();
  boot::BootState before;
  if (reading.has_value()) {
    before = reading.assume_value().state;
  } else if (reading.assume_error().code == Errc::boot_environment) {
    before = boot::only_slot(before, booted, boot.traits().attempts);
  } else {
    return std::move(reading).as_failure();
  }
  auto wanted = boot::at_rest(before, booted, boot.traits().attempts);
  wanted.mark.reset();
  return boot::as_kept(std::move(wanted), boot.traits().keeps_mark, boot.traits().counts_tries);
}

Result<CommandResult> provision(EngineSettings& settings, const std::optional<std::string>& factory, bool force) {
  const Configuration& configuration = settings.configuration;
  SK_TRY(check_configuration(settings.storage, configuration));
  SK_TRY(find_health_checks(settings.storage, configuration));
  SK_TRY_ASSIGN(auto boot, make_boot_control(settings));
  SK_TRY_ASSIGN(const auto booted, booted_slot(settings, *boot));
  SK_TRY(check_store(settings, force));
  const Slot& slot = configuration.slots[booted];
  Factory found;
  if (factory) {
    SK_TRY_ASSIGN(found, from_factory(settings, slot, *factory));
  } else {
    SK_TRY_ASSIGN(found.baseline, adopt(settings, slot));
  }
  SK_TRY_ASSIGN(const auto environment, first_environment(*boot, booted));
  SK_TRY_ASSIGN(auto root, settings.storage.open_directory(configuration.permanent_path));

  SK_TRY_ASSIGN(const auto identifier, make_identifier(settings.host));
  SK_TRY(StateStore::format(settings.storage, configuration.store_path, configuration.store_size_bytes, identifier));
  SK_TRY(permanent::make_own_directory(*root));
  SK_TRY(permanent::release_reserve(*root));
  SK_TRY(root->close());
  SK_TRY(boot->initialise(environment));
  SK_TRY_ASSIGN(auto store, StateStore::open(settings.storage, configuration.store_path, StateStore::Access::write));
  SK_TRY(store->write_last_confirmed(booted));
  // Last: a store without facts reads as not provisioned.
  const std::string origin(name_of(found.baseline.origin));
  DeviceFacts facts;
  facts.confirmed = booted;
  facts[booted] = std::move(found.baseline);
  facts.floor = std::move(found.floor);
  SK_TRY(store->write_record(RecordKind::facts, print_facts(facts)));
  SK_TRY(store->close());

  CommandResult result;
  result.outcome = Outcome::ok;
  result.extra.emplace_back("baseline", origin);
  result.extra.emplace_back("slot", name_of(booted));
  result.lines.push_back("The device is provisioned: slot " + std::string(name_of(booted)) +
                         " is the confirmed firmware (baseline " + origin + ").");
  return result;
}

}  // namespace

CommandResult provision_device(EngineSettings& settings, const std::optional<std::string>& factory_bundle, bool force) {
  auto result = provision(settings, factory_bundle, force);
  if (!result.has_value()) return failed_command(std::move(result).assume_error());
  return std::move(result).assume_value();
}

}  // namespace slotkeeper
