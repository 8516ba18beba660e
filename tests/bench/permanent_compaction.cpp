// How fast compaction is beside `zstd -T2` at the same level: both on copies of the same logs, alternating, in one run.
// Prints the medians and their ratio. Arguments: a folder on the filesystem to measure, MiB of logs, rounds.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <unistd.h>
#include <vector>

#include "partitions/permanent/compaction.hpp"
#include "partitions/permanent/reserve.hpp"
#include "partitions/permanent/segment_codec.hpp"
#include "tests/support/log_lines.hpp"
#include "tests/support/loop_device.hpp"
#include "tests/support/memory_area.hpp"
#include "tests/support/permanent_partition.hpp"

namespace {

using namespace slotkeeper;        // NOLINT: a program of its own
using namespace slotkeeper::test;  // NOLINT

constexpr int kSegments = 4;

double seconds_of(const std::function<void()>& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

std::string segment(const std::string& folder, int number) {
  return folder + "/log/system.log." + std::to_string(number);
}

/// The logs as they were, and warm.
void fill(const std::string& folder, const std::string& contents) {
  std::filesystem::remove_all(folder + "/log");
  std::filesystem::create_directories(folder + "/log");
  put_file(folder + "/log/system.log", "active\n");
  for (int number = 1; number <= kSegments; ++number) put_file(segment(folder, number), contents);
  ::sync();
}

std::uint64_t stored_bytes(const std::string& folder) {
  std::uint64_t bytes = 0;
  for (int number = 1; number <= kSegments; ++number) {
    bytes += std::filesystem::file_size(segment(folder, number) + ".zst");
  }
  return bytes;
}

void must(bool holds, const std::string& what) {
  if (holds) return;
  std::fprintf(stderr, "%s\n", what.c_str());
  std::exit(1);
}

void compact(const std::string& folder) {
  SilentProgress progress;
  MemoryArea first(1 << 20);
  MemoryArea second(1 << 20);
  const auto storage = io::make_posix_storage();
  const auto root = storage->open_directory(folder);
  must(root.has_value(), "cannot open " + folder);
  io::Directory& directory = *root.assume_value();
  auto inventory = permanent::take_inventory(directory, usual_classes(), permanent::HashScope::nothing, progress);
  must(inventory.has_value(), "inventory");
  const auto plan = permanent::plan_compaction(directory, std::move(inventory).assume_value(), usual_classes(),
                                               {.now = {.seconds = 4'000'000'000, .nanoseconds = 0}});
  must(plan.has_value() && plan.assume_value().actions.size() == kSegments, "plan");
  const auto report = permanent::carry_out(directory, plan.assume_value(), {first, second}, progress);
  must(report.has_value() && report.assume_value().compressed.size() == kSegments, "compaction");
}

}  // namespace

int main(int count, char** arguments) {
  must(count == 4, "usage: permanent_compaction FOLDER MIB ROUNDS");
  const std::string folder = arguments[1];
  const std::uint64_t bytes = std::strtoull(arguments[2], nullptr, 10) << 20U;
  const int rounds = std::stoi(arguments[3]);
  std::string contents;
  for (std::uint64_t first = 1; contents.size() < bytes / kSegments; first += 10'000) {
    contents += log_lines(first, 10'000);
  }
  std::vector<double> ours;
  std::vector<double> theirs;
  std::uint64_t our_bytes = 0;
  std::uint64_t their_bytes = 0;
  for (int round = 0; round < rounds; ++round) {
    fill(folder, contents);
    ours.push_back(seconds_of([&] { compact(folder); }));
    our_bytes = stored_bytes(folder);
    fill(folder, contents);
    std::vector<std::string> command = {"zstd", "-q", "-T2", "-" + std::to_string(permanent::kSegmentLevel), "--rm"};
    for (int number = 1; number <= kSegments; ++number) command.push_back(segment(folder, number));
    theirs.push_back(seconds_of([&] { run_tool(command); }));
    their_bytes = stored_bytes(folder);
  }
  const double mib = static_cast<double>(contents.size() * kSegments) / (1 << 20);
  std::printf("compaction %.1f MiB/s, zstd -T2 -%d %.1f MiB/s, ratio %.2f (%.0f MiB of logs, median of %d)\n",
              mib / median(ours), permanent::kSegmentLevel, mib / median(theirs), median(theirs) / median(ours), mib,
              rounds);
  std::printf("stored: %.2f MiB and %.2f MiB\n", static_cast<double>(our_bytes) / (1 << 20),
              static_cast<double>(their_bytes) / (1 << 20));
  return 0;
}
