#include "tests/support/live_writer.hpp"

#include <atomic>
#include <csignal>
#include <fcntl.h>
#include <new>
#include <stdexcept>
#include <string>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace slotkeeper::test {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kLook = std::chrono::milliseconds(1);

std::int64_t now_ns() { return Clock::now().time_since_epoch().count(); }

template <class Condition>
bool comes_true(Condition condition, std::chrono::milliseconds limit) {
  for (const auto end = Clock::now() + limit; Clock::now() < end; std::this_thread::sleep_for(kLook)) {
    if (condition()) return true;
  }
  return condition();
}

}  // namespace

struct LiveWriter::Shared {
  std::atomic<std::uint64_t> steps{0};
  std::atomic<std::int64_t> longest_ns{0};
  std::atomic<std::int64_t> began_ns{0};  ///< of the present step; 0 between two
};

LiveWriter::LiveWriter(Step step, std::chrono::microseconds pause) {
  void* const memory = ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::runtime_error("no memory for a writer");
  shared_ = new (memory) Shared;
  process_ = ::fork();
  if (process_ < 0) throw std::runtime_error("no process for a writer");
  if (process_ > 0) return;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  for (std::uint64_t number = 0;; ++number) {
    const std::int64_t began = now_ns();
    shared_->began_ns = began;
    step(number);
    const std::int64_t took = now_ns() - began;
    shared_->began_ns = 0;
    if (took > shared_->longest_ns) shared_->longest_ns = took;
    ++shared_->steps;
    if (pause.count() != 0) std::this_thread::sleep_for(pause);
  }
}

LiveWriter::~LiveWriter() {
  stop();
  ::munmap(shared_, sizeof(Shared));
}

void LiveWriter::stop() {
  if (process_ <= 0) return;
  ::kill(process_, SIGKILL);
  ::waitpid(process_, nullptr, 0);
  process_ = -1;
  shared_->began_ns = 0;
}

std::uint64_t LiveWriter::steps() const { return shared_->steps; }

std::chrono::nanoseconds LiveWriter::waiting() const {
  const std::int64_t began = shared_->began_ns;
  return std::chrono::nanoseconds(began == 0 ? 0 : now_ns() - began);
}

std::chrono::nanoseconds LiveWriter::longest() const {
  return std::max(std::chrono::nanoseconds(shared_->longest_ns), waiting());
}

bool LiveWriter::does(std::uint64_t more, std::chrono::milliseconds limit) const {
  const std::uint64_t wanted = steps() + more;
  return comes_true([&] { return steps() >= wanted; }, limit);
}

bool LiveWriter::waits(std::chrono::milliseconds at_least, std::chrono::milliseconds limit) const {
  return comes_true([&] { return waiting() >= at_least; }, limit);
}

void append_line(const std::string& path, const std::string& line, bool sync) {
  const int file = ::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
  if (file < 0) return;
  const std::string text = line + "\n";
  if (::write(file, text.data(), text.size()) < 0) {  // a full partition is nothing to a writer
    ::close(file);
    return;
  }
  if (sync) ::fsync(file);
  ::close(file);
}

}  // namespace slotkeeper::test
