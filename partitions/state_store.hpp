// Where a transaction is remembered: a fixed-size region on a partition of its own, or a file written in full. All of
// it exists since `provision`, so that an update never meets ENOSPC here. The byte format stands in engine/DESIGN.md.
// This layer keeps payloads; what the JSON in them means is the engine's business.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "partitions/digest.hpp"
#include "partitions/io/storage.hpp"
#include "partitions/slot_table.hpp"

namespace slotkeeper {

inline constexpr std::uint64_t kStoreBlockBytes = 4096;
inline constexpr std::uint64_t kStoreSizeMinBytes = 4ull << 20;
inline constexpr std::size_t kRecordPayloadMaxBytes = std::size_t{60} * 1024;
inline constexpr std::size_t kEntryPayloadMaxBytes = std::size_t{3} * 1024;  ///< one history or outbox entry
inline constexpr std::size_t kHistoryEntries = 64;
inline constexpr std::size_t kOutboxEntries = 64;

/// What is kept twice and written alternately.
enum class RecordKind : std::uint8_t {
  transaction,  ///< the running or last transaction
  facts,        ///< what outlives transactions: baselines of both slots, floor, failure counters
};

struct StoredRecord {
  std::uint64_t generation = 0;  ///< rises by one with every write
  std::string payload;
};

struct StoredEntry {
  std::uint64_t sequence = 0;  ///< starts with 1, never repeats
  std::string payload;
};

/// What seals the contents of an area.
struct AreaSeal {
  std::uint64_t length_bytes = 0;
  Sha256 digest;            ///< of the contents
  std::string description;  ///< JSON of the engine, at most kAreaDescriptionMaxBytes
};
inline constexpr std::size_t kAreaDescriptionMaxBytes = std::size_t{28} * 1024;

/// The two scratch areas are sealed in turn, so that one of them is whole while the other one is written.
enum class AreaKind : std::uint8_t { snapshot_first, snapshot_second, scratch, scratch_second };

/// A region for bulk contents. Written front to back, then sealed; a seal says that the contents are complete.
/// On crash: without a durable seal the contents do not count.
class StoreArea {
 public:
  StoreArea() = default;
  StoreArea(const StoreArea&) = delete;
  StoreArea& operator=(const StoreArea&) = delete;
  virtual ~StoreArea() = default;

  [[nodiscard]] virtual std::uint64_t capacity_bytes() const = 0;
  /// Takes the seal away. Durable when it returns. A no-op where there is none.
  [[nodiscard]] virtual Result<void> unseal() = 0;
  [[nodiscard]] virtual Result<void> write_at(std::uint64_t offset, io::ConstBytes data) = 0;
  /// Flushes the contents, reads them back past the cache, compares their digest with `seal.digest`, then writes the
  /// seal, flushes and reads that back. Errors: readback_mismatch, sync_failed, io_error.
  [[nodiscard]] virtual Result<void> seal(const AreaSeal& seal) = 0;
  /// The seal, if there is a whole one. A damaged seal is none.
  [[nodiscard]] virtual Result<std::optional<AreaSeal>> read_seal() = 0;
  [[nodiscard]] virtual Result<std::size_t> read_at(std::uint64_t offset, io::Bytes into) = 0;
};

/// Errors of opening: not_provisioned (no store: all zero, or a missing file), state_store (garbage, or both copies of
/// something damaged), foreign_record (a format number unknown to this version), io_error.
/// Every write is flushed and read back before it returns: readback_mismatch, sync_failed, io_error.
/// On crash during a record's write: the one before it is found.
class StateStore {
 public:
  /// Writes an empty store over the whole of `path`: areas unsealed, rings empty, superblocks last. A file is created
  /// or enlarged to `file_size_bytes` and written in full; a block device is used as large as it is.
  /// On crash: there is no valid superblock, so the store reads as `not_provisioned` (or is the old one still).
  [[nodiscard]] static Result<void> format(io::Storage& storage, const std::string& path, std::uint64_t file_size_bytes,
                                           std::string_view identifier);

  enum class Access : std::uint8_t { read, write };
  /// For writing the store is locked: `busy` when another Slotkeeper has it. Superblocks and records of which one copy
  /// is damaged are read from the other one and repaired by the next write.
  [[nodiscard]] static Result<std::unique_ptr<StateStore>> open(io::Storage& storage, const std::string& path,
                                                                Access access);

  StateStore() = default;
  StateStore(const StateStore&) = delete;
  StateStore& operator=(const StateStore&) = delete;
  virtual ~StateStore() = default;

  [[nodiscard]] virtual const std::string& identifier() const = 0;

  /// The newest whole record, or nothing when none was ever written.
  [[nodiscard]] virtual Result<std::optional<StoredRecord>> read_record(RecordKind kind) = 0;
  [[nodiscard]] virtual Result<void> write_record(RecordKind kind, std::string_view payload) = 0;

  /// Overwrites the oldest entry when the ring is full.
  [[nodiscard]] virtual Result<void> append_history(std::string_view payload) = 0;
  [[nodiscard]] virtual Result<std::vector<StoredEntry>> read_history() = 0;  ///< newest first; damaged ones left out

  /// Events wait here until they are acknowledged. A full outbox drops the oldest acknowledged ones first, then
  /// refuses.
  [[nodiscard]] virtual Result<std::uint64_t> append_event(std::string_view payload) = 0;
  [[nodiscard]] virtual Result<std::vector<StoredEntry>> pending_events() = 0;  ///< oldest first
  [[nodiscard]] virtual Result<void> acknowledge_events(std::uint64_t up_to_sequence) = 0;

  /// The sector that a boot script reads when the boot environment is damaged. One sector per form, written in place.
  [[nodiscard]] virtual Result<void> write_last_confirmed(SlotId slot) = 0;
  [[nodiscard]] virtual Result<std::optional<SlotId>> read_last_confirmed() = 0;
  /// Whether every form says this slot: a cut between two of them, or damage of one, leaves a bootloader that reads the
  /// other one behind. `write_last_confirmed` mends it. Errors: io_error.
  [[nodiscard]] virtual Result<bool> is_last_confirmed_everywhere(SlotId slot) = 0;

  [[nodiscard]] virtual StoreArea& area(AreaKind kind) = 0;

  [[nodiscard]] virtual Result<void> close() = 0;
};

}  // namespace slotkeeper
