// The machine as it is.
#include <condition_variable>
#include <csignal>
#include <ctime>
#include <mutex>
#include <sys/random.h>
#include <system_error>
#include <thread>
#include <unistd.h>

#include "partitions/io/host.hpp"
#include "partitions/io/posix_call.hpp"
#include "partitions/io/posix_machine.hpp"
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

/// A thread that takes no signals: those are for the one that works.
class ThreadRepetition final : public Repetition {
 public:
  ThreadRepetition(std::chrono::milliseconds interval, std::function<void()> task)
      : interval_(interval), task_(std::move(task)) {
    sigset_t all;
    sigset_t before;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    try {
      thread_ = std::thread([this] { run(); });
    } catch (const std::system_error&) {
      // No thread to be had; is_running tells.
    }
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }
  ~ThreadRepetition() override {
    {
      const std::lock_guard lock(mutex_);
      over_ = true;
    }
    woken_.notify_all();
    if (thread_.joinable()) thread_.join();
  }
  [[nodiscard]] bool is_running() const { return thread_.joinable(); }

 private:
  void run() {
    std::unique_lock lock(mutex_);
    while (!woken_.wait_for(lock, interval_, [this] { return over_; })) {
      lock.unlock();
      task_();
      lock.lock();
    }
  }

  std::chrono::milliseconds interval_;
  std::function<void()> task_;
  std::mutex mutex_;
  std::condition_variable woken_;
  bool over_ = false;
  std::thread thread_;
};

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

  std::unique_ptr<Repetition> repeat(std::chrono::milliseconds interval, const std::function<void()>& task) override {
    auto repetition = std::make_unique<ThreadRepetition>(interval, task);
    if (!repetition->is_running()) return nullptr;
    return repetition;
  }

  std::optional<MachineWork> work_done() override { return posix_work_done(); }
  Result<Priority> set_priority(const Priority& wanted) override { return set_posix_priority(wanted); }

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
