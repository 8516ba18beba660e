#include "partitions/io/posix_freeze.hpp"

#include <algorithm>
#include <csignal>
#include <fcntl.h>
#include <linux/fs.h>
#include <optional>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "partitions/io/posix_freezer.hpp"
#include "partitions/io/posix_pipe.hpp"

namespace slotkeeper::io {
namespace {

using Clock = std::chrono::steady_clock;

constexpr auto kReadyWait = std::chrono::seconds(5);
// A kernel that is busy writing back answers late, and nothing can make it stop.
constexpr auto kAnswerWait = std::chrono::seconds(60);
// A freezer that has frozen is awake; one that does not answer was stopped, and everybody waits.
constexpr auto kThawWait = std::chrono::seconds(1);
constexpr auto kReapWait = std::chrono::seconds(5);
constexpr const char* kGroupName = "/slotkeeper-freezer";

/// Moves a process into control groups of its own, so that what ends or stops ours does not end or stop it. As far as
/// the machine allows; nothing depends on it but how much survives. Returns the groups that were made.
std::vector<std::string> move_to_own_groups(Storage& storage, pid_t process) {
  std::vector<std::string> made;
  const auto mounts = storage.mounts();
  if (!mounts.has_value()) return made;
  for (const Mount& mount : mounts.assume_value()) {
    if (mount.filesystem != "cgroup" && mount.filesystem != "cgroup2") continue;
    const std::string group = mount.mount_point + kGroupName;
    if (::mkdir(group.c_str(), 0755) != 0 && errno != EEXIST) continue;
    made.push_back(group);
    const Descriptor members = open_at(AT_FDCWD, group + "/cgroup.procs", O_WRONLY, 0);
    const std::string number = std::to_string(process);
    if (members.is_open() && ::write(members.number(), number.data(), number.size()) < 0) continue;
  }
  return made;
}

/// Kernel: EINVAL when it is not frozen.
int thaw_by(const Descriptor& filesystem) {
  const int outcome = uninterrupted([&] { return ::ioctl(filesystem.number(), FITHAW, 0); });
  return outcome == 0 ? 0 : errno;
}

Error stays_frozen(const std::string& path, int os_errno) {
  return make_error(Errc::io_error,
                    path + " could not be thawed, so whoever writes there waits; run 'fsfreeze --unfreeze " + path +
                        "' or restart the device",
                    os_errno);
}

class PosixFreeze final : public Freeze {
 public:
  PosixFreeze(std::string path, Descriptor filesystem, std::chrono::milliseconds limit)
      : path_(std::move(path)), filesystem_(std::move(filesystem)), limit_(limit) {}

  ~PosixFreeze() override {
    if (began_ && !answer_) static_cast<void>(thaw().has_value());  // who wanted to know has asked
    end_process();
    for (const std::string& group : groups_) ::rmdir(group.c_str());
  }

  /// Starts the freezer and lets it freeze.
  Result<void> begin(Storage& storage) {
    SK_TRY(start());
    groups_ = move_to_own_groups(storage, process_);
    SK_TRY_ASSIGN(const auto ready, await(Clock::now() + kReadyWait));
    if (!ready) return lost("did not get ready", ETIMEDOUT);
    if (ready->kind != FreezerReport::Kind::ready) return lost("could not lock its memory", ready->os_errno);
    began_at_ = Clock::now();
    began_ = true;
    tell(FreezerCommand::freeze);
    SK_TRY_ASSIGN(const auto frozen, await(began_at_ + limit_));
    frozen_ = frozen && frozen->kind == FreezerReport::Kind::frozen;
    if (frozen_) return success();
    if (!frozen) {
      // Either it died, or the kernel is still writing back while everybody waits. No longer than it must.
      SK_TRY(thaw());
      return make_error(Errc::io_error, path_ + " could not be frozen in time", ETIMEDOUT);
    }
    began_ = false;
    return call_failed("FIFREEZE", path_, frozen->os_errno);
  }

  bool holds() override {
    if (answer_ || Clock::now() >= began_at_ + limit_) return false;
    struct pollfd wait = {.fd = reports_.number(), .events = POLLIN, .revents = 0};
    return ::poll(&wait, 1, 0) == 0;
  }

  Result<ThawFacts> thaw() override {
    if (answer_) return *answer_;
    answer_ = thaw_once();
    return *answer_;
  }

  [[nodiscard]] int freezer() const override { return process_; }

 private:
  Result<void> start() {
    SK_TRY_ASSIGN(Pipe commands, make_pipe("freezing " + path_));
    SK_TRY_ASSIGN(Pipe reports, make_pipe("freezing " + path_));
    const Descriptor filesystem(::fcntl(filesystem_.number(), F_DUPFD_CLOEXEC, 3));
    if (!filesystem.is_open()) return call_failed("fcntl F_DUPFD", path_, errno);
    struct rlimit descriptors {};
    constexpr rlim_t kDescriptorsMax = 1 << 20;
    if (::getrlimit(RLIMIT_NOFILE, &descriptors) != 0) return call_failed("getrlimit", path_, errno);
    const FreezerPlan plan{
        .filesystem = filesystem.number(),
        .commands = commands.read_end.number(),
        .reports = reports.write_end.number(),
        .descriptors_max = static_cast<int>(std::min(descriptors.rlim_cur, kDescriptorsMax)),
        .limit_ns = std::chrono::duration_cast<std::chrono::nanoseconds>(limit_).count(),
    };
    // They stay blocked in the freezer: a signal to everybody must not end it while it holds a freeze.
    sigset_t all, before;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    process_ = ::fork();
    if (process_ == 0) live_as_freezer(plan);
    const int fork_failure = errno;
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    if (process_ < 0) return call_failed("fork", "freezing " + path_, fork_failure);
    commands_ = std::move(commands.write_end);
    reports_ = std::move(reports.read_end);
    return success();
  }

  void tell(FreezerCommand command) {
    // One that is gone shows on the other pipe. SIGPIPE must not end us here, whatever the program does about it.
    sigset_t pipe, before;
    ::sigemptyset(&pipe);
    ::sigaddset(&pipe, SIGPIPE);
    ::pthread_sigmask(SIG_BLOCK, &pipe, &before);
    const char byte = static_cast<char>(command);
    const bool gone = ::write(commands_.number(), &byte, 1) < 0 && errno == EPIPE;
    const struct timespec at_once {};
    if (gone) ::sigtimedwait(&pipe, nullptr, &at_once);
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

  /// The next report; nothing when the freezer ended without one or the deadline came first.
  Result<std::optional<FreezerReport>> await(Clock::time_point deadline) {
    for (;;) {
      const auto rest = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
      if (rest <= 0) return std::optional<FreezerReport>();
      struct pollfd wait = {.fd = reports_.number(), .events = POLLIN, .revents = 0};
      const int ready = ::poll(&wait, 1, static_cast<int>(rest));
      if (ready < 0 && errno != EINTR) return call_failed("poll", "freezing " + path_, errno);
      if (ready <= 0) continue;
      FreezerReport report;
      const ssize_t count = uninterrupted([&] { return ::read(reports_.number(), &report, sizeof report); });
      if (count != sizeof report) return std::optional<FreezerReport>();
      return std::optional(report);
    }
  }

  Result<ThawFacts> thaw_once() {
    tell(FreezerCommand::thaw);
    commands_ = Descriptor();
    std::optional<FreezerReport> report;
    do {
      SK_TRY_ASSIGN(report, await(Clock::now() + (frozen_ ? kThawWait : kAnswerWait)));
    } while (report && report->kind == FreezerReport::Kind::frozen);
    if (report && report->kind == FreezerReport::Kind::failed) return ThawFacts{};  // it never froze
    if (report && (report->os_errno == 0 || report->os_errno == EINVAL)) {
      return ThawFacts{.held = std::chrono::nanoseconds(report->held_ns),
                       .ended_by = report->os_errno != 0      ? FreezeEnd::somebody_else
                                   : report->time_was_up != 0 ? FreezeEnd::time_up
                                                              : FreezeEnd::asked};
    }
    // It is dead, does not answer, or could not thaw.
    ::kill(process_, SIGKILL);
    const int failure = thaw_by(filesystem_);
    if (failure != 0 && failure != EINVAL) return stays_frozen(path_, failure);
    return ThawFacts{.held = Clock::now() - began_at_, .ended_by = FreezeEnd::freezer_died};
  }

  Error lost(const char* what, int os_errno) {
    return make_error(Errc::io_error, "the process that was to freeze " + path_ + " " + what, os_errno);
  }

  void end_process() {
    commands_ = Descriptor();
    if (process_ <= 0) return;
    const auto deadline = Clock::now() + kReapWait;
    int status = 0;
    while (::waitpid(process_, &status, WNOHANG) == 0) {
      if (Clock::now() >= deadline) return;  // in the kernel's hands; init takes it
      if (!began_) ::kill(process_, SIGKILL);
      ::poll(nullptr, 0, 1);
    }
  }

  std::string path_;
  Descriptor filesystem_;
  std::chrono::milliseconds limit_;
  Descriptor commands_;
  Descriptor reports_;
  std::vector<std::string> groups_;
  pid_t process_ = -1;
  bool began_ = false;
  bool frozen_ = false;
  Clock::time_point began_at_;
  std::optional<Result<ThawFacts>> answer_;
};

Result<Descriptor> open_filesystem(const std::string& path) {
  Descriptor opened = open_at(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0);
  if (!opened.is_open()) return call_failed("open", path, errno);
  return opened;
}

}  // namespace

Result<std::unique_ptr<Freeze>> freeze_filesystem(Storage& storage, const std::string& path,
                                                  std::chrono::milliseconds limit) {
  SK_TRY_ASSIGN(Descriptor filesystem, open_filesystem(path));
  auto freeze = std::make_unique<PosixFreeze>(path, std::move(filesystem), limit);
  SK_TRY(freeze->begin(storage));
  return std::unique_ptr<Freeze>(std::move(freeze));
}

Result<bool> thaw_filesystem(const std::string& path) {
  SK_TRY_ASSIGN(const Descriptor filesystem, open_filesystem(path));
  const int failure = thaw_by(filesystem);
  if (failure == 0) return true;
  for (const int not_frozen : {EINVAL, EOPNOTSUPP, ENOTTY, EPERM})
    if (failure == not_frozen) return false;
  return stays_frozen(path, failure);
}

}  // namespace slotkeeper::io
