// Everything a command works on, opened in the right order: state store (locked), boot control, booted slot, record.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "engine/transaction/engine.hpp"
#include "engine/transaction/pace.hpp"
#include "engine/transaction/permanent_watch.hpp"
#include "engine/transaction/record.hpp"
#include "engine/transaction/recovery.hpp"
#include "partitions/slot_hash.hpp"
#include "partitions/state_store.hpp"

namespace slotkeeper {

[[nodiscard]] std::string_view engine_version();  ///< "0.1.0"
inline constexpr std::size_t kHistoryMessageMaxBytes = 400;

/// Opened once per command. Holds the store's lock until it goes away.
struct Device {
  EngineSettings& settings;
  std::unique_ptr<boot::BootControl> boot;
  std::unique_ptr<StateStore> store;
  std::string boot_id;
  SlotId booted = SlotId::a;
  bool booted_is_known = true;  ///< false only for commands that look: `booted` is the confirmed slot then
  DeviceFacts facts;
  std::optional<TransactionRecord> record;  ///< the open transaction or the last one
  std::optional<Phase> phase;               ///< what is being done, for messages
  // What the command's result will say.
  bool reboot_needed = false;
  bool wrote = false;      ///< anything durable was changed
  bool compacted = false;  ///< this install removed something from the permanent partition
  bool resumed = false;    ///< the hook `resume` was run for a command that was killed
  bool fell_back = false;  ///< another slot runs than the confirmed one; it is the confirmed one now
  std::optional<Failure> cause;
  JsonObject report;
  std::unique_ptr<PermanentWatch> watch;  ///< from the compaction to the last check of an update
  std::unique_ptr<Pace> pace;             ///< see BackgroundWork; stands before the watch

  [[nodiscard]] io::Storage& storage() const { return settings.storage; }
  [[nodiscard]] EngineSink& sink() const {
    if (pace) return *pace;
    return watch ? *watch : settings.sink;
  }
  [[nodiscard]] const Configuration& configuration() const { return settings.configuration; }
  [[nodiscard]] bool has_open_transaction() const { return record && !is_over(record->state); }
  [[nodiscard]] std::uint32_t attempts() const;  ///< after the backend's own limit

  /// The permanent partition that the open transaction, or else the configuration, speaks of.
  [[nodiscard]] Result<std::unique_ptr<io::Directory>> open_permanent() const;
  [[nodiscard]] const std::string& permanent_path() const;

  /// Durable: the record as it stands now. On crash: this one or the one before.
  [[nodiscard]] Result<void> save_record();
  [[nodiscard]] Result<void> save_facts();
  /// Moves the open transaction by an event of a forward step: persists the new state before anything is done in it.
  [[nodiscard]] Result<void> advance(Event event);

  /// Puts a member into the command's report, in place of an earlier one of that name.
  void set_report(std::string_view name, Json value);

  /// Reads the boot environment afresh.
  [[nodiscard]] Result<BootFacts> boot_facts();
  /// The state as this bootloader can keep it.
  [[nodiscard]] boot::BootState as_kept(boot::BootState wanted) const;
  /// Makes the environment say `wanted`; writes nothing where it says so already.
  [[nodiscard]] Result<void> store_environment(const boot::BootState& before, const boot::BootState& wanted);

  /// Adds an entry for the transaction to the history unless the newest one is of the same transaction and outcome.
  [[nodiscard]] Result<void> add_history(Outcome outcome, const std::optional<Failure>& why);
  /// Adds an entry for an install that ended before it began a transaction.
  [[nodiscard]] Result<void> add_history_without_transaction(Outcome outcome, const Failure& why,
                                                             const std::string& version);

 private:
  [[nodiscard]] Json history_entry(Outcome outcome, const std::optional<Failure>& why) const;
};

enum class OpenFor : std::uint8_t { reading, writing, recovering };

/// Errors: config, unknown_slot (only for writing), not_provisioned, state_store, foreign_record, busy,
/// boot_environment is not among them: the environment is read when it is needed.
[[nodiscard]] Result<std::unique_ptr<Device>> open_device(EngineSettings& settings, OpenFor purpose);

/// The configured backend.
[[nodiscard]] Result<std::unique_ptr<boot::BootControl>> make_boot_control(EngineSettings& settings);

/// The booted slot by kernel command line, root device, --booted-slot, or the backend's own answer.
[[nodiscard]] Result<SlotId> booted_slot(EngineSettings& settings, boot::BootControl& boot);

/// How the volumes of a slot read, by name: the fast hashes of their pieces.
using SlotReading = std::map<std::string, std::vector<std::uint64_t>>;

/// Who wants to see the blocks of a volume, by its name, while it is read; may give nobody.
using BlockLookOf = std::function<BlockLook(const std::string& volume)>;

/// Volumes of a slot that do not read as their baseline says; volumes with `verify = "none"` are left out. Reports to
/// `sink` where one is given, and keeps in `reading` how the volumes read.
[[nodiscard]] Result<std::vector<std::string>> damaged_volumes(EngineSettings& settings, const Slot& slot,
                                                               const SlotBaseline& baseline, Phase phase,
                                                               ProgressSink* sink = nullptr,
                                                               SlotReading* reading = nullptr,
                                                               const BlockLookOf& look_of = {});

}  // namespace slotkeeper
