#include "partitions/io/posix_machine.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "partitions/io/posix_call.hpp"
#include "partitions/io/storage.hpp"

namespace slotkeeper::io {
namespace {

using std::chrono::nanoseconds;

constexpr std::size_t kProcTextMaxBytes = 1 << 20;  // a machine with hundreds of processors or disks has 100 KiB
constexpr int kIoPriorityOfProcess = 1;             // IOPRIO_WHO_PROCESS, which glibc does not name

/// The words of a line, one after the other.
class Words {
 public:
  explicit Words(std::string_view line) : rest_(line) {}
  [[nodiscard]] std::string_view next() {
    rest_.remove_prefix(std::min(rest_.find_first_not_of(' '), rest_.size()));
    const std::string_view word = rest_.substr(0, rest_.find(' '));
    rest_.remove_prefix(word.size());
    return word;
  }
  [[nodiscard]] std::optional<std::int64_t> next_number() {
    const std::string_view word = next();
    std::int64_t number = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), number);
    if (word.empty() || error != std::errc{} || end != word.data() + word.size()) return std::nullopt;
    return number;
  }

 private:
  std::string_view rest_;
};

template <class Visit>
void for_each_line(std::string_view text, Visit visit) {
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    visit(line);
  }
}

/// Source: proc(5), /proc/stat: user nice system idle iowait irq softirq steal. What other machines take of ours
/// (steal) is none of our work.
std::optional<nanoseconds> processors_of(std::string_view stat, std::int64_t ticks_per_s) {
  std::int64_t ticks = 0;
  std::int64_t processors = 0;
  bool is_sound = true;
  for_each_line(stat, [&](std::string_view line) {
    if (!line.starts_with("cpu")) return;
    Words words(line);
    if (words.next() != "cpu") {
      ++processors;
      return;
    }
    std::array<std::int64_t, 7> fields{};
    for (std::int64_t& field : fields) {
      const auto number = words.next_number();
      is_sound = is_sound && number;
      field = number.value_or(0);
    }
    ticks = fields[0] + fields[1] + fields[2] + fields[5] + fields[6];
  });
  if (!is_sound || processors == 0) return std::nullopt;
  return nanoseconds(std::chrono::seconds(1)) / ticks_per_s * ticks / processors;
}

/// What these do, a disk below them does, or none at all.
constexpr std::array<std::string_view, 6> kNoDisks = {"loop", "ram", "zram", "dm-", "md", "zd"};

/// "sda1" of "sda", "mmcblk0p1" of "mmcblk0".
bool is_partition_of(std::string_view name, std::string_view disk) {
  if (disk.empty() || !name.starts_with(disk)) return false;
  name.remove_prefix(disk.size());
  if (name.starts_with('p')) name.remove_prefix(1);
  return !name.empty() && std::ranges::all_of(name, [](char c) { return c >= '0' && c <= '9'; });
}

/// Source: the kernel's admin-guide/iostats: field 10 is the time with requests in milliseconds. A partition's requests
/// are its disk's, too.
std::optional<nanoseconds> disks_of(std::string_view disk_stats) {
  nanoseconds sum{0};
  bool is_sound = true;
  std::string_view disk;
  for_each_line(disk_stats, [&](std::string_view line) {
    Words words(line);
    is_sound = is_sound && words.next_number() && words.next_number();
    const std::string_view name = words.next();
    if (std::ranges::any_of(kNoDisks, [&](std::string_view prefix) { return name.starts_with(prefix); })) return;
    if (is_partition_of(name, disk)) return;
    disk = name;
    for (int i = 0; i < 9; ++i) is_sound = is_sound && words.next_number();
    const auto with_requests = words.next_number();
    is_sound = is_sound && with_requests;
    sum += std::chrono::milliseconds(with_requests.value_or(0));
  });
  if (!is_sound) return std::nullopt;
  return sum;
}

}  // namespace

std::optional<MachineWork> parse_work_done(std::string_view stat, std::string_view disk_stats,
                                           std::int64_t ticks_per_s) {
  if (ticks_per_s <= 0) return std::nullopt;
  const auto processors = processors_of(stat, ticks_per_s);
  const auto disks = disks_of(disk_stats);
  if (!processors || !disks) return std::nullopt;
  return MachineWork{.processors = *processors, .disks = *disks};
}

std::optional<MachineWork> posix_work_done() {
  const auto storage = make_posix_storage();
  const auto stat = storage->read_text("/proc/stat", kProcTextMaxBytes);
  const auto disk_stats = storage->read_text("/proc/diskstats", kProcTextMaxBytes);
  if (!stat.has_value() || !disk_stats.has_value()) return std::nullopt;
  return parse_work_done(stat.assume_value(), disk_stats.assume_value(), ::sysconf(_SC_CLK_TCK));
}

Result<Priority> set_posix_priority(const Priority& wanted) {
  Priority before;
  errno = 0;  // -1 is a priority, too
  before.nice = ::getpriority(PRIO_PROCESS, 0);
  if (before.nice == -1 && errno != 0) return call_failed("getpriority", "this thread", errno);
  const long io = ::syscall(SYS_ioprio_get, kIoPriorityOfProcess, 0);
  if (io < 0) return call_failed("ioprio_get", "this thread", errno);
  before.io = static_cast<int>(io);
  // Of a thread only, and inherited by those that it starts; POSIX would have it of the process.
  if (::setpriority(PRIO_PROCESS, 0, wanted.nice) != 0) return call_failed("setpriority", "this thread", errno);
  if (::syscall(SYS_ioprio_set, kIoPriorityOfProcess, 0, wanted.io) != 0) {
    const int error = errno;
    static_cast<void>(::setpriority(PRIO_PROCESS, 0, before.nice));
    return call_failed("ioprio_set", "this thread", error);
  }
  return before;
}

}  // namespace slotkeeper::io
