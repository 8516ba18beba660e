// The other half of sweep.hpp: a fault at every call.
#include <numeric>
#include <set>

#include "tests/crash_kernel/sweep.hpp"
#include "tests/support/unwrap.hpp"

namespace slotkeeper::test {
namespace {

FaultKind kind(std::string name, const std::string& rule, bool is_silent) {
  return {.name = std::move(name), .rule = parse_rules(rule).front(), .is_silent = is_silent};
}

/// A zstd frame begins with it: what is written is a compressed log.
constexpr std::string_view kZstdMagic = "\x28\xb5\x2f\xfd";

/// What an operation may answer when its disk fails.
bool is_storage_error(Errc code) {
  static const std::set<Errc> kAllowed = {Errc::io_error,   Errc::sync_failed,  Errc::readback_mismatch,
                                          Errc::read_only,  Errc::storage_full, Errc::restore_incomplete,
                                          Errc::state_store};
  return kAllowed.contains(code);
}

std::uint64_t calls_of(const DiskCounters& counters, DiskCall call) {
  switch (call) {
    case DiskCall::read:
      return counters.reads;
    case DiskCall::write:
      return counters.writes;
    case DiskCall::flush:
      return counters.flushes;
    case DiskCall::discard:
      return counters.discards;
  }
  return 0;
}

/// The nth write behind the mark "begin", as it is in the log: the one that a silent fault struck.
const LogRecord* struck_write(const std::vector<LogRecord>& log, std::uint64_t nth) {
  bool begun = false;
  for (const LogRecord& record : log) {
    begun = begun || (record.kind == LogKind::mark && record.data == "begin");
    const bool is_write = record.kind == LogKind::write || record.kind == LogKind::lost_write;
    if (begun && is_write && nth-- == 0) return &record;
  }
  return nullptr;
}

}  // namespace

std::vector<FaultKind> fault_kinds(std::uint64_t seed) {
  // What is flipped, how much arrives, and where to: with every seed something else.
  const std::string bit = std::to_string(seed * 1234 % 8192);
  const std::string sectors = std::to_string((seed - 1) % 7 + 1);
  const std::string shift = std::to_string(((seed - 1) % 16 + 1) * 65536);
  return {
      kind("write-eio", "error write count=1", false),
      kind("write-eio-lasting", "error write", false),
      kind("write-enospc", "error write errno=28 count=1", false),
      kind("read-eio", "error read count=1", false),
      kind("flush-eio", "error flush count=1", false),
      kind("write-lost", "lose write count=1", true),
      kind("write-flipped", "flip write count=1 bit=" + bit, true),
      kind("write-torn", "torn write errno=0 count=1 sectors=" + sectors, true),
      kind("write-misdirected", "misdirect write count=1 shift=" + shift, true),
  };
}

SweepResult SceneRig::inject(const FaultKind& kind) {
  if (!recording_) {
    recording_ = record(images(), [&](const Machine& machine, const Acknowledge& acknowledge) {
      return scene_->act(machine, acknowledge);
    });
  }
  SweepResult result;
  result.possible = calls_of(recording_->calls, kind.rule.call);
  for (std::uint64_t number = 0; number < result.possible; ++number) {
    FaultKind one = kind;
    one.name += "/" + std::to_string(number);
    one.rule.skip = number;
    // Each kind begins elsewhere, so that a wide stride meets every call of the operation with some kind.
    const std::uint64_t shifted = number + std::accumulate(kind.name.begin(), kind.name.end(), 0u);
    if (is_chosen(options_, shifted, one.name)) run_fault(one, result);
  }
  return result;
}

void SceneRig::run_fault(const FaultKind& kind, SweepResult& result) {
  Problems problems;
  try {
    bool was_struck = false;
    FaultDisk disk(disks_of(images()));
    std::set<std::string> promises;
    Result<void> outcome = success();
    {
      const auto mounted = mount(disk.path("permanent"));
      disk.mark("begin");
      disk.set_rules({kind.rule});
      outcome = scene_->act({.root = mounted->path(),
                             .store = disk.path("store"),
                             .environment = disk.path("environment"),
                             .storage = *storage_},
                            [&](const std::string& promise) { promises.insert(promise); });
      was_struck = disk.counters().struck.at(0) > 0;
      disk.heal();
    }
    // Which calls the filesystem makes is not the same to the last one in every run.
    if (!was_struck) return;
    ++result.cases;
    disk.forget_caches();
    if (!outcome.has_value()) ++result.refused;
    if (!outcome.has_value() && !is_storage_error(outcome.assume_error().code)) {
      problems.push_back("it says " + describe(outcome.assume_error()));
    }
    const bool is_survived =
        filesystem_.survives_a_failed_write && kind.rule.call == DiskCall::write && kind.rule.count == 1;
    if (outcome.has_value() && !kind.is_silent && kind.rule.call != DiskCall::read && !is_survived) {
      problems.emplace_back("it reports success, although a write or a flush has failed");
    }
    const Promised promised = [&](const std::string& promise) { return promises.contains(promise); };
    const Problems found =
        kind.is_silent ? judge_silent(disk, kind, outcome, result) : judge_loud(disk, outcome, promised, result);
    problems.insert(problems.end(), found.begin(), found.end());
  } catch (const std::exception& problem) {
    problems.emplace_back(problem.what());
  }
  if (!problems.empty()) {
    problems.back() += "\n  repeat: SLOTKEEPER_FAULT_SEED=" + std::to_string(options_.seed) +
                       " SLOTKEEPER_FAULT_ONLY=" + kind.name + " test_fault_disk --gtest_filter='*DiskFault*/" +
                       name() + "'";
  }
  add_problems(result.violations, name() + "/" + kind.name, problems);
}

/// The disk said that it failed: nothing may be half, and nothing that was promised may be gone.
Problems SceneRig::judge_loud(FaultDisk& disk, const Result<void>& outcome, const Promised& promised,
                              SweepResult& result) {
  Problems problems;
  const auto mounted = mount_device(disk.path("permanent"), result);
  const Machine machine{.root = mounted->path(),
                        .store = disk.path("store"),
                        .environment = disk.path("environment"),
                        .storage = *storage_};
  add_problems(problems, "at once", scene_->check_instant(machine, promised));
  if (outcome.has_value()) add_problems(problems, "after success", scene_->check_finished(machine));
  const Result<void> recovered = scene_->recover(machine);
  if (!recovered.has_value()) problems.push_back("recovery: " + describe(recovered.assume_error()));
  add_problems(problems, "after the recovery", scene_->check_finished(machine));
  return problems;
}

/// The disk lied. What the engine reads back must not be wrong after a success: contents of files and the state store.
/// A lie about the filesystem's own blocks is found by the next verify or by the filesystem.
Problems SceneRig::judge_silent(FaultDisk& disk, const FaultKind& kind, const Result<void>& outcome,
                                SweepResult& result) {
  const auto log = read_disk_log(disk.log_file());
  const LogRecord* const struck = struck_write(log, kind.rule.skip);
  const bool is_read_back =
      struck != nullptr && (struck->disk > 0 || struck->data.find(kContentsMark) != std::string::npos ||
                            struck->data.starts_with(kZstdMagic));
  const bool was_sound = filesystem_.is_sound(disk.backing_file("permanent"));
  Problems problems;
  const auto mounted = mount_device(disk.path("permanent"), result);
  const Machine machine{.root = mounted->path(),
                        .store = disk.path("store"),
                        .environment = disk.path("environment"),
                        .storage = *storage_};
  const bool was_noticed = !was_sound || scene_->verify_finds_damage(machine);
  const auto check = [&](const std::string& when) {
    try {
      add_problems(problems, when, scene_->check_finished(machine));
    } catch (const std::exception& unreadable) {
      problems.push_back(when + ": " + unreadable.what());
    }
  };
  if (outcome.has_value()) check("after success");
  const Result<void> recovered = scene_->recover(machine);
  if (recovered.has_value()) check("after the recovery");
  // A write that came out elsewhere may have hit the other copy of what it was to replace: no recovery from that, but
  // it is not taken for good either.
  const bool both_copies_hit = kind.rule.action == FaultAction::misdirect && !recovered.has_value() &&
                               recovered.assume_error().code == Errc::state_store;
  if (both_copies_hit) ++result.noticed;
  if (!recovered.has_value() && !both_copies_hit && is_read_back && was_sound) {
    problems.push_back("recovery: " + describe(recovered.assume_error()));
  }
  if (problems.empty() || is_read_back || !was_noticed) return problems;
  ++result.noticed;
  return {};
}

}  // namespace slotkeeper::test
