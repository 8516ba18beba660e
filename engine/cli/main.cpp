// The program: arguments in, one result out, exit status from the error's code.
#include <new>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "engine/cli/commands.hpp"
#include "engine/cli/help.hpp"
#include "engine/cli/interruption.hpp"

namespace {

using namespace slotkeeper;

// The only exceptions that get here are the standard library's; whatever was going on, its record makes it safe.
CommandResult run_guarded(const cli::Surroundings& surroundings, const cli::Arguments& arguments) {
  try {
    return cli::run_command(surroundings, arguments);
  } catch (const std::bad_alloc&) {
    return failed_command(make_error(Errc::internal, "there is not enough memory"));
  } catch (const std::exception& error) {
    return failed_command(make_error(Errc::internal, error.what()));
  }
}

int run(const std::vector<std::string>& words) {
  const auto host = io::make_posix_host();
  const auto storage = io::make_posix_storage();
  cli::StreamOutput output(stdout);
  cli::StreamOutput error(stderr);
  const auto reporter_for = [&](bool json, bool quiet, bool verbose) {
    return cli::make_reporter({.output = output,
                               .error = error,
                               .now = [&host] { return host->now(); },
                               .monotonic = [&host] { return host->monotonic(); },
                               .cancelled = cli::interruption_requested,
                               .width = cli::terminal_width,
                               .terminal = cli::find_terminal(),
                               .json = json,
                               .quiet = quiet,
                               .verbose = verbose});
  };

  const auto parsed = cli::parse_arguments(words);
  if (parsed.has_error()) {
    const cli::CommandLineOutline outline = cli::outline_of(words);
    const CommandResult result = failed_command(parsed.assume_error());
    reporter_for(outline.json, false, false)->result(outline.command, result);
    return result.exit_status();
  }
  const cli::Arguments& arguments = parsed.assume_value();
  const bool is_text = arguments.command == cli::Command::help || arguments.command == cli::Command::version;
  if (is_text && !arguments.json) {
    output.write(arguments.text);
    return 0;
  }
  const auto reporter = reporter_for(arguments.json, arguments.quiet, arguments.verbose);
  CommandResult result;
  if (is_text) {
    result.extra.emplace_back("text", arguments.text);
  } else {
    result = run_guarded({.storage = *storage, .host = *host, .reporter = *reporter}, arguments);
  }
  reporter->result(arguments.name, result);
  return result.exit_status();
}

/// What is freed goes back to the system, so that one step's lists are not held beside the next one's: by itself the
/// allocator of glibc takes ever larger blocks from its heaps, one for each thread, and keeps what lies below a piece
/// that is still in use. tests/check-inventory-memory measures it.
void give_memory_back() {
#ifdef __GLIBC__
  constexpr int kMappedFromBytes = 128 * 1024;  // the default, which setting it makes permanent
  constexpr int kArenas = 2;
  // Both can only fail for values that glibc does not know; then memory is held longer, nothing else.
  static_cast<void>(mallopt(M_MMAP_THRESHOLD, kMappedFromBytes));
  static_cast<void>(mallopt(M_ARENA_MAX, kArenas));
#endif
}

}  // namespace

int main(int argc, char** argv) {
  give_memory_back();
  slotkeeper::cli::occupy_standard_streams();
  slotkeeper::cli::handle_interruptions();
  try {
    return run(std::vector<std::string>(argv + (argc > 0 ? 1 : 0), argv + argc));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "slotkeeper: internal error: %s\n", error.what());
    return 1;
  }
}
