// What the state store remembers of a transaction, as JSON. The grammar stands in engine/DESIGN.md. Two engine versions
// may work on one transaction, so the version of the record goes with it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/transaction/facts.hpp"
#include "engine/transaction/states.hpp"
#include "partitions/digest.hpp"
#include "partitions/permanent/classes.hpp"
#include "partitions/permanent/snapshot.hpp"
#include "partitions/slot_table.hpp"

namespace slotkeeper {

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

  SlotBaseline image;                 ///< what the target is to hold
  std::optional<VersionFloor> floor;  ///< of the device once the target is confirmed; nothing where it stays
  std::string original_version;       ///< for people

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
