#include "tests/vm/virtual_machine.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace slotkeeper::test {
namespace {

constexpr std::size_t kStoryLines = 60;
constexpr const char* kMemoryMib = "384";

std::string drive_argument(const VirtualMachine::Drive& drive) {
  std::string text = "file=" + drive.file + ",format=raw,if=virtio,file.locking=off";
  if (drive.read_only) text += ",readonly=on";
  if (drive.direct) text += ",cache.direct=on";
  return text;
}

}  // namespace

VirtualMachine::VirtualMachine(const std::vector<std::string>& bootloader_arguments, const std::vector<Drive>& drives) {
  std::vector<std::string> words = {"/usr/bin/qemu-system-x86_64",
                                    "-accel",
                                    "tcg",
                                    "-m",
                                    kMemoryMib,
                                    "-nographic",
                                    "-nodefaults",
                                    "-serial",
                                    "stdio"};
  words.insert(words.end(), bootloader_arguments.begin(), bootloader_arguments.end());
  for (const Drive& drive : drives) {
    words.emplace_back("-drive");
    words.push_back(drive_argument(drive));
  }
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);

  int to[2];
  int from[2];
  if (::pipe2(to, O_CLOEXEC) != 0) throw std::runtime_error("no pipe for the machine");
  if (::pipe2(from, O_CLOEXEC) != 0) throw std::runtime_error("no pipe for the machine");
  process_ = ::fork();
  if (process_ < 0) throw std::runtime_error("the machine cannot be started");
  if (process_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // no machine outlives its test
    ::signal(SIGPIPE, SIG_DFL);
    if (::dup2(to[0], 0) == 0 && ::dup2(from[1], 1) == 1 && ::dup2(from[1], 2) == 2)
      ::execv(words[0].c_str(), arguments.data());
    ::_exit(127);
  }
  ::close(to[0]);
  ::close(from[1]);
  input_ = to[1];
  output_ = from[0];
  ::signal(SIGPIPE, SIG_IGN);  // a machine that is off does not end the test by a signal
  reader_ = std::thread([this] { read_console(); });
}

VirtualMachine::~VirtualMachine() {
  cut_power();
  ::close(input_);
  ::close(output_);
}

void VirtualMachine::read_console() {
  char buffer[4096];
  for (;;) {
    const ssize_t count = ::read(output_, buffer, sizeof buffer);
    if (count < 0 && errno == EINTR) continue;
    const std::lock_guard lock(mutex_);
    if (count <= 0) break;
    take(std::string_view(buffer, static_cast<std::size_t>(count)));
    changed_.notify_all();
  }
  const std::lock_guard lock(mutex_);
  is_over_ = true;
  changed_.notify_all();
}

void VirtualMachine::take(std::string_view bytes) {
  for (const char c : bytes) {
    if (c == '\n') {
      lines_.push_back(std::move(begun_));
      begun_.clear();
    } else if (c != '\r' && c != '\0') {
      begun_ += c;
    }
  }
}

std::string VirtualMachine::wait_for(const std::vector<std::string>& texts, std::chrono::seconds limit) {
  const auto until = std::chrono::steady_clock::now() + limit;
  std::unique_lock lock(mutex_);
  for (;;) {
    for (; waited_up_to_ < lines_.size(); ++waited_up_to_) {
      const std::string& line = lines_[waited_up_to_];
      if (std::ranges::any_of(texts, [&](const std::string& text) { return line.find(text) != std::string::npos; })) {
        return lines_[waited_up_to_++];
      }
    }
    const bool is_late = !is_over_ && changed_.wait_until(lock, until) == std::cv_status::timeout;
    if ((is_late || is_over_) && waited_up_to_ == lines_.size()) {
      const std::string wanted =
          "the machine " + std::string(is_over_ ? "ended" : "did not say in time") + " before '" + texts.at(0) + "'";
      lock.unlock();
      throw MachineFailure(wanted + "; its console:\n" + story());
    }
  }
}

void VirtualMachine::send(const std::string& line) {
  const std::string text = line + "\n";
  for (std::size_t done = 0; done < text.size();) {
    const ssize_t count = ::write(input_, text.data() + done, text.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) throw MachineFailure("the machine takes no input; its console:\n" + story());
    done += static_cast<std::size_t>(count);
  }
}

void VirtualMachine::wait_for_end(std::chrono::seconds limit) {
  {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, limit, [this] { return is_over_; })) {
      lock.unlock();
      throw MachineFailure("the machine does not switch itself off; its console:\n" + story());
    }
  }
  cut_power();
}

void VirtualMachine::cut_power() {
  if (process_ <= 0) return;
  ::kill(process_, SIGKILL);
  while (::waitpid(process_, nullptr, 0) < 0 && errno == EINTR) continue;
  process_ = -1;
  reader_.join();
}

std::vector<std::string> VirtualMachine::lines() const {
  const std::lock_guard lock(mutex_);
  return lines_;
}

std::size_t VirtualMachine::count_of(std::string_view text) const {
  const std::lock_guard lock(mutex_);
  return static_cast<std::size_t>(
      std::ranges::count_if(lines_, [&](const std::string& line) { return line.find(text) != std::string::npos; }));
}

std::optional<std::uint64_t> VirtualMachine::last_number_after(std::string_view text) const {
  const std::lock_guard lock(mutex_);
  for (std::size_t i = lines_.size(); i-- > 0;) {
    const std::size_t at = lines_[i].find(text);
    if (at == std::string::npos) continue;
    const std::string digits = lines_[i].substr(at + text.size());
    if (!digits.empty() && digits[0] >= '0' && digits[0] <= '9') return std::stoull(digits);
  }
  return std::nullopt;
}

std::string VirtualMachine::story() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> shown;
  for (std::size_t i = lines_.size(); i-- > 0 && shown.size() < kStoryLines;) {
    // Steady lines would push out everything else.
    if (lines_[i].find("SK: log ") != std::string::npos && lines_[i].find("with") == std::string::npos) continue;
    if (lines_[i].find("\"event\":\"progress\"") != std::string::npos) continue;
    if (!lines_[i].empty()) shown.push_back(lines_[i].substr(0, 600));
  }
  std::string text;
  for (std::size_t i = shown.size(); i-- > 0;) text += "  | " + shown[i] + "\n";
  return text + "  | " + begun_ + "\n";
}

}  // namespace slotkeeper::test
