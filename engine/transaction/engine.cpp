// The front door: opens the device for a command and closes it again. What the commands do stands in commands/.
#include "engine/transaction/engine.hpp"

#include "engine/transaction/commands/commands.hpp"
#include "engine/transaction/restart.hpp"

namespace slotkeeper {

struct Engine::State {
  EngineSettings settings;
};

Engine::Engine(EngineSettings settings) : state_(new State{std::move(settings)}) {
  // Nothing may go on in a pause.
  if (state_->settings.configuration.install.gentle) state_->settings.helpers = 0;
}
Engine::~Engine() = default;

CommandResult Engine::install(const InstallRequest& request) {
  return with_device(state_->settings, OpenFor::writing, [&](Device& device) { return run_install(device, request); });
}

CommandResult Engine::recover(const RecoverRequest& request) {
  EngineSettings& settings = state_->settings;
  CommandResult result = with_device(settings, OpenFor::recovering, [](Device& device) { return run_recover(device); });
  if (request.reboot) restart_after(settings, "recover", result);
  return result;
}

CommandResult Engine::confirm(const ConfirmRequest& request) {
  EngineSettings& settings = state_->settings;
  CommandResult result =
      request.deadline
          ? end_overdue_trial(settings)
          : with_device(settings, OpenFor::writing, [&](Device& device) { return run_confirm(device, request.force); });
  if (request.reboot) restart_after(settings, "confirm", result);
  return result;
}

CommandResult Engine::rollback(bool to_previous) {
  return with_device(state_->settings, OpenFor::writing,
                     [&](Device& device) { return run_rollback(device, to_previous); });
}

CommandResult Engine::mark(SlotId slot, SlotMark mark) {
  return with_device(state_->settings, OpenFor::writing, [&](Device& device) { return run_mark(device, slot, mark); });
}

CommandResult Engine::compact(bool dry_run) {
  return with_device(state_->settings, dry_run ? OpenFor::reading : OpenFor::writing,
                     [&](Device& device) { return run_compact(device, dry_run); });
}

CommandResult Engine::preflight(const std::string& location) {
  return with_device(state_->settings, OpenFor::reading,
                     [&](Device& device) { return report_preflight(device, location); });
}

CommandResult Engine::status() {
  return with_device(state_->settings, OpenFor::reading, [](Device& device) { return report_status(device); });
}

CommandResult Engine::history() {
  return with_device(state_->settings, OpenFor::reading, [](Device& device) { return report_history(device); });
}

CommandResult Engine::verify() {
  return with_device(state_->settings, OpenFor::reading, [](Device& device) { return verify_device(device); });
}

CommandResult Engine::quarantine_list() {
  return with_device(state_->settings, OpenFor::reading, [](Device& device) { return report_quarantine(device); });
}

CommandResult Engine::quarantine_clear(const std::optional<std::string>& id) {
  return with_device(state_->settings, OpenFor::writing, [&](Device& device) { return clear_quarantine(device, id); });
}

CommandResult Engine::provision(const std::optional<std::string>& factory_bundle, bool force) {
  return provision_device(state_->settings, factory_bundle, force);
}

CommandResult Engine::cancel() { return cancel_running(state_->settings); }

}  // namespace slotkeeper
