// What is done on a fault disk while it fails or loses power: a device of three disks, the permanent partition, the
// state store and the boot environment, an operation on them, and what must hold afterwards.
#pragma once

#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "partitions/io/storage.hpp"
#include "partitions/permanent/snapshot.hpp"
#include "partitions/state_store.hpp"
#include "tests/support/permanent_partition.hpp"
#include "tests/support/tree_listing.hpp"

namespace slotkeeper::test {

/// A little more than one group of 8 MiB: with one alone there is no second superblock for e2fsck to take.
inline constexpr std::uint64_t kPermanentBytes = 10u << 20;
inline constexpr std::uint64_t kEnvironmentBytes = 32u << 10;
/// Every sector of the contents of a configuration file begins with this.
inline constexpr std::string_view kContentsMark = "#CONTENTS#";
/// So many bytes of it, each line with the name.
[[nodiscard]] std::string marked_contents(const std::string& name, std::size_t size);

/// The device, running: partition mounted, store reachable.
struct Machine {
  std::string root;         ///< where the permanent partition is mounted
  std::string store;        ///< path of the state store
  std::string environment;  ///< path of the disk with the boot environment
  io::Storage& storage;

  [[nodiscard]] std::string at(const std::string& path) const { return root + "/" + path; }
  [[nodiscard]] std::unique_ptr<io::Directory> open_root() const;  ///< throws
  [[nodiscard]] Result<std::unique_ptr<io::Directory>> try_open_root() const { return storage.open_directory(root); }
  [[nodiscard]] Result<std::unique_ptr<StateStore>> open_store(StateStore::Access access) const {
    return StateStore::open(storage, store, access);
  }
};

using Problems = std::vector<std::string>;
/// Called when an operation has promised something: "restored".
using Acknowledge = std::function<void(const std::string& promise)>;
/// How many promises of this name were given before the power went.
using Promised = std::function<bool(const std::string& promise)>;

class Scene {
 public:
  Scene() = default;
  Scene(const Scene&) = delete;
  Scene& operator=(const Scene&) = delete;
  virtual ~Scene() = default;

  [[nodiscard]] virtual std::string name() const = 0;
  /// Before anything else: sizes of files are different with every seed.
  void vary(std::uint64_t seed) { seed_ = seed; }
  /// Once: fills a fresh partition and a freshly formatted store.
  virtual void prepare(const Machine& machine) = 0;
  /// The operation under test.
  virtual Result<void> act(const Machine& machine, const Acknowledge& acknowledge) = 0;
  /// What must hold at every instant, before any recovery.
  virtual Problems check_instant(const Machine& machine, const Promised& promised) = 0;
  /// What the next boot does.
  virtual Result<void> recover(const Machine& machine) = 0;
  /// What must hold when a recovery, or the operation itself, has reported success.
  virtual Problems check_finished(const Machine& machine) = 0;
  /// Whether the engine's own checksums show that something is wrong with the configuration.
  [[nodiscard]] bool verify_finds_damage(const Machine& machine);

 protected:
  /// To be called when the configuration is as it has to be in the end.
  void note_root(const Machine& machine);
  [[nodiscard]] std::uint64_t seed() const { return seed_; }

  permanent::ClassTable classes_ = usual_classes();
  SilentProgress progress_;

 private:
  std::uint64_t seed_ = 1;
  Sha256 root_;
};

/// Removal of disposable files.
[[nodiscard]] std::unique_ptr<Scene> make_compaction_scene();
/// Compression of rotated log segments; `is_full`: with no block free, so that it is done in place.
[[nodiscard]] std::unique_ptr<Scene> make_compression_scene(bool is_full);
/// Snapshot, its record, reserve, its record.
[[nodiscard]] std::unique_ptr<Scene> make_securing_scene();
/// Restore of a snapshot after a trial has changed a file of every sort; release of the reserve.
[[nodiscard]] std::unique_ptr<Scene> make_restore_scene();
/// Records, entries, events and seals in the state store.
[[nodiscard]] std::unique_ptr<Scene> make_store_scene();
/// Repair of a damaged copy of the boot environment, and each state of an update in both.
[[nodiscard]] std::unique_ptr<Scene> make_environment_scene();
[[nodiscard]] std::unique_ptr<Scene> make_scene(const std::string& name);

struct SceneOnDisk {
  std::string filesystem;
  std::string scene;
};
/// Full names with xfs and btrfs; alone, a scene's is on ext4.
[[nodiscard]] std::string name_of(const SceneOnDisk& one);
void PrintTo(const SceneOnDisk& one, std::ostream* into);
/// All scenes on ext4; on the others those that have to do with the permanent partition.
[[nodiscard]] std::vector<SceneOnDisk> scenes_on_disks();

/// Configuration, state and numbered logs that all scenes have.
void fill_partition(const std::string& root, std::uint64_t seed);
/// Every entry gets this time: the same run makes the same images.
void settle_times(const std::string& root, std::int64_t seconds);
inline constexpr std::int64_t kOriginalTime = 1'700'000'000;
[[nodiscard]] Problems log_problems(const std::string& root, std::uint64_t system_entries, bool allows_copies = false);
inline constexpr std::uint64_t kSystemEntries = 240;  ///< in log/system.log and its rotated segments
inline constexpr std::uint64_t kSecurityEntries = 60;

/// The transaction record of the store, or "" where there is none. Throws when the store cannot be read.
[[nodiscard]] std::string record_of(const Machine& machine);

}  // namespace slotkeeper::test
