// The front door: opens the device for a command and closes it again. What the commands do stands in commands/.
#include "engine/transaction/engine.hpp"

#include "engine/transaction/commands/commands.hpp"

namespace slotkeeper {

struct Engine::State {
  EngineSettings settings;
};

Engine::Engine(EngineSettings settings) : state_(new State{std::move(settings)}) {}
Engine::~Engine() = default;

CommandResult Engine::install(const InstallRequest& request) {
  return with_device(state_->settings, OpenFor::writing, [&](Device& device) { return run_install(device, request); });
}

CommandResult Engine::recover() {
  return with_device(state_->settings, OpenFor::recovering, [](Device& device) { return run_recover(device); });
}

CommandResult Engine::confirm(bool force) {
  return with_device(state_->settings, OpenFor::writing, [&](Device& device) { return run_confirm(device, force); });
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

CommandResult Engine::provision(const std::optional<std::string>& factory_bundle, bool force) {
  return provision_device(state_->settings, factory_bundle, force);
}

CommandResult Engine::cancel() { return cancel_running(state_->settings); }

}  // namespace slotkeeper
