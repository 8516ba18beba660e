#include "engine/transaction/hooks.hpp"

namespace slotkeeper {
namespace {

Json to_json(const HookRun& run) {
  return JsonObject{{"name", run.name},
                    {"exit", run.exit_status},
                    {"timed_out", run.timed_out},
                    {"output", escape_bytes(run.output)}};
}

void add_to_report(Device& device, const HookRun& run) {
  JsonArray runs;
  const Json report = device.report;
  if (const Json* before = report.find("hooks"); before != nullptr && before->as_array() != nullptr) {
    runs = *before->as_array();
  }
  runs.push_back(to_json(run));
  device.set_report("hooks", std::move(runs));
}

std::vector<std::string> environment_of(const Device& device, const std::string& name) {
  std::vector<std::string> environment = {
      "SLOTKEEPER_HOOK=" + name,
      "SLOTKEEPER_PHASE=" + (device.phase ? std::string(name_of(*device.phase)) : std::string()),
      "SLOTKEEPER_SLOT=" + std::string(name_of(device.booted)), "SLOTKEEPER_PERMANENT=" + device.permanent_path()};
  if (device.record) {
    environment.push_back("SLOTKEEPER_TRANSACTION=" + device.record->id);
    environment.push_back("SLOTKEEPER_TARGET=" + std::string(name_of(device.record->target)));
    environment.push_back("SLOTKEEPER_VERSION=" + device.record->image.version);
  }
  return environment;
}

std::string last_line_of(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text.substr(text.rfind('\n') + 1);
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

std::string HookRun::story() const {
  const std::string line = last_line_of(output);
  return "the hook '" + name + "' " +
         (timed_out ? std::string("did not end in time") : "ended with status " + std::to_string(exit_status)) +
         (line.empty() ? "" : ": " + line);
}

Result<std::optional<HookRun>> run_hook(Device& device, const std::string& name, std::chrono::milliseconds limit,
                                        std::vector<std::string> more) {
  SK_TRY_ASSIGN(const auto hook, find_hook(device.storage(), device.configuration(), name));
  if (!hook) return std::optional<HookRun>();
  std::vector<std::string> environment = environment_of(device, name);
  environment.insert(environment.end(), more.begin(), more.end());
  SK_TRY_ASSIGN(
      auto outcome,
      device.settings.host.run(
          {.executable = *hook, .arguments = {}, .environment = std::move(environment), .time_limit = limit}));
  std::string output = outcome.standard_output + outcome.standard_error;
  if (output.size() > kHookOutputMaxBytes) output.erase(0, output.size() - kHookOutputMaxBytes);
  HookRun run{.name = name,
              .exit_status = outcome.exit_status,
              .timed_out = outcome.timed_out,
              .output = std::move(output),
              .standard_output = std::move(outcome.standard_output)};
  add_to_report(device, run);
  return std::optional(std::move(run));
}

Result<void> reboot_device(Device& device) {
  SK_TRY_ASSIGN(auto run, run_hook(device, "reboot", kRebootHookLimit));
  if (!run) {
    SK_TRY_ASSIGN(
        const auto outcome,
        device.settings.host.run(
            {.executable = "/sbin/reboot", .arguments = {}, .environment = {}, .time_limit = kRebootHookLimit}));
    run = HookRun{.name = "reboot",
                  .exit_status = outcome.exit_status,
                  .timed_out = outcome.timed_out,
                  .output = {},
                  .standard_output = {}};
  }
  if (run->succeeded()) return success();
  return make_error(Errc::internal, run->story());
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
