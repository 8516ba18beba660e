// From arguments to the engine: one call for each command, no decisions.
#pragma once

#include "engine/cli/arguments.hpp"
#include "engine/cli/reporter.hpp"
#include "partitions/io/host.hpp"
#include "partitions/io/storage.hpp"

namespace slotkeeper::cli {

/// What commands work with.
struct Surroundings {
  io::Storage& storage;
  io::Host& host;
  Reporter& reporter;
};

/// Everything but `help` and `version`.
[[nodiscard]] CommandResult run_command(const Surroundings& surroundings, const Arguments& arguments);

// bundle_commands.cpp
[[nodiscard]] CommandResult create_bundle_file(const Surroundings& surroundings, const Arguments& arguments);
[[nodiscard]] CommandResult show_bundle(const Surroundings& surroundings, const Arguments& arguments);
[[nodiscard]] CommandResult extract_image(const Surroundings& surroundings, const Arguments& arguments);

// signing_commands.cpp
[[nodiscard]] CommandResult sign_bundle(const Surroundings& surroundings, const Arguments& arguments);  // and resign
[[nodiscard]] CommandResult time_stamp_bundle(const Surroundings& surroundings, const Arguments& arguments);

}  // namespace slotkeeper::cli
