// A small device on a simulated machine: two slots, state store, U-Boot environment, permanent partition, and the real
// engine on top. Small, so that a test can cut the power at every single call; copies are independent and cheap.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bootloader-hooks/boot_control.hpp"
#include "engine/transaction/engine.hpp"
#include "partitions/io/host.hpp"
#include "tests/support/played_bootloader.hpp"
#include "tests/support/simulation/simulated_storage.hpp"

namespace slotkeeper::test {

/// Collects what the engine reports; never cancels unless told to.
class RecordingSink final : public EngineSink {
 public:
  void progress(Phase, std::uint64_t, std::uint64_t) override {}
  void notice(std::string_view message) override { notices.emplace_back(message); }
  [[nodiscard]] bool cancel_requested() const override { return cancel; }
  void gate(const permanent::Gate& gate) override { gates.push_back(gate); }
  void planned_write(const PlannedWrite& write) override { writes.push_back(write); }
  void restarting(std::string_view command, const CommandResult& result) override {
    restarts.push_back(std::string(command) + " " + std::string(name_of(result.outcome)));
  }

  std::vector<std::string> notices;
  std::vector<permanent::Gate> gates;
  std::vector<PlannedWrite> writes;
  std::vector<std::string> restarts;  ///< command and outcome that a restart was announced with
  bool cancel = false;
};

class World;

/// What the machine of a world does besides storage. A copy goes on by itself.
struct HostState {
  using Migration = std::function<io::ProcessOutcome(World&, const io::ProcessRequest&)>;

  int boots = 1;
  std::uint64_t random = 1;
  std::chrono::nanoseconds time{0};
  std::chrono::nanoseconds slept{0};
  std::int32_t edits = 0;  ///< of files by others; each has a time of its own
  int health_exit_status = 0;
  Migration migration;  ///< takes the part of the hook `migrate-config`; none: it ends with 0 and does nothing

  /// Programs that were run: name and environment.
  struct Run {
    std::string name;
    std::vector<std::string> arguments;
    std::vector<std::string> environment;
  };
  std::vector<Run> runs;
  std::map<std::string, io::ProcessOutcome> outcomes;                 ///< by name, instead of success
  std::function<void(const std::string& name)> during_run = nullptr;  ///< called in the middle of it
  std::function<void()> during_sleep = nullptr;

  [[nodiscard]] std::vector<std::string> names_run() const;
};

/// The firmware that a bootloader started.
struct BootedSlot {
  SlotId slot = SlotId::a;
  bool is_whole = false;  ///< it holds a whole image
};

class World {
 public:
  /// Provisioned with version 1 in slot A; slot B holds rubbish.
  World();
  World(const World& other);
  /// The same device after a power cut that left this of its storage.
  World(const World& before, FileTree after_cut);
  World& operator=(const World&) = delete;
  ~World();

  /// As a new World.
  void reset();

  /// Keeps the state of the device, and brings it back.
  void save() { saved_ = std::make_unique<SimulatedMachine>(machine_); }
  void load();

  /// An engine that runs from `slot`, on `storage` or on one of its own.
  [[nodiscard]] CommandResult run(SlotId slot, const std::function<CommandResult(Engine&)>& command,
                                  io::Storage* storage = nullptr);
  [[nodiscard]] CommandResult install(SlotId slot, int version = 2, io::Storage* storage = nullptr);
  [[nodiscard]] CommandResult recover(SlotId slot, io::Storage* storage = nullptr);
  [[nodiscard]] CommandResult confirm(SlotId slot, io::Storage* storage = nullptr);
  [[nodiscard]] CommandResult rollback(SlotId slot, io::Storage* storage = nullptr);
  [[nodiscard]] CommandResult revert(SlotId slot);

  /// For wrapping: a storage that lives as long as the world, and on which locks and freezes outlast a command.
  [[nodiscard]] io::Storage& storage();
  // Of an engine that has a storage of its own, see SimulatedStorage.
  std::function<Result<void>(const SimulatedCall&)> before_call;
  std::function<std::size_t(const SimulatedCall&, std::uint64_t offset, io::Bytes)> after_read;

  /// What the bootloader would do now: takes a slot, counts a try down. Fails the test when none can start, or when
  /// the one that starts does not hold a whole firmware.
  [[nodiscard]] SlotId boot();
  /// Power off and on in the middle of it, for the explorer: what is written is not synced yet.
  [[nodiscard]] BootDecision decide_boot() const;
  void write_boot_decision(const BootDecision& decision);
  [[nodiscard]] BootedSlot start(const BootDecision& decision);
  BootloaderKind bootloader = BootloaderKind::ours;
  /// Neither copy is valid any more.
  void damage_environment();
  /// Both copies say this from now on.
  void set_environment(const BootVariables& variables);
  [[nodiscard]] BootVariables environment() const;
  [[nodiscard]] std::string boot_order() const { return environment()["BOOT_ORDER"]; }

  /// One byte of the slot is another one from now on.
  void damage_slot(SlotId slot, std::uint64_t offset);

  /// Version whose image the slot holds in full; nothing when it holds none.
  [[nodiscard]] std::optional<int> version_in(SlotId slot) const;
  /// Whether a kernel would start from what the slot begins with.
  [[nodiscard]] bool comes_up(SlotId slot) const;

  /// What the running firmware wrote while a command ran.
  struct Writers {
    bool write = false;             ///< whether there are any
    std::uint64_t every_calls = 7;  ///< one step in so many storage calls
    std::uint64_t steps = 0;
    std::vector<std::string> synced_lines;    ///< log entries that a sync covers
    std::vector<TreeListing> configurations;  ///< that could be seen since
  };
  Writers writers;
  /// One step of live services: a log entry is appended, or synced, or a configuration file replaced.
  void let_others_write();
  /// The wall clock jumps with every boot.
  bool clock_jumps = false;
  /// The firmware in slot B has other classes, another reserve and other limits than the one in A.
  bool newer_differs = false;

  /// Everything of kind config and state below the permanent partition: path -> type, attributes and contents.
  [[nodiscard]] TreeListing configuration() const;
  /// All segments of the system log, the oldest first, also where they are compressed.
  [[nodiscard]] std::string log() const;
  /// With the clock and what else decides how the device goes on.
  [[nodiscard]] std::uint64_t situation() const;
  /// Stands for every byte of the slots, the boot environment, the state store and the permanent partition, to show
  /// that nothing was changed. The same in every run: keys and signatures, which are not, are left out.
  [[nodiscard]] std::uint64_t everything() const { return everything_in(machine_.tree.seen()); }
  [[nodiscard]] static std::uint64_t everything_in(const FileTree& tree);

  // What somebody else does below the permanent partition.
  enum class Durability : std::uint8_t { synced, unsynced };
  void write_file(const std::string& path, const std::string& contents, Durability durability = Durability::synced);
  void remove_file(const std::string& path, Durability durability = Durability::synced);
  /// Durable.
  void give_mode(const std::string& path, std::uint32_t mode);
  void append_log(const std::string& line, Durability durability = Durability::synced);
  /// As services do it: a new file, synced and renamed over the old one.
  void replace_file(const std::string& path, const std::string& contents);
  /// From now on the firmware that runs has a hook `migrate-config` that does this.
  void give_migration(HostState::Migration migration);
  [[nodiscard]] bool own_directory_is_empty() const;

  [[nodiscard]] HostState& host() { return host_; }
  [[nodiscard]] RecordingSink& sink() const { return *sink_; }
  [[nodiscard]] SimulatedMachine& machine() { return machine_; }
  [[nodiscard]] const SimulatedMachine& machine() const { return machine_; }
  /// Puts an executable hook into the hook directory, or takes it away.
  void set_hook(const std::string& name, bool present = true);

  static constexpr int kAttempts = 2;
  static constexpr const char* kPermanent = "/permanent";

 private:
  explicit World(SimulatedMachine machine);
  [[nodiscard]] Configuration configuration_of_device(SlotId running) const;
  [[nodiscard]] EnvironmentBytes environment_bytes() const;
  [[nodiscard]] NodeNumber directory_of(const std::string& full) const;

  SimulatedMachine machine_;
  HostState host_;
  std::shared_ptr<RecordingSink> sink_;
  std::unique_ptr<SimulatedStorage> storage_;
  std::unique_ptr<SimulatedMachine> saved_;
};

}  // namespace slotkeeper::test
