#include "tests/support/log_service.hpp"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <optional>
#include <stdexcept>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/log_lines.hpp"

namespace slotkeeper::test {
namespace {

constexpr int kFailuresAtTheEndMax = 500;

std::uint32_t checksum(std::string_view text) {
  std::uint32_t sum = 2166136261u;
  for (const char c : text) sum = (sum ^ static_cast<unsigned char>(c)) * 16777619u;
  return sum;
}

std::string text_of(const std::string& name) { return name + " service event, connection state unchanged"; }

std::uint64_t now_us() {
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now().time_since_epoch())
          .count());
}

/// Number of a rotated segment: NAME.log.N or NAME.log.N.zst; nothing for other names.
std::optional<unsigned int> segment_number(const std::string& file, const std::string& name) {
  const std::string stem = name + ".log.";
  if (!file.starts_with(stem)) return std::nullopt;
  std::string digits = file.substr(stem.size());
  if (digits.ends_with(".zst")) digits.resize(digits.size() - 4);
  if (digits.empty() || digits.size() > 6 || digits.find_first_not_of("0123456789") != std::string::npos) {
    return std::nullopt;
  }
  return static_cast<unsigned int>(std::stoul(digits));
}

}  // namespace

struct LogService::Shared {
  std::atomic<std::uint64_t> acknowledged;
  std::atomic<std::uint64_t> first_kept;  ///< lowest line that the service's own rotation has not dropped
  std::atomic<std::uint64_t> failed_writes;
  std::atomic<std::uint64_t> longest_write_us;
  std::atomic<std::uint64_t> free_bytes_at_first_failure;
  std::atomic<bool> watched_path_at_first_failure;
  std::atomic<bool> stop;
};

namespace {

/// What runs in the writer's process.
template <typename Shared>
class LogProcess {
 public:
  LogProcess(const LogServiceSettings& settings, Shared& shared)
      : settings_(settings), shared_(shared), active_(settings.folder + "/" + settings.name + ".log") {}

  void run() {
    while (!open_active(1)) ::usleep(1000);
    for (std::uint64_t line = 1; write_line(line); ++line) {
      if (line % settings_.lines_per_pause == 0) {
        if (settings_.syncs) ::fsync(file_);
        if (settings_.pause_us > 0) ::usleep(settings_.pause_us);
      }
      rotate_when_due(line);
    }
  }

 private:
  /// A full partition has no inode for a new segment: the service goes on in the old one.
  bool open_active(std::uint64_t first_line) {
    const int opened = ::open(active_.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
    if (opened < 0) return false;
    if (file_ >= 0) ::close(file_);
    file_ = opened;
    bytes_ = 0;
    first_lines_.insert(first_lines_.begin(), first_line);
    return true;
  }

  /// False when the service was asked to end and the line was not begun.
  bool write_line(std::uint64_t line) {
    const std::string text = log_line(line, text_of(settings_.name));
    const std::uint64_t begin = now_us();
    int failed_at_the_end = 0;
    for (std::size_t done = 0; done < text.size();) {
      if (done == 0 && shared_.stop.load()) return false;
      const ssize_t count = ::write(file_, text.data() + done, text.size() - done);
      if (count > 0) {
        done += static_cast<std::size_t>(count);
        continue;
      }
      if (shared_.failed_writes.fetch_add(1) == 0) note_first_failure();
      // On a partition that stays full the last line stays half written.
      if (shared_.stop.load() && ++failed_at_the_end > kFailuresAtTheEndMax) return false;
      ::usleep(1000);
    }
    bytes_ += text.size();
    shared_.longest_write_us.store(std::max(shared_.longest_write_us.load(), now_us() - begin));
    shared_.acknowledged.store(line);
    return true;
  }

  void note_first_failure() {
    struct statvfs space {};
    if (::statvfs(settings_.folder.c_str(), &space) != 0) return;
    shared_.free_bytes_at_first_failure.store(space.f_bfree * space.f_frsize);
    if (!settings_.watched_path.empty()) {
      shared_.watched_path_at_first_failure.store(::access(settings_.watched_path.c_str(), F_OK) == 0);
    }
  }

  void rotate_when_due(std::uint64_t line) {
    if (is_holding_) {
      if (now_us() >= hold_ends_us_ && open_active(line + 1)) is_holding_ = false;
      return;
    }
    if (bytes_ < settings_.segment_bytes || !shift()) return;
    is_holding_ = true;
    hold_ends_us_ = now_us() + std::uint64_t{settings_.hold_ms} * 1000;
    if (settings_.hold_ms == 0 && open_active(line + 1)) is_holding_ = false;
  }

  /// NAME.log.N becomes NAME.log.N+1, compressed or not, and NAME.log becomes NAME.log.1.
  bool shift() {
    unsigned int last = settings_.segments_max;
    if (last > 0) {
      drop(last);
    } else {
      last = static_cast<unsigned int>(first_lines_.size());
    }
    for (unsigned int number = last; number-- > 1;) {
      for (const char* ending : {"", ".zst"}) {
        ::rename(path_of(number, ending).c_str(), path_of(number + 1, ending).c_str());
      }
    }
    return ::rename(active_.c_str(), path_of(1, "").c_str()) == 0;
  }

  void drop(unsigned int number) {
    if (first_lines_.size() <= number) return;
    // Said before it is done, so that nobody looks for a line that the service itself has dropped.
    shared_.first_kept.store(first_lines_[number - 1]);
    first_lines_.resize(number);
    for (const char* ending : {"", ".zst"}) ::unlink(path_of(number, ending).c_str());
  }

  [[nodiscard]] std::string path_of(unsigned int number, const char* ending) const {
    return active_ + "." + std::to_string(number) + ending;
  }

  const LogServiceSettings& settings_;
  Shared& shared_;
  std::string active_;
  int file_ = -1;
  std::uint64_t bytes_ = 0;
  bool is_holding_ = false;
  std::uint64_t hold_ends_us_ = 0;
  std::vector<std::uint64_t> first_lines_;  ///< of the file being written, then of the segments, newest first
};

/// Everything the segments of a log hold, from the oldest; "?" and a reason where one cannot be read.
std::string contents_of_log(const std::string& folder, const std::string& name, std::string& problem) {
  std::vector<std::pair<unsigned int, std::string>> segments;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string file = entry.path().filename();
    if (const auto number = segment_number(file, name)) segments.emplace_back(*number, file);
  }
  std::ranges::sort(segments, [](const auto& a, const auto& b) { return a.first > b.first; });
  for (std::size_t i = 1; i < segments.size(); ++i) {
    if (segments[i].first == segments[i - 1].first) problem = segments[i].second + " is there twice";
  }
  std::string all;
  const auto add = [&](const std::string& file) { all += read_log(folder + "/" + file); };
  for (const auto& [number, file] : segments) add(file);
  if (std::filesystem::exists(folder + "/" + name + ".log")) add(name + ".log");
  return all;
}

}  // namespace

LogService::LogService(LogServiceSettings settings) : settings_(std::move(settings)) {
  void* const memory = ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::runtime_error("no shared memory for a log service");
  shared_ = new (memory) Shared();
  shared_->first_kept = 1;
  process_ = ::fork();
  if (process_ < 0) throw std::runtime_error("a log service could not be started");
  if (process_ != 0) return;
  ::signal(SIGTERM, SIG_DFL);
  LogProcess<Shared>(settings_, *shared_).run();
  ::_exit(0);
}

LogService::~LogService() {
  stop();
  ::munmap(shared_, sizeof(Shared));
}

void LogService::stop() {
  if (process_ <= 0) return;
  shared_->stop = true;
  while (::waitpid(process_, nullptr, 0) < 0 && errno == EINTR) continue;
  process_ = -1;
}

std::string LogService::problem_now() {
  ::kill(process_, SIGSTOP);
  int status = 0;
  while (::waitpid(process_, &status, WUNTRACED) < 0 && errno == EINTR) continue;
  std::string found = problem();
  ::kill(process_, SIGCONT);
  return found;
}

std::uint64_t LogService::acknowledged() const { return shared_->acknowledged; }
std::uint64_t LogService::failed_writes() const { return shared_->failed_writes; }
std::uint64_t LogService::longest_write_us() const { return shared_->longest_write_us; }
bool LogService::watched_path_was_there() const { return shared_->watched_path_at_first_failure; }
std::uint64_t LogService::free_bytes_at_first_failure() const { return shared_->free_bytes_at_first_failure; }

std::string LogService::problem() const {
  return log_problem(settings_.folder, settings_.name, shared_->first_kept, shared_->acknowledged);
}

std::string log_line(std::uint64_t number, const std::string& text) {
  char head[32];
  std::snprintf(head, sizeof head, "%09llu ", static_cast<unsigned long long>(number));
  std::string line = head + text;
  char tail[32];
  std::snprintf(tail, sizeof tail, " sum=%08x\n", checksum(line));
  return line + tail;
}

std::string service_log_line(std::uint64_t number, const std::string& name) { return log_line(number, text_of(name)); }

std::string log_problem(const std::string& folder, const std::string& name, std::uint64_t first, std::uint64_t last) {
  std::string problem;
  const std::string all = contents_of_log(folder, name, problem);
  if (!problem.empty()) return folder + ": " + problem;
  const std::string text = text_of(name);
  // A segment that the service was about to drop may still be there.
  std::uint64_t next = all.empty() ? first : std::min<std::uint64_t>(first, std::stoull(all.substr(0, 9)));
  for (std::size_t at = 0; at < all.size();) {
    std::size_t end = all.find('\n', at);
    end = end == std::string::npos ? all.size() : end + 1;
    const std::string line = all.substr(at, end - at);
    // A line that was written but not acknowledged yet, perhaps in part: the service stands still in it.
    if (end == all.size() && next == last + 1 && log_line(next, text).starts_with(line)) break;
    if (line != log_line(next, text)) {
      return folder + "/" + name + ": line " + std::to_string(next) + " expected, found: " + line.substr(0, 120);
    }
    ++next;
    at = end;
  }
  if (next == last + 1) return "";
  return folder + "/" + name + ": ends with line " + std::to_string(next - 1) + ", " + std::to_string(last) +
         " were written";
}

std::uint64_t write_rotated_log(const std::string& folder, const std::string& name, std::uint64_t segments,
                                std::uint64_t segment_bytes) {
  std::uint64_t line = 0;
  for (std::uint64_t segment = segments + 1; segment-- > 0;) {
    const std::string path = folder + "/" + name + ".log" + (segment > 0 ? "." + std::to_string(segment) : "");
    std::ofstream file(path, std::ios::binary);
    for (std::uint64_t bytes = 0; bytes < segment_bytes;) {
      const std::string text = log_line(++line, text_of(name));
      bytes += text.size();
      file << text;
    }
    if (!file.flush()) throw std::runtime_error(path + " cannot be written");
  }
  return line;
}

}  // namespace slotkeeper::test
