#include "engine/cli/commands.hpp"

#include <algorithm>
#include <thread>

#include "engine/bundle/signature.hpp"

namespace slotkeeper::cli {
namespace {

constexpr unsigned int kHelpersMax = 4;  // more need memory and wait for the disk

Helpers helpers_here() { return std::clamp(std::thread::hardware_concurrency(), 1U, kHelpersMax); }

CommandResult run_on_engine(Engine& engine, const Arguments& arguments) {
  switch (arguments.command) {
    case Command::provision:
      return engine.provision(arguments.factory, arguments.force);
    case Command::preflight:
      return engine.preflight(arguments.bundle);
    case Command::compact:
      return engine.compact(arguments.dry_run);
    case Command::install:
      return engine.install({.location = arguments.bundle, .reboot = arguments.reboot, .force = arguments.force});
    case Command::recover:
      return engine.recover({.reboot = arguments.reboot});
    case Command::confirm:
      return engine.confirm({.force = arguments.force, .deadline = arguments.deadline, .reboot = arguments.reboot});
    case Command::rollback:
      return engine.rollback(arguments.to_previous);
    case Command::cancel:
      return engine.cancel();
    case Command::mark:
      return engine.mark(arguments.slot, arguments.mark);
    case Command::status:
      return engine.status();
    case Command::history:
      return engine.history();
    case Command::verify:
      return engine.verify();
    case Command::quarantine_list:
      return engine.quarantine_list();
    case Command::quarantine_clear:
      return engine.quarantine_clear(arguments.quarantine_id);
    case Command::bundle_create:
    case Command::bundle_info:
    case Command::bundle_extract:
    case Command::bundle_sign:
    case Command::bundle_resign:
    case Command::bundle_timestamp:
    case Command::help:
    case Command::version:
      break;
  }
  return failed_command(make_error(Errc::internal, "the command " + arguments.name + " does not work on the device"));
}

bool uses_signatures(Command command) {
  switch (command) {
    case Command::bundle_create:
    case Command::bundle_info:
    case Command::bundle_extract:
    case Command::bundle_sign:
    case Command::bundle_resign:
    case Command::provision:
    case Command::preflight:
    case Command::install:
      return true;
    default:
      return false;
  }
}

}  // namespace

CommandResult run_command(const Surroundings& surroundings, const Arguments& arguments) {
  // Before the first signature fails for a reason that is not its own; `status` says it, too.
  if (uses_signatures(arguments.command))
    if (const auto weakness = bundle::algorithm_weakness()) surroundings.reporter.notice(*weakness);
  switch (arguments.command) {
    case Command::bundle_create:
      return create_bundle_file(surroundings, arguments);
    case Command::bundle_info:
      return show_bundle(surroundings, arguments);
    case Command::bundle_extract:
      return extract_image(surroundings, arguments);
    case Command::bundle_sign:
    case Command::bundle_resign:
      return sign_bundle(surroundings, arguments);
    case Command::bundle_timestamp:
      return time_stamp_bundle(surroundings, arguments);
    default:
      break;
  }
  auto configuration = load_configuration(surroundings.storage, arguments.config);
  if (configuration.has_error()) return failed_command(std::move(configuration).assume_error());
  Engine engine(EngineSettings{.storage = surroundings.storage,
                               .host = surroundings.host,
                               .sink = surroundings.reporter,
                               .configuration = std::move(configuration).assume_value(),
                               .assumed_slot = arguments.booted_slot,
                               .make_boot_control = nullptr,
                               .helpers = helpers_here()});
  return run_on_engine(engine, arguments);
}

}  // namespace slotkeeper::cli
