#include "tests/crash_kernel/sweep.hpp"

#include <algorithm>
#include <cstdlib>
#include <set>
#include <stdexcept>

#include "tests/support/fault_disk/image_files.hpp"
#include "tests/support/unwrap.hpp"

namespace slotkeeper::test {
namespace {

constexpr const char* kPermanent = "permanent";
constexpr const char* kStore = "store";
constexpr const char* kPromise = "promise ";
/// No commit by the clock: the same run makes the same log.
constexpr const char* kMountOptions = "commit=3600";
constexpr std::uint64_t kCheckedEvery = 8;  ///< of so many cases one has its filesystem checked by e2fsck in the end

std::string environment(const char* name) {
  const char* const value = std::getenv(name);
  return value != nullptr ? value : "";
}

std::uint64_t number_or(const std::string& text, std::uint64_t otherwise) {
  return text.empty() ? otherwise : std::stoull(text);
}

}  // namespace

void add_problems(Problems& all, const std::string& where, const Problems& some) {
  for (const std::string& problem : some) all.push_back(where + ": " + problem);
}

std::string describe(const Error& error) { return std::string(info(error.code).name) + ": " + error.message; }

bool is_chosen(const SweepOptions& options, std::uint64_t number, const std::string& name) {
  if (!options.only.empty()) return options.only == name;
  return (number + options.seed) % options.stride == 0;
}

/// e2fsck finds nothing to mend.
bool is_sound(const std::string& image) {
  try {
    run_tool({"e2fsck", "-fn", image});
    return true;
  } catch (const std::runtime_error&) {
    return false;
  }
}

SweepOptions sweep_options(std::uint64_t stride) {
  return {.stride = std::max<std::uint64_t>(1, number_or(environment("SLOTKEEPER_FAULT_STRIDE"), stride)),
          .seed = number_or(environment("SLOTKEEPER_FAULT_SEED"), 1),
          .only = environment("SLOTKEEPER_FAULT_ONLY"),
          .tear_unit_bytes = number_or(environment("SLOTKEEPER_FAULT_TEAR_UNIT"), 512)};
}

std::string SweepResult::print(const std::string& what) const {
  return "figure: " + what + ": cuts=" + std::to_string(cuts) + " possible=" + std::to_string(possible) +
         " cases=" + std::to_string(cases) + " refused=" + std::to_string(refused) +
         " mended=" + std::to_string(mended) + " noticed=" + std::to_string(noticed) +
         " violations=" + std::to_string(violations.size());
}

SceneRig::SceneRig(const std::string& scene) : scene_(make_scene(scene)), storage_(io::make_posix_storage()) {
  prepare();
}

void SceneRig::prepare() {
  const std::string permanent = images()[0];
  make_file(permanent, kPermanentBytes);
  // Everything that could differ between two runs is fixed.
  run_tool({"mkfs.ext4", "-q", "-F", "-b", "1024", "-m", "0", "-I", "256", "-N", "256", "-J", "size=1", "-U",
            "5107cafe-0000-4000-8000-000000000001", "-E",
            "lazy_itable_init=0,lazy_journal_init=0,hash_seed=5107cafe-0000-4000-8000-000000000002", permanent});
  ok(StateStore::format(*storage_, images()[1], kStoreSizeMinBytes, "fault-disk"));
  const DirectLoop loop(permanent, DirectLoop::Access::cached);
  const PlainMount mount(loop.path(), folder_ / "mount");
  scene_->prepare({.root = mount.path(), .store = images()[1], .storage = *storage_});
}

SceneRig::Recording SceneRig::record() {
  FaultDisk disk({{kPermanent, images()[0]}, {kStore, images()[1]}});
  Recording recording;
  {
    const PlainMount mount(disk.path(kPermanent), folder_ / "mount", kMountOptions);
    const DiskCounters before = disk.counters();
    recording.begin = disk.mark("begin");
    ok(scene_->act({.root = mount.path(), .store = disk.path(kStore), .storage = *storage_},
                   [&](const std::string& promise) { disk.mark(kPromise + promise); }));
    disk.mark("end");
    recording.calls = disk.counters();
    recording.calls.reads -= before.reads;
    recording.calls.writes -= before.writes;
    recording.calls.flushes -= before.flushes;
  }
  recording.log = read_log(disk.log_file());
  return recording;
}

std::unique_ptr<PlainMount> SceneRig::mount_device(const std::string& device, SweepResult& result) {
  try {
    return std::make_unique<PlainMount>(device, folder_ / "mount", kMountOptions);
  } catch (const std::runtime_error&) {
    ++result.mended;
    try {
      run_tool({"e2fsck", "-fy", device});
    } catch (const std::runtime_error&) {
      // Its exit status is 1 when it mended something; whether that was enough shows now.
    }
    return std::make_unique<PlainMount>(device, folder_ / "mount", kMountOptions);
  }
}

SweepResult SceneRig::cut_power(const SweepOptions& options) {
  const Recording recording = record();
  CrashStates states(
      recording.log, images(),
      {.from_position = recording.begin, .seed = options.seed, .tear_unit_bytes = options.tear_unit_bytes});
  SweepResult result;
  result.cuts = states.cut_count();
  result.possible = states.states().size();
  for (std::size_t i = 0; i < states.states().size(); ++i) {
    const CrashState& state = states.states()[i];
    if (is_chosen(options, i, state.name)) run_cut(states, state, options, result);
  }
  return result;
}

void SceneRig::run_cut(CrashStates& states, const CrashState& state, const SweepOptions& options, SweepResult& result) {
  const std::vector<std::string> rebuilt = {folder_ / "cut-permanent.img", folder_ / "cut-store.img"};
  states.build(state, rebuilt);
  const Promised promised = [&](const std::string& promise) {
    return states.marks_before(state, kPromise + promise) > 0;
  };
  ++result.cases;
  Problems problems;
  const std::uint64_t mended_before = result.mended;
  try {
    const DirectLoop permanent(rebuilt[0], DirectLoop::Access::cached);
    const DirectLoop store(rebuilt[1], DirectLoop::Access::cached);
    const auto mount = mount_device(permanent.path(), result);
    const Machine machine{.root = mount->path(), .store = store.path(), .storage = *storage_};
    add_problems(problems, "at once", scene_->check_instant(machine, promised));
    for (const char* const round : {"recovery", "second recovery"}) {
      const Result<void> recovered = scene_->recover(machine);
      if (!recovered.has_value()) problems.push_back(std::string(round) + ": " + describe(recovered.assume_error()));
      add_problems(problems, std::string("after the ") + round, scene_->check_finished(machine));
    }
  } catch (const std::exception& problem) {
    problems.emplace_back(problem.what());
  }
  if (result.mended != mended_before && options.tear_unit_bytes > 512) {
    problems.emplace_back("the filesystem needed e2fsck, and nothing can tear its superblock");
  }
  if (result.cases % kCheckedEvery == 0 && !is_sound(rebuilt[0])) {
    problems.emplace_back("in the end e2fsck finds damage");
  }
  add_problems(result.violations, scene_->name() + "/" + state.name, problems);
}

}  // namespace slotkeeper::test
