#include "tests/crash_kernel/sweep.hpp"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>

#include "tests/support/fault_disk/image_files.hpp"
#include "tests/support/unwrap.hpp"

namespace slotkeeper::test {
namespace {

constexpr const char* kPermanent = "permanent";
constexpr const char* kStore = "store";
constexpr const char* kEnvironment = "environment";
constexpr const char* kPromise = "promise ";
constexpr std::uint64_t kCutAgainEvery = 10;  ///< of so many cases one has its recovery cut, too
constexpr std::size_t kSecondCuts = 5;        ///< at so many places
constexpr std::uint64_t kCheckedEvery = 8;    ///< of so many cases one has its filesystem checked in the end

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

SweepOptions sweep_options(std::uint64_t stride) {
  return {.stride = std::max<std::uint64_t>(1, number_or(environment("SLOTKEEPER_FAULT_STRIDE"), stride)),
          .seed = number_or(environment("SLOTKEEPER_FAULT_SEED"), 1),
          .only = environment("SLOTKEEPER_FAULT_ONLY"),
          .tear_unit_bytes = number_or(environment("SLOTKEEPER_FAULT_TEAR_UNIT"), 512),
          .replay = environment("SLOTKEEPER_FAULT_REPLAY")};
}

std::string SweepResult::print(const std::string& what) const {
  return "figure: " + what + ": cuts=" + std::to_string(cuts) + " possible=" + std::to_string(possible) +
         " cases=" + std::to_string(cases) + " compared=" + std::to_string(compared) +
         " refused=" + std::to_string(refused) + " mended=" + std::to_string(mended) +
         " noticed=" + std::to_string(noticed) + " violations=" + std::to_string(violations.size());
}

SceneRig::SceneRig(const std::string& scene, SweepOptions options, const Filesystem& filesystem)
    : options_(std::move(options)),
      filesystem_(filesystem),
      scene_(make_scene(scene)),
      storage_(io::make_posix_storage()) {
  options_.tear_unit_bytes = std::max(options_.tear_unit_bytes, filesystem.tear_unit_min);
  scene_->vary(options_.seed);
  prepare();
}

void SceneRig::prepare() {
  const std::string permanent = images()[0];
  make_file(permanent, filesystem_.size_bytes);
  std::vector<std::string> command = filesystem_.make;
  command.push_back(permanent);
  run_tool(command);
  ok(StateStore::format(*storage_, images()[1], kStoreSizeMinBytes, "fault-disk"));
  make_file(images()[2], kEnvironmentBytes);
  const DirectLoop loop(permanent, DirectLoop::Access::cached);
  const auto mounted = mount(loop.path());
  scene_->prepare({.root = mounted->path(), .store = images()[1], .environment = images()[2], .storage = *storage_});
}

std::vector<std::string> SceneRig::images_of(const std::string& state) const {
  std::vector<std::string> paths;
  for (const char* const disk : {kPermanent, kStore, kEnvironment}) paths.push_back(folder_ / (state + disk + ".img"));
  return paths;
}

std::vector<FaultDisk::Disk> SceneRig::disks_of(const std::vector<std::string>& images) {
  return {{kPermanent, images[0]}, {kStore, images[1]}, {kEnvironment, images[2]}};
}

SceneRig::Recording SceneRig::record(const std::vector<std::string>& images, const Operation& operation) {
  FaultDisk disk(disks_of(images));
  Recording recording;
  {
    const auto mounted = mount(disk.path(kPermanent));
    const std::string& store = disk.path(kStore);
    const std::string& environment = disk.path(kEnvironment);
    const auto contents = [](const std::string& image) { return PagedBytes(io::as_bytes(read_image(image))); };
    ShadowStorage storage(*storage_, mounted->path(),
                          {{store, contents(images[1])}, {environment, contents(images[2])}},
                          [&] { return disk.counters().position; });
    const DiskCounters before = disk.counters();
    recording.begin = disk.mark("begin");
    ok(operation({.root = mounted->path(), .store = store, .environment = environment, .storage = storage},
                 [&](const std::string& promise) { disk.mark(kPromise + promise); }));
    disk.mark("end");
    recording.calls = disk.counters();
    recording.model = storage.trace();
    recording.store = recording.model.device(store);
    recording.environment = recording.model.device(environment);
    add_problems(recording.problems, "the model refuses", storage.refusals());
    add_problems(recording.problems, "without a cut", recording.model.differs_from(read_tree(mounted->path())));
    recording.calls.reads -= before.reads;
    recording.calls.writes -= before.writes;
    recording.calls.flushes -= before.flushes;
  }
  copy_image(disk.log_file(), folder_ / "log");
  recording.log = read_disk_log(folder_ / "log");
  return recording;
}

std::string SceneRig::keep(const std::string& cut, const std::string& test) {
  const std::string kept = SLOTKEEPER_KEPT_FOLDER "/" + name() + "-seed-" + std::to_string(options_.seed);
  std::filesystem::create_directories(kept);
  for (std::size_t i = 0; i < images().size(); ++i) copy_image(images()[i], kept + "/" + std::to_string(i) + ".img");
  copy_image(folder_ / "log", kept + "/log");
  return "\n  repeat: SLOTKEEPER_FAULT_REPLAY=" + kept + " SLOTKEEPER_FAULT_SEED=" + std::to_string(options_.seed) +
         " SLOTKEEPER_FAULT_TEAR_UNIT=" + std::to_string(options_.tear_unit_bytes) + " SLOTKEEPER_FAULT_ONLY=" + cut +
         " test_fault_disk --gtest_filter='*" + test + "*/" + name() + "'";
}

std::string SceneRig::name() const { return (&filesystem_ == &ext4() ? "" : filesystem_.name + "_") + scene_->name(); }

std::unique_ptr<PlainMount> SceneRig::mount(const std::string& device) const {
  return std::make_unique<PlainMount>(device, folder_ / "mount", filesystem_.mount_options, filesystem_.name);
}

std::unique_ptr<PlainMount> SceneRig::mount_device(const std::string& device, SweepResult& result) {
  try {
    return mount(device);
  } catch (const std::runtime_error&) {
    if (filesystem_.mend.empty()) throw;
    ++result.mended;
    try {
      std::vector<std::string> command = filesystem_.mend;
      command.push_back(device);
      run_tool(command);
    } catch (const std::runtime_error&) {
      // Its exit status is 1 when it mended something; whether that was enough shows now.
    }
    return mount(device);
  }
}

CrashOptions SceneRig::crash_options(std::uint64_t begin) const {
  return {.from_position = begin, .seed = options_.seed, .tear_unit_bytes = options_.tear_unit_bytes};
}

SweepResult SceneRig::cut_power() {
  Recording recording;
  if (options_.replay.empty()) {
    recording = record(images(), [&](const Machine& machine, const Acknowledge& acknowledge) {
      return scene_->act(machine, acknowledge);
    });
  } else {
    for (std::size_t i = 0; i < images().size(); ++i) {
      copy_image(options_.replay + "/" + std::to_string(i) + ".img", images()[i]);
    }
    copy_image(options_.replay + "/log", folder_ / "log");
    recording.log = read_disk_log(folder_ / "log");
  }
  CrashStates states(recording.log, images(), crash_options(recording.begin));
  SweepResult result;
  add_problems(result.violations, name(), recording.problems);
  result.cuts = states.cut_count();
  result.possible = states.states().size();
  for (std::size_t i = 0; i < states.states().size(); ++i) {
    const CrashState& state = states.states()[i];
    const bool cuts_again = (i / options_.stride + options_.seed) % kCutAgainEvery == 0;
    if (options_.only.empty() ? is_chosen(options_, i, state.name) : options_.only.starts_with(state.name)) {
      run_cut(recording, states, state, options_.only.empty() ? cuts_again : options_.only != state.name, result);
    }
  }
  return result;
}

void SceneRig::run_cut(const Recording& recording, CrashStates& states, const CrashState& state, bool cuts_again,
                       SweepResult& result) {
  const Cut cut{
      .name = state.name,
      .images = images_of("cut-"),
      .promised = [&](const std::string& promise) { return states.marks_before(state, kPromise + promise) > 0; },
      .position = state.position,
      // A log that was kept comes without its model.
      .recording = options_.replay.empty() ? &recording : nullptr};
  states.build(state, cut.images);
  if (cuts_again) {
    cut_recovery(cut, result);
    states.build(state, cut.images);
  }
  if (options_.only.empty() || options_.only == state.name) examine(cut, result);
}

void SceneRig::cut_recovery(const Cut& cut, SweepResult& result) {
  const std::string log_of_operation = read_image(folder_ / "log");
  SweepResult mounting;
  try {
    {
      const DirectLoop loop(cut.images[0], DirectLoop::Access::cached);
      (void)mount_device(loop.path(), mounting);
    }
    const Recording recording =
        record(cut.images, [&](const Machine& machine, const Acknowledge&) { return scene_->recover(machine); });
    add_problems(result.violations, name() + "/" + cut.name + "+", recording.problems);
    CrashStates states(recording.log, cut.images, crash_options(recording.begin));
    const std::size_t step = states.states().size() / kSecondCuts + 1;
    for (std::size_t i = options_.seed % step; i < states.states().size(); i += step) {
      const CrashState& state = states.states()[i];
      const Cut second{.name = cut.name + "+" + state.name,
                       .images = images_of("second-"),
                       // A recovery may take back what the operation had promised.
                       .promised = [](const std::string&) { return false; },
                       .position = state.position,
                       .recording = &recording};
      states.build(state, second.images);
      if (options_.only.empty() || options_.only == second.name) examine(second, result);
    }
  } catch (const std::exception& problem) {
    result.violations.push_back(name() + "/" + cut.name + "+: " + problem.what());
  }
  write_image(folder_ / "log", log_of_operation);
}

Problems SceneRig::compare_with_model(const Cut& cut, const std::string& root) {
  const auto disk = [&](const char* name, NodeNumber node, std::size_t number) {
    return ModelTrace::Disk{
        .name = name, .node = node, .found = PagedBytes(io::as_bytes(read_image(cut.images[number])))};
  };
  return cut.recording->model.not_allowed(
      cut.position, read_tree(root),
      {disk(kStore, cut.recording->store, 1), disk(kEnvironment, cut.recording->environment, 2)});
}

void SceneRig::examine(const Cut& cut, SweepResult& result) {
  ++result.cases;
  Problems problems;
  const std::uint64_t mended_before = result.mended;
  try {
    const DirectLoop permanent(cut.images[0], DirectLoop::Access::cached);
    const DirectLoop store(cut.images[1], DirectLoop::Access::cached);
    const DirectLoop environment(cut.images[2], DirectLoop::Access::cached);
    const auto mounted = mount_device(permanent.path(), result);
    const Machine machine{
        .root = mounted->path(), .store = store.path(), .environment = environment.path(), .storage = *storage_};
    if (cut.recording != nullptr) {
      ++result.compared;
      add_problems(problems, "no state of the model", compare_with_model(cut, mounted->path()));
    }
    add_problems(problems, "at once", scene_->check_instant(machine, cut.promised));
    for (const char* const round : {"recovery", "second recovery"}) {
      const Result<void> recovered = scene_->recover(machine);
      if (!recovered.has_value()) problems.push_back(std::string(round) + ": " + describe(recovered.assume_error()));
      add_problems(problems, std::string("after the ") + round, scene_->check_finished(machine));
    }
  } catch (const std::exception& problem) {
    problems.emplace_back(problem.what());
  }
  if (result.mended != mended_before && options_.tear_unit_bytes > 512) {
    problems.emplace_back("the filesystem had to be mended, and nothing can tear its superblock");
  }
  if (result.cases % kCheckedEvery == 0 && !filesystem_.is_sound(cut.images[0])) {
    problems.push_back("in the end " + filesystem_.look.front() + " finds damage");
  }
  if (problems.empty()) return;
  problems.back() += keep(cut.name, "PowerCut");
  add_problems(result.violations, name() + "/" + cut.name, problems);
}

}  // namespace slotkeeper::test
