#include "engine/cli/interruption.hpp"

#include <atomic>
#include <csignal>

namespace slotkeeper::cli {
namespace {

// The one piece of state that the process has: a signal handler can reach nothing else.
std::atomic<bool> requested{false};
static_assert(std::atomic<bool>::is_always_lock_free);

void request(int /*signal*/) { requested.store(true); }

void set_action(int signal, void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(signal, &action, nullptr);  // fails for invalid signal numbers only
}

}  // namespace

void handle_interruptions() {
  set_action(SIGINT, request);
  set_action(SIGTERM, request);
  set_action(SIGPIPE, SIG_IGN);
  set_action(SIGHUP, SIG_IGN);
}

bool interruption_requested() { return requested.load(); }

}  // namespace slotkeeper::cli
