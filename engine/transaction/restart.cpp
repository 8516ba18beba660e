#include "engine/transaction/restart.hpp"

#include <algorithm>

#include "engine/transaction/program_run.hpp"
#include "partitions/state_store.hpp"

namespace slotkeeper {
namespace {

constexpr auto kRebootLimit = std::chrono::seconds(60);
constexpr const char* kReboot = "/sbin/reboot";

Result<void> succeed(const Result<ProgramRun>& run) {
  SK_TRY(run);
  if (run.assume_value().succeeded()) return success();
  return make_error(Errc::internal, run.assume_value().story());
}

Result<void> restart(EngineSettings& settings, std::vector<std::string> environment) {
  SK_TRY_ASSIGN(const auto hook, find_hook(settings.storage, settings.configuration, "reboot"));
  environment.emplace_back("SLOTKEEPER_HOOK=reboot");
  return succeed(run_program(settings.host, hook ? "hook" : "program", hook.value_or(kReboot), std::move(environment),
                             kRebootLimit));
}

Result<void> restart_by_force(EngineSettings& settings) {
  SK_TRY_ASSIGN(
      const auto outcome,
      settings.host.run({.executable = kReboot, .arguments = {"-f"}, .environment = {}, .time_limit = kRebootLimit}));
  if (outcome.exit_status == 0 && !outcome.timed_out) return success();
  return make_error(Errc::internal, std::string(kReboot) + " -f failed: " + outcome.standard_error);
}

/// What the boot environment says; nothing where it cannot be read or keeps no mark.
std::optional<bool> environment_shows_trial(EngineSettings& settings) {
  auto boot = make_boot_control(settings);
  if (!boot.has_value() || !boot.assume_value()->traits().keeps_mark) return std::nullopt;
  const auto booted = booted_slot(settings, *boot.assume_value());
  const auto reading = boot.assume_value()->read();
  if (!booted.has_value() || !reading.has_value()) return std::nullopt;
  const boot::BootState& state = reading.assume_value().state;
  return state.mark && state.mark->stage == boot::TransactionMark::Stage::trial &&
         state.primary() == booted.assume_value();
}

/// What the record says. Not of one that is being confirmed, which the environment may know as good already, and not of
/// a confirmed firmware that is being left on request.
Result<bool> record_shows_trial(EngineSettings& settings) {
  SK_TRY_ASSIGN(const SlotId booted,
                find_booted_slot(settings.storage, settings.configuration.slots, settings.assumed_slot));
  SK_TRY_ASSIGN(const auto store,
                StateStore::open(settings.storage, settings.configuration.store_path, StateStore::Access::read));
  SK_TRY_ASSIGN(const auto stored_facts, store->read_record(RecordKind::facts));
  SK_TRY_ASSIGN(const auto stored, store->read_record(RecordKind::transaction));
  if (!stored_facts || !stored) return false;
  SK_TRY_ASSIGN(const auto facts, parse_facts(stored_facts->payload));
  SK_TRY_ASSIGN(const auto record, parse_record(stored->payload));
  const bool is_tried = record.state == State::arming || record.state == State::armed || record.state == State::trial;
  return is_tried && booted == record.target && facts.confirmed != booted;
}

/// What runs was not confirmed, and its bootloader takes it back by itself when it is restarted often enough.
bool shows_trial(EngineSettings& settings) {
  if (settings.configuration.boot_backend == BootBackend::custom) return false;  // it may not count
  if (const auto said = environment_shows_trial(settings)) return *said;
  const auto said = record_shows_trial(settings);
  return said.has_value() && said.assume_value();
}

bool asks_for_restart(const CommandResult& result) {
  return std::ranges::any_of(result.extra, [](const auto& member) { return member.first == "reboot_needed"; });
}

/// Not where somebody else is at work, or asked for the end.
bool is_broken(const CommandResult& result) {
  if (!result.failure) return false;
  const Errc code = result.failure->error.code;
  return code != Errc::busy && code != Errc::wrong_state && code != Errc::cancelled;
}

std::vector<std::string> environment_of_device(EngineSettings& settings) {
  const auto device = open_device(settings, OpenFor::reading);
  return device.has_value() ? environment_for_programs(*device.assume_value()) : std::vector<std::string>();
}

}  // namespace

Result<void> restart_device(Device& device) { return restart(device.settings, environment_for_programs(device)); }

void restart_after(EngineSettings& settings, std::string_view command, const CommandResult& result) {
  if (!asks_for_restart(result) && !(is_broken(result) && shows_trial(settings))) return;
  settings.sink.restarting(command, result);
  Result<void> restarted = restart(settings, environment_of_device(settings));
  // Asked to end meanwhile: the shutdown has reached us, and may have ended what asked for it.
  if (restarted.has_value() || settings.sink.cancel_requested()) return;
  settings.sink.notice("the device could not be restarted: " + restarted.assume_error().message +
                       "; it is restarted by force");
  restarted = restart_by_force(settings);
  if (!restarted.has_value()) {
    settings.sink.notice(restarted.assume_error().message + "; restart the device by hand");
  }
}

}  // namespace slotkeeper
