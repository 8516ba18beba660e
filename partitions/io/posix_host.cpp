// The machine as it is.
#include <csignal>
#include <ctime>
#include <sys/random.h>
#include <unistd.h>

#include "partitions/io/host.hpp"
#include "partitions/io/posix_call.hpp"
#include "partitions/io/posix_process.hpp"
#include "partitions/io/storage.hpp"

namespace slotkeeper::io {
namespace {

struct timespec read_clock(clockid_t clock) {
  struct timespec time {};
  SK_INVARIANT(::clock_gettime(clock, &time) == 0);
  return time;
}

std::chrono::nanoseconds duration(const struct timespec& time) {
  return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

class PosixHost final : public Host {
 public:
  TimeStamp now() override {
    const struct timespec time = read_clock(CLOCK_REALTIME);
    return {.seconds = time.tv_sec, .nanoseconds = static_cast<std::int32_t>(time.tv_nsec)};
  }
  std::chrono::nanoseconds monotonic() override { return duration(read_clock(CLOCK_MONOTONIC)); }
  std::chrono::nanoseconds since_boot() override { return duration(read_clock(CLOCK_BOOTTIME)); }

  void sleep(std::chrono::nanoseconds length) override {
    // Until a point in time, so that signals on the way do not make it longer.
    const auto end = monotonic() + length;
    const auto whole = std::chrono::duration_cast<std::chrono::seconds>(end);
    const struct timespec until = {.tv_sec = whole.count(), .tv_nsec = (end - whole).count()};
    while (::clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr) == EINTR) continue;
  }

  Result<std::string> boot_id() override {
    constexpr std::size_t kLimitBytes = 64;  // a UUID and a newline
    SK_TRY_ASSIGN(std::string id, make_posix_storage()->read_text("/proc/sys/kernel/random/boot_id", kLimitBytes));
    while (!id.empty() && id.back() == '\n') id.pop_back();
    return id;
  }

  Result<void> random(Bytes into) override {
    for (std::size_t done = 0; done < into.size();) {
      const ssize_t count = uninterrupted([&] { return ::getrandom(into.data() + done, into.size() - done, 0); });
      if (count < 0) return call_failed("getrandom", "random bytes", errno);
      done += static_cast<std::size_t>(count);
    }
    return success();
  }

  Result<void> ask_to_end(int process) override {
    const std::string name = "process " + std::to_string(process);
    // Zero and below would mean whole groups of processes.
    if (process <= 0) return call_failed("kill", name, ESRCH);
    if (::kill(process, SIGTERM) != 0) return call_failed("kill", name, errno);
    return success();
  }

  Result<ProcessOutcome> run(const ProcessRequest& request) override { return run_process(request); }
};

}  // namespace

std::unique_ptr<Host> make_posix_host() { return std::make_unique<PosixHost>(); }

}  // namespace slotkeeper::io
