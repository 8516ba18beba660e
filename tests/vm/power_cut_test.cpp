// The power goes at a random moment of an update on a machine with a real bootloader, and the machine is switched on
// again. A case is a scene (what was going on), the seed of its moment, and what the cut leaves of the disk:
//
//   kept  everything that the guest had written, flushed or not: QEMU is killed, this machine's page cache stays
//   lost  the disk is a fault disk; from its log a state is rebuilt in which what was flushed is there, and of
//   everything
//         else a part that the seed chooses, the last write perhaps torn
//
// Afterwards a firmware comes up by itself, the configuration is that of the original, no log line is missing that was
// said to be on the disk, and the update is repeated with success.
//
// SLOTKEEPER_VM_SEED (1): another seed, other moments. A failure prints the scene and the seed that repeat it; the
// moment is a delay in real time, so it comes back nearly, not exactly.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <thread>

#include <gmock/gmock.h>

#include "tests/support/fault_disk/crash_states.hpp"
#include "tests/support/fault_disk/fault_disk.hpp"
#include "tests/support/fault_disk/image_files.hpp"
#include "tests/support/loop_device.hpp"
#include "tests/support/temporary_directory.hpp"
#include "tests/vm/final_check.hpp"
#include "tests/vm/machine_session.hpp"
#include "tests/vm/material.hpp"

namespace slotkeeper::test {
namespace {

using std::chrono::milliseconds;

/// What is going on when the power goes. Times are those of an idle machine, rounded up.
struct Scene {
  const char* name;
  DiskState begins;
  const char* command;       ///< given when the firmware is up; nullptr: what the firmware does by itself
  const char* marker;        ///< on the console, and from then on
  milliseconds window;       ///< at most so long
  const char* may_run;       ///< slots that may come up afterwards
  bool in_recovery = false;  ///< this cut only makes work for `recover`; the one that counts comes in it
};

constexpr const char* kInstall = "slotkeeper --json install /bundles/3.5.1.skb";
constexpr Scene kScenes[] = {
    {"Compaction", DiskState::provisioned, kInstall, "\"phase\":\"compact\"", milliseconds(1000), "A"},
    {"Snapshot", DiskState::provisioned, kInstall, "\"phase\":\"snapshot\"", milliseconds(400), "A"},
    {"Staging", DiskState::provisioned, kInstall, "\"phase\":\"stage\"", milliseconds(1500), "A"},
    {"Switch", DiskState::provisioned, kInstall, "SWITCH", milliseconds(250), "AB"},
    {"Bootloader", DiskState::armed_good, nullptr, "BOOTLOADER", milliseconds(120), "AB"},
    {"Trial", DiskState::armed_good, nullptr, "SK: boot B", milliseconds(1500), "AB"},
    {"Confirm", DiskState::armed_good, nullptr, "SK: confirm begins", milliseconds(900), "AB"},
    {"Rollback", DiskState::armed_unhealthy, nullptr, "SK: confirm begins", milliseconds(1200), "A"},
    {"Restore", DiskState::fallen, nullptr, "SK: recover begins", milliseconds(1200), "A"},
    {"Recovery", DiskState::provisioned, kInstall, "\"phase\":\"stage\"", milliseconds(1500), "A", true},
};

enum class Leaves { kept, lost };

/// What it says depends on bootloader and slot.
std::string marker_of(const Material& material, const Scene& scene) {
  const std::string marker = scene.marker;
  if (marker == "BOOTLOADER") return material.bootloader_marker();
  if (marker != "SWITCH") return marker;
  return "\"phase\":\"check\",\"done\":" + std::to_string(material.partition("rootfs-a").size_bytes);
}

std::uint64_t seed_of_run() {
  const char* const chosen = std::getenv("SLOTKEEPER_VM_SEED");
  return chosen != nullptr && *chosen != '\0' ? std::stoull(chosen) : 1;
}

/// A disk on which a machine runs until its power goes.
class CutDisk {
 public:
  CutDisk(const std::string& image, Leaves leaves, std::mt19937_64& random) : leaves_(leaves), random_(random) {
    copy_image(image, first_);
    if (leaves == Leaves::lost) fault_disk_.emplace(std::vector<FaultDisk::Disk>{{.name = "disk", .image = image}});
  }

  [[nodiscard]] VirtualMachine::Drive drive() const {
    if (fault_disk_) return {.file = fault_disk_->file("disk"), .direct = true};
    return {.file = first_};
  }

  /// What the cut left, when the machine is off. Says what that is.
  std::string leave(const std::string& into) {
    if (!fault_disk_) {
      copy_image(first_, into);
      return "everything written is kept";
    }
    fault_disk_->mark("cut");
    std::vector<LogRecord> log = read_disk_log(fault_disk_->log_file());
    const std::size_t records = log.size();
    CrashStates states(
        std::move(log), {first_},
        {.from_position = records, .seed = random_(), .random_subsets = 16, .tears = 8, .tear_unit_bytes = 1024});
    // By turns evenly: a prefix, one or all but one, any subset, a torn write; each kind as there is one.
    std::vector<std::vector<const CrashState*>> kinds(4);
    for (const CrashState& state : states.states()) {
      const std::string kind = state.name.substr(state.name.find(':') + 1);
      kinds[kind.starts_with("prefix")                                ? 0
            : kind.starts_with("only") || kind.starts_with("without") ? 1
            : state.tear                                              ? 3
                                                                      : 2]
          .push_back(&state);
    }
    std::erase_if(kinds, [](const auto& kind) { return kind.empty(); });
    const auto& kind = kinds.at(random_() % kinds.size());
    const CrashState& state = *kind.at(random_() % kind.size());
    states.build(state, {into});
    return "state " + state.name + ", " + std::to_string(state.survivors.size()) + " writes without a flush survive";
  }

 private:
  TemporaryDirectory folder_;
  std::string first_ = folder_ / "first";
  Leaves leaves_;
  std::mt19937_64& random_;
  std::optional<FaultDisk> fault_disk_;
};

class PowerCut : public testing::TestWithParam<std::tuple<const char*, Scene, Leaves>> {
 protected:
  void SetUp() override {
    if (!may_mount()) GTEST_SKIP() << "needs root";
  }

  /// Runs a machine on `image` up to a random moment; what is left of the disk goes to `into`.
  void run_and_cut(const Material& material, const std::string& image, const Scene& scene, const std::string& into) {
    const milliseconds delay(random_() % (static_cast<std::uint64_t>(scene.window.count()) + 1));
    CutDisk disk(image, std::get<2>(GetParam()), random_);
    MachineSession session(material, disk.drive());
    if (scene.command != nullptr) {
      session.wait_until_ready();
      session.machine().send(scene.command);
    }
    const std::string marker = marker_of(material, scene);
    session.machine().wait_for(marker, kBootLimit);
    std::this_thread::sleep_for(delay);
    session.machine().cut_power();
    acknowledged_ = std::max(acknowledged_, session.acknowledged());
    // On a fast machine the cut of an earlier step may come after the switch.
    Scene at_the_switch = scene;
    at_the_switch.marker = "SWITCH";
    may_have_switched_ = may_have_switched_ || session.machine().count_of(marker_of(material, at_the_switch)) > 0;
    const std::string left = disk.leave(into);
    story_ += std::string(scene.name) + ", " + std::to_string(delay.count()) + " ms after '" + marker + "': " + left +
              "; the console before it:\n" + session.machine().story();
  }

  void run_case();

  [[nodiscard]] static std::string case_name() {
    return std::string(std::get<1>(GetParam()).name) + (std::get<2>(GetParam()) == Leaves::lost ? "Lost" : "Kept");
  }

  std::mt19937_64 random_;
  std::uint64_t acknowledged_ = 0;  ///< log lines that were said to be on the disk
  bool may_have_switched_ = false;  ///< before the cut; then either slot may come up
  std::string story_;
};

void PowerCut::run_case() {
  const auto begin = std::chrono::steady_clock::now();
  const Material& material = Material::of(std::get<0>(GetParam()));
  const Scene& scene = std::get<1>(GetParam());
  // Each case has moments of its own, from the seed and its name alone.
  const std::string name = case_name() + material.bootloader();
  std::vector<std::uint32_t> seeds(name.begin(), name.end());
  seeds.push_back(static_cast<std::uint32_t>(seed_of_run()));
  std::seed_seq seed(seeds.begin(), seeds.end());
  random_.seed(seed);
  SCOPED_TRACE("SLOTKEEPER_VM_SEED=" + std::to_string(seed_of_run()));

  const TemporaryDirectory folder;
  const std::string disk = folder / "disk";
  run_and_cut(material, material.disk(scene.begins), scene, disk);
  if (scene.in_recovery) {
    const Scene recovery{"Recovery of it",     DiskState::provisioned, nullptr,
                         "SK: recover begins", milliseconds(900),      scene.may_run};
    const std::string first = folder / "first";
    copy_image(disk, first);
    run_and_cut(material, first, recovery, disk);
  }

  MachineSession session(material, {.file = disk});
  const char slot = session.wait_until_ready();
  EXPECT_TRUE(may_have_switched_ || std::string(scene.may_run).find(slot) != std::string::npos)
      << "slot " << slot << " must not come up";
  const std::uint64_t starts_behind = session.machine().last_number_after("SK: log starts behind ").value_or(0);
  EXPECT_GE(starts_behind, acknowledged_) << "log lines are gone that were on the disk before the cut";
  session.must("slotkeeper --json status");
  const nlohmann::json status = session.last_result();
  EXPECT_EQ(status.at("transaction"), nullptr) << status.dump();
  const nlohmann::json& booted = status.at("slots").at(std::string(1, slot));
  EXPECT_EQ(booted.at("booted"), true);
  EXPECT_EQ(booted.at("primary"), true);
  EXPECT_EQ(booted.at("health"), "good");

  // Once more, to success: into the other slot, whatever runs now.
  session.must(install_command("3.5.1", true));
  EXPECT_EQ(session.last_result().at("outcome"), "armed");
  session.restart();
  const char other = session.wait_until_ready();
  EXPECT_NE(other, slot);
  EXPECT_EQ(session.last_result().at("outcome"), "confirmed");
  session.power_off();
  const Violations violations = check_device(material, {.disk = disk,
                                                        .configuration_of = scene.begins,
                                                        .runs = other,
                                                        .version = "3.5.1",
                                                        .other_version = slot == 'A' ? "3.5.0" : "3.5.1",
                                                        .log_lines = session.acknowledged()});
  EXPECT_TRUE(violations.empty()) << describe(violations);
  if (HasFailure()) story_ += "The console after it:\n" + session.machine().story();
  std::printf("%s: slot %c came up; %lld s\n", case_name().c_str(), slot,
              static_cast<long long>(
                  std::chrono::duration_cast<std::chrono::seconds>(std::chrono::steady_clock::now() - begin).count()));
}

TEST_P(PowerCut, LeavesADeviceThatWorks) {
  try {
    run_case();
  } catch (const std::runtime_error& failure) {
    ADD_FAILURE() << failure.what();
  }
  if (HasFailure()) std::printf("%s", story_.c_str());
  tell_case(std::get<0>(GetParam()));
}

std::string cut_name(const testing::TestParamInfo<std::tuple<const char*, Scene, Leaves>>& info) {
  return std::string(std::get<1>(info.param).name) + (std::get<2>(info.param) == Leaves::lost ? "Lost" : "Kept");
}

// tests/vm/CMakeLists.txt says which of them are run by tests/run, the rest is for tests/run --long vm.
INSTANTIATE_TEST_SUITE_P(Uboot, PowerCut,
                         testing::Combine(testing::Values("uboot"), testing::ValuesIn(kScenes),
                                          testing::Values(Leaves::kept, Leaves::lost)),
                         cut_name);
INSTANTIATE_TEST_SUITE_P(Grub, PowerCut,
                         testing::Combine(testing::Values("grub"), testing::ValuesIn(kScenes),
                                          testing::Values(Leaves::kept, Leaves::lost)),
                         cut_name);
INSTANTIATE_TEST_SUITE_P(SystemdBoot, PowerCut,
                         testing::Combine(testing::Values("systemd-boot"), testing::ValuesIn(kScenes),
                                          testing::Values(Leaves::kept, Leaves::lost)),
                         cut_name);

}  // namespace
}  // namespace slotkeeper::test
