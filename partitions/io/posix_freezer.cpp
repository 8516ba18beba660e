// Between FIFREEZE and FITHAW nothing here allocates, opens, or touches memory that is not locked: whatever would wait
// for the frozen filesystem would wait for ever.
#include "partitions/io/posix_freezer.hpp"

#include <cerrno>
#include <ctime>
#include <linux/fs.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace slotkeeper::io {
namespace {

constexpr int kCommands = 0;
constexpr int kReports = 1;
constexpr int kFilesystem = 2;
constexpr int kFirstClosed = 3;
constexpr std::int64_t kNanosecondsPerMillisecond = 1'000'000;

std::int64_t now_ns() {
  struct timespec time {};
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

/// Nobody may be left to read it; the freezer goes on all the same.
void tell(const FreezerReport& report) {
  while (::write(kReports, &report, sizeof report) < 0 && errno == EINTR) continue;
}

[[noreturn]] void give_up(int os_errno) {
  tell({.kind = FreezerReport::Kind::failed, .os_errno = os_errno});
  ::_exit(1);
}

void close_the_rest(int descriptors_max) {
#ifdef SYS_close_range
  if (::syscall(SYS_close_range, kFirstClosed, ~0U, 0U) == 0) return;
#endif
  for (int number = kFirstClosed; number < descriptors_max; ++number) ::close(number);  // kernels before 5.9
}

/// Waits for a byte until `deadline_ns`; 0 stands for the end of the pipe, -1 for the deadline.
int await_command(std::int64_t deadline_ns) {
  for (;;) {
    const std::int64_t rest_ns = deadline_ns - now_ns();
    if (rest_ns <= 0) return -1;
    struct pollfd wait = {.fd = kCommands, .events = POLLIN, .revents = 0};
    const auto rest_ms = (rest_ns + kNanosecondsPerMillisecond - 1) / kNanosecondsPerMillisecond;
    if (::poll(&wait, 1, static_cast<int>(rest_ms)) <= 0) continue;
    char command = 0;
    const ssize_t count = ::read(kCommands, &command, 1);
    if (count < 0 && errno == EINTR) continue;
    return count == 1 ? command : 0;
  }
}

/// What the kernel said to the last of several attempts: there is nothing that could be done instead.
int thaw() {
  constexpr int kAttempts = 200;
  constexpr int kPauseMs = 10;
  int failure = 0;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    if (::ioctl(kFilesystem, FITHAW, 0) == 0) return 0;
    failure = errno;
    if (failure == EINVAL) return failure;  // it is not frozen
    ::poll(nullptr, 0, kPauseMs);
  }
  return failure;
}

}  // namespace

void live_as_freezer(const FreezerPlan& plan) {
  ::setsid();
  ::prctl(PR_SET_NAME, "slotkeeper-frz", 0, 0, 0);
  // Ours among them: a lock on the state store must not outlive the engine by us.
  if (::dup2(plan.commands, kCommands) < 0 || ::dup2(plan.reports, kReports) < 0 ||
      ::dup2(plan.filesystem, kFilesystem) < 0) {
    ::_exit(1);
  }
  close_the_rest(plan.descriptors_max);
  // What is there stays there, and what comes is kept: copying the engine's whole memory would take long for nothing.
  if (::mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0) give_up(errno);
  // Every call of the frozen time once before it, so that its pages are in.
  if (await_command(now_ns() + 1) == 0) ::_exit(0);
  ::poll(nullptr, 0, 0);
  tell({.kind = FreezerReport::Kind::ready});
  constexpr std::int64_t kIdleNs = std::int64_t{60} * 1'000'000'000;
  if (await_command(now_ns() + kIdleNs) != static_cast<char>(FreezerCommand::freeze)) ::_exit(0);

  const std::int64_t begin_ns = now_ns();
  if (::ioctl(kFilesystem, FIFREEZE, 0) != 0) give_up(errno);
  tell({.kind = FreezerReport::Kind::frozen});
  const bool time_was_up = await_command(begin_ns + plan.limit_ns) == -1;
  const int failure = thaw();
  tell({.kind = FreezerReport::Kind::thawed,
        .os_errno = failure,
        .time_was_up = time_was_up ? 1U : 0U,
        .held_ns = now_ns() - begin_ns});
  ::_exit(failure == 0 ? 0 : 1);
}

}  // namespace slotkeeper::io
