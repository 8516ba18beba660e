#include "engine/cli/output.hpp"

#include <cstdlib>
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

namespace slotkeeper::cli {

void StreamOutput::write(std::string_view text) {
  if (broken_ || text.empty()) return;
  if (std::fwrite(text.data(), 1, text.size(), stream_) != text.size() || std::fflush(stream_) != 0) broken_ = true;
}

bool StreamOutput::has_room() const {
  if (broken_) return false;
  pollfd entry{.fd = fileno(stream_), .events = POLLOUT, .revents = 0};
  // A pipe says that it has room when PIPE_BUF bytes fit, which is more than a line of ours.
  return poll(&entry, 1, 0) == 1 && (entry.revents & POLLOUT) != 0;
}

TerminalFacts find_terminal() {
  const char* terminal = std::getenv("TERM");
  const bool capable = terminal != nullptr && std::string_view(terminal) != "dumb" && *terminal != '\0';
  const char* no_colour = std::getenv("NO_COLOR");
  TerminalFacts facts;
  facts.output_is_terminal = capable && isatty(STDOUT_FILENO) == 1;
  facts.error_is_terminal = capable && isatty(STDERR_FILENO) == 1;
  facts.colours = facts.output_is_terminal && (no_colour == nullptr || *no_colour == '\0');
  return facts;
}

unsigned terminal_width() {
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

void occupy_standard_streams() {
  for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (fcntl(descriptor, F_GETFD) != -1) continue;
    // The lowest free number is this one, because those below it are taken.
    if (open("/dev/null", O_RDWR) != descriptor) std::abort();
  }
}

}  // namespace slotkeeper::cli
