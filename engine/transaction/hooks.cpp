#include "engine/transaction/hooks.hpp"

namespace slotkeeper {
namespace {

void add_to_report(Device& device, const ProgramRun& run) {
  JsonArray runs;
  const Json report = device.report;
  if (const Json* before = report.find("hooks"); before != nullptr && before->as_array() != nullptr) {
    runs = *before->as_array();
  }
  runs.push_back(to_json(run));
  device.set_report("hooks", std::move(runs));
}

std::vector<std::string> environment_of(const Device& device, const std::string& name) {
  std::vector<std::string> environment = environment_for_programs(device);
  environment.push_back("SLOTKEEPER_HOOK=" + name);
  environment.push_back("SLOTKEEPER_PHASE=" + (device.phase ? std::string(name_of(*device.phase)) : std::string()));
  return environment;
}

void resume(Device& device) {
  const auto run = run_hook(device, "resume", kHookLimit);
  if (!run.has_value()) {
    device.sink().notice("the hook 'resume' could not be run: " + run.assume_error().message);
  } else if (run.assume_value() && !run.assume_value()->succeeded()) {
    device.sink().notice(run.assume_value()->story() + "; look whether the services of this device run");
  }
}

}  // namespace

Result<std::optional<ProgramRun>> run_hook(Device& device, const std::string& name, std::chrono::milliseconds limit,
                                           std::vector<std::string> more) {
  SK_TRY_ASSIGN(const auto hook, find_hook(device.storage(), device.configuration(), name));
  if (!hook) return std::optional<ProgramRun>();
  std::vector<std::string> environment = environment_of(device, name);
  environment.insert(environment.end(), more.begin(), more.end());
  SK_TRY_ASSIGN(auto run, run_program(device.settings.host, "hook", *hook, std::move(environment), limit));
  add_to_report(device, run);
  return std::optional(std::move(run));
}

Result<std::unique_ptr<QuietTime>> QuietTime::begin(Device& device) {
  SK_INVARIANT(device.has_open_transaction());
  device.record->armed_boot_id = device.boot_id;
  SK_TRY(device.save_record());
  std::unique_ptr<QuietTime> quiet(new QuietTime(device));
  SK_TRY_ASSIGN(const auto hook, find_hook(device.storage(), device.configuration(), "quiesce"));
  if (!hook) return quiet;
  quiet->is_open_ = true;  // from before it starts: one that fails half-way is taken back as well
  SK_TRY_ASSIGN(const auto run, run_hook(device, "quiesce", kHookLimit,
                                         {"SLOTKEEPER_QUIESCE_LIMIT_S=" + std::to_string(kQuiesceLimit.count())}));
  if (!run || run->succeeded()) return quiet;
  quiet->end();
  return make_error(Errc::config_drift,
                    "the services of this device could not be held still for the last check: " + run->story())
      .with_detail({"hook", run->name})
      .with_detail({"exit", static_cast<std::int64_t>(run->exit_status)});
}

void QuietTime::end() {
  if (!is_open_) return;
  is_open_ = false;
  resume(device_);
}

bool may_be_quiet(const Device& device) {
  if (!device.has_open_transaction() || device.record->armed_boot_id != device.boot_id) return false;
  return device.record->state == State::staged || device.record->state == State::arming;
}

void end_quiet_time_of_others(Device& device) {
  if (device.resumed || !may_be_quiet(device)) return;
  device.resumed = true;
  const auto hook = find_hook(device.storage(), device.configuration(), "quiesce");
  if (hook.has_value() && !hook.assume_value()) return;
  device.sink().notice("an earlier command ended while the services of this device were held still; they go on now");
  resume(device);
}

}  // namespace slotkeeper
