// Runs a scene on a fault disk: power cuts at every flush with any part of what was in flight, and a fault at every
// call.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/crash_kernel/filesystem.hpp"
#include "tests/crash_kernel/scene.hpp"
#include "tests/crash_kernel/shadow_storage.hpp"
#include "tests/support/fault_disk/crash_states.hpp"
#include "tests/support/fault_disk/fault_disk.hpp"

namespace slotkeeper::test {

/// Which part of a sweep is run. The same options on the same build make the same cases.
struct SweepOptions {
  std::uint64_t stride = 1;  ///< of every so many cases one
  std::uint64_t seed = 1;    ///< which one; and which samples where not everything is tried
  std::string only;          ///< the case of this name alone
  std::uint64_t tear_unit_bytes = 512;
  /// A folder that a sweep with violations has left: its log is looked at again instead of a new one being recorded.
  std::string replay;
};
/// From SLOTKEEPER_FAULT_STRIDE, _SEED, _ONLY, _TEAR_UNIT and _REPLAY; the stride is this one where nothing is said.
[[nodiscard]] SweepOptions sweep_options(std::uint64_t stride);

struct SweepResult {
  std::uint64_t cuts = 0;      ///< flush boundaries
  std::uint64_t possible = 0;  ///< cases of the whole sweep
  std::uint64_t cases = 0;     ///< run, distinct ones only
  std::uint64_t compared = 0;  ///< of them with what the model of the simulation allows, before any recovery
  std::uint64_t refused = 0;   ///< faults: the operation ended with an error
  std::uint64_t mended = 0;    ///< mount failed until the filesystem was mended
  std::uint64_t noticed = 0;   ///< silent faults: success was reported, and the next verify finds the damage
  Problems violations;         ///< each with the case's name and how to repeat it
  [[nodiscard]] std::string print(const std::string& what) const;
};

/// What a disk does wrong in a fault sweep.
struct FaultKind {
  std::string name;
  FaultRule rule;          ///< its `skip` is swept over
  bool is_silent = false;  ///< the disk reports success
};
[[nodiscard]] std::vector<FaultKind> fault_kinds(std::uint64_t seed);

// Parts of both sweeps.
void add_problems(Problems& all, const std::string& where, const Problems& some);
[[nodiscard]] std::string describe(const Error& error);
[[nodiscard]] bool is_chosen(const SweepOptions& options, std::uint64_t number, const std::string& name);

class SceneRig {
 public:
  SceneRig(const std::string& scene, SweepOptions options, const Filesystem& filesystem = ext4());

  [[nodiscard]] SweepResult cut_power();
  [[nodiscard]] SweepResult inject(const FaultKind& kind);

 private:
  struct Recording {
    std::vector<LogRecord> log;
    std::uint64_t begin = 0;  ///< position of the mark before the operation
    DiskCounters calls;       ///< of the operation alone
    ModelTrace model;         ///< what the model has to say of it
    NodeNumber store = 0;     ///< the devices of store and environment in the model
    NodeNumber environment = 0;
    Problems problems;  ///< model and machine do not even agree without a cut
  };
  using Operation = std::function<Result<void>(const Machine&, const Acknowledge&)>;
  struct Cut {
    std::string name;
    std::vector<std::string> images;
    Promised promised;
    std::uint64_t position = 0;
    const Recording* recording = nullptr;  ///< nothing: there is no model of it
  };

  void prepare();
  Recording record(const std::vector<std::string>& images, const Operation& operation);
  /// Copies log and images to the build folder, and returns what repeats this case.
  std::string keep(const std::string& name, const std::string& test);
  [[nodiscard]] std::vector<std::string> images() const { return images_of(""); }
  /// One for each disk, in the order of their numbers.
  [[nodiscard]] std::vector<std::string> images_of(const std::string& state) const;
  [[nodiscard]] static std::vector<FaultDisk::Disk> disks_of(const std::vector<std::string>& images);
  [[nodiscard]] CrashOptions crash_options(std::uint64_t begin) const;

  void run_cut(const Recording& recording, CrashStates& states, const CrashState& state, bool cuts_again,
               SweepResult& result);
  /// What the kernel made of the cut is one of the states that the model allows.
  [[nodiscard]] static Problems compare_with_model(const Cut& cut, const std::string& root);
  void examine(const Cut& cut, SweepResult& result);
  /// Cuts the recovery from this state, too, at a few places.
  void cut_recovery(const Cut& cut, SweepResult& result);

  void run_fault(const FaultKind& kind, SweepResult& result);
  Problems judge_loud(FaultDisk& disk, const Result<void>& outcome, const Promised& promised, SweepResult& result);
  Problems judge_silent(FaultDisk& disk, const FaultKind& kind, const Result<void>& outcome, SweepResult& result);
  [[nodiscard]] std::unique_ptr<PlainMount> mount(const std::string& device) const;
  /// Mounts, with the filesystem mended before a second try where the first fails and it may be.
  std::unique_ptr<PlainMount> mount_device(const std::string& device, SweepResult& result);

  /// "restore" on ext4, "xfs_restore" elsewhere: the tests' names, too.
  [[nodiscard]] std::string name() const;

  SweepOptions options_;
  const Filesystem& filesystem_;
  std::unique_ptr<Scene> scene_;
  std::unique_ptr<io::Storage> storage_;
  TemporaryDirectory folder_;
  std::optional<Recording> recording_;
};

}  // namespace slotkeeper::test
