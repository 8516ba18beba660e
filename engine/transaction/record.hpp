// What the state store remembers, as JSON: the transaction, and the facts that outlive transactions. The grammar stands
// in engine/DESIGN.md. Two engine versions may work on one transaction, so the version of the record goes with it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/json/json.hpp"
#include "engine/transaction/states.hpp"
#include "partitions/digest.hpp"
#include "partitions/permanent/classes.hpp"
#include "partitions/permanent/snapshot.hpp"
#include "partitions/slot_table.hpp"

namespace slotkeeper {

inline constexpr std::int64_t kRecordVersion = 1;

/// What a volume must read as.
struct VolumeBaseline {
  std::string volume;
  std::uint64_t length_bytes = 0;
  Sha256 digest;  ///< by pieces, see partitions/digest.hpp
  bool operator==(const VolumeBaseline&) const = default;
};

/// Where a baseline comes from.
enum class BaselineOrigin : std::uint8_t { adopted, factory, bundle };
[[nodiscard]] std::string_view name_of(BaselineOrigin origin);

/// What is known of a slot that was good once.
struct SlotBaseline {
  BaselineOrigin origin = BaselineOrigin::adopted;
  std::string version;                    ///< empty where it was adopted
  std::optional<Sha256> manifest_digest;  ///< of the bundle it came from
  std::vector<VolumeBaseline> volumes;
  std::optional<std::int64_t> config_schema;       ///< schema its firmware writes
  std::optional<std::int64_t> config_readable_by;  ///< oldest schema whose firmware reads that
  bool operator==(const SlotBaseline&) const = default;
};

struct DeviceFacts {
  SlotId confirmed = SlotId::a;
  std::optional<SlotBaseline> a;
  std::optional<SlotBaseline> b;
  std::optional<std::string> snapshot_of;  ///< transaction whose snapshot is kept as `previous`
  bool saved_aside = false;       ///< of a fall-back that is not finished: what the lost firmware wrote is kept already
  std::string activated_boot_id;  ///< boot in which an operator chose the confirmed slot; it runs after the next boot
  bool operator==(const DeviceFacts&) const = default;

  [[nodiscard]] const std::optional<SlotBaseline>& operator[](SlotId slot) const { return slot == SlotId::a ? a : b; }
  [[nodiscard]] std::optional<SlotBaseline>& operator[](SlotId slot) { return slot == SlotId::a ? a : b; }
};

/// Why a transaction is being rolled back.
struct RecordedCause {
  std::string code;
  std::string phase;  ///< empty where it has none
  std::string message;
  bool operator==(const RecordedCause&) const = default;
};

/// What became of the hook `migrate-config` of the firmware on trial.
struct Migration {
  bool ran = false;                  ///< false: the new firmware has no such hook
  bool config_changed = false;       ///< entries of kind config differ from those that the original left
  bool manual_input_needed = false;  ///< the hook said so
  bool operator==(const Migration&) const = default;
};

struct TransactionRecord {
  std::int64_t record_version = kRecordVersion;
  std::string engine_version;
  std::string id;  ///< UUID
  State state = State::begun;
  SlotId original = SlotId::a;
  SlotId target = SlotId::b;

  // As it was begun; used instead of the running firmware's configuration.
  std::uint32_t attempts = 3;
  std::string permanent_path;
  permanent::ClassTable classes;
  Sha256 slot_table_digest;
  std::uint64_t slack_bytes = 0;

  SlotBaseline image;            ///< what the target is to hold
  std::string original_version;  ///< for people

  std::optional<permanent::SnapshotFacts> first;
  std::optional<permanent::SnapshotFacts> second;
  bool second_decided = false;  ///< the second generation is taken, or was found needless

  std::string armed_boot_id;            ///< boot in which the last check was begun, and so the switch made
  std::uint32_t trial_boots = 0;        ///< counted by us, whatever the bootloader says
  std::string trial_boot_id;            ///< boot that was counted last
  std::int64_t trial_since_boot_s = 0;  ///< seconds after that boot at which the trial was first seen
  bool revert = false;                  ///< a confirmed transaction is undone on request; the target stays good
  bool restore_wanted = false;          ///< the configuration is to be restored once the original runs
  std::optional<permanent::ClassTable> trial_classes;  ///< of the firmware on trial, where they differ from `classes`
  std::optional<Migration> migration;                  ///< there once it has ended well or was found needless
  bool saved_aside = false;  ///< of a revert: what the newer firmware wrote is kept in the other snapshot area

  std::string started;  ///< RFC 3339
  std::optional<RecordedCause> cause;

  [[nodiscard]] std::string mark_id() const;  ///< the first 16 hex digits of the id
};

[[nodiscard]] std::string print_record(const TransactionRecord& record);
/// Errors: foreign_record (a version, state or member unknown to this version), state_store (not a record).
[[nodiscard]] Result<TransactionRecord> parse_record(const std::string& payload);

[[nodiscard]] std::string print_facts(const DeviceFacts& facts);
/// Errors: as parse_record.
[[nodiscard]] Result<DeviceFacts> parse_facts(const std::string& payload);

/// What the seal of a snapshot says, so that it can be restored without the record it was made under.
struct SnapshotDescription {
  std::string transaction;
  permanent::ClassTable classes;
  std::string permanent_path;
  permanent::SnapshotFacts facts;
};
[[nodiscard]] std::string print_snapshot_description(const SnapshotDescription& description);
[[nodiscard]] Result<SnapshotDescription> parse_snapshot_description(const std::string& payload);

/// "2026-11-24T02:03:04Z"
[[nodiscard]] std::string rfc3339(io::TimeStamp time);

}  // namespace slotkeeper
