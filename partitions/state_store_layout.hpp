// The bytes of the state store: encoding and decoding of its units, without any I/O. Everything is little endian. The
// grammar with a worked example stands in engine/DESIGN.md. Decoders take bytes from a device that may hold anything.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "partitions/state_store.hpp"

namespace slotkeeper::store {

inline constexpr std::uint64_t kSectorBytes = 512;  ///< what a device writes in one piece
inline constexpr std::uint32_t kStoreFormat = 1;
inline constexpr std::size_t kIdentifierMaxBytes = 64;
inline constexpr std::size_t kRegionsMax = 16;

inline constexpr std::uint64_t kRecordPlaceBytes = std::uint64_t{64} * 1024;  ///< one of the two places of a record
inline constexpr std::size_t kRecordHeaderBytes = 64;
inline constexpr std::size_t kEntryHeaderBytes = 64;
inline constexpr std::uint64_t kSealBytes = std::uint64_t{32} * 1024;  ///< at the front of every area
inline constexpr std::size_t kSealHeaderBytes = 64;
inline constexpr std::size_t kUbootImageBytes = 512;
inline constexpr std::size_t kGrubImageBytes = 1024;
inline constexpr std::uint64_t kScratchMinBytes = std::uint64_t{256} * 1024;
inline constexpr std::uint64_t kCounterMax = 1ull << 62;  ///< of generations and sequences: so that none ever wraps

static_assert(kRecordHeaderBytes + kRecordPayloadMaxBytes <= kRecordPlaceBytes);
static_assert(kEntryHeaderBytes + kEntryPayloadMaxBytes <= kStoreBlockBytes);
static_assert(kSealHeaderBytes + kAreaDescriptionMaxBytes <= kSealBytes);

enum class RegionKind : std::uint32_t {
  last_confirmed = 1,   ///< a block in U-Boot's form, a block in GRUB's form
  acknowledgement = 2,  ///< of the outbox: two places of one block
  transaction = 3,      ///< two places of 64 KiB
  facts = 4,            ///< two places of 64 KiB
  history = 5,          ///< ring of blocks
  outbox = 6,           ///< ring of blocks
  snapshot_first = 7,
  snapshot_second = 8,
  scratch = 9,
};
inline constexpr std::size_t kRegionKinds = 9;
[[nodiscard]] std::string_view name_of(RegionKind kind);
[[nodiscard]] RegionKind region_of(RecordKind kind);
[[nodiscard]] RegionKind region_of(AreaKind kind);

struct Region {
  RegionKind kind = RegionKind::last_confirmed;
  std::uint64_t offset = 0;  ///< bytes from the start of the store
  std::uint64_t length = 0;
  auto operator<=>(const Region&) const = default;
};

/// What both superblocks say. The table names every kind of region exactly once, in ascending order of the kinds.
struct Superblock {
  std::string identifier;
  std::uint64_t total_bytes = 0;  ///< of the store; the device may be larger
  std::vector<Region> regions;

  [[nodiscard]] const Region& region(RegionKind kind) const;
  bool operator==(const Superblock&) const = default;
};

/// Divides a store of `total_bytes` (a multiple of 4 KiB). Errors: config when it is too small or the identifier is
/// empty, too long or not printable.
[[nodiscard]] Result<Superblock> plan_layout(std::uint64_t total_bytes, std::string_view identifier);

using Block = std::array<std::byte, kStoreBlockBytes>;

[[nodiscard]] Block encode_superblock(const Superblock& superblock);
/// Errors: not_provisioned (the block is all zero), foreign_record (whole, but of another format number), state_store.
[[nodiscard]] Result<Superblock> decode_superblock(io::ConstBytes block);

/// The front of a record: what the first unit tells before the rest is read.
struct RecordHeader {
  RegionKind kind = RegionKind::transaction;
  std::uint32_t payload_bytes = 0;
  std::uint64_t generation = 0;  ///< 0: written by `format`, stands for "none yet"
  Sha256 previous;               ///< of header and payload of the record before; zero for generation 0
};

/// A record as it lies on the device: `digest` is what the next one names as `previous`.
struct Record {
  RecordHeader header;
  std::string payload;
  Sha256 digest;
};

/// Whole units, padded with zeros.
[[nodiscard]] std::vector<std::byte> encode_record(const RecordHeader& header, std::string_view payload);
/// Looks at the magic, the kind and the length only, so that the caller knows how much to read.
[[nodiscard]] std::optional<RecordHeader> decode_record_header(io::ConstBytes unit, RegionKind kind);
/// Nothing when it is damaged, torn or of another kind.
[[nodiscard]] std::optional<Record> decode_record(io::ConstBytes units, RegionKind kind);

/// One entry of a ring, one unit long. `ring` is history or outbox.
[[nodiscard]] Block encode_entry(RegionKind ring, const StoredEntry& entry);
[[nodiscard]] std::optional<StoredEntry> decode_entry(io::ConstBytes unit, RegionKind ring);

/// The seal in front of an area's contents, in whole units.
[[nodiscard]] std::vector<std::byte> encode_seal(RegionKind area, const AreaSeal& seal);
/// Nothing when there is none, when it is damaged, or when it covers more than `capacity_bytes`.
[[nodiscard]] std::optional<AreaSeal> decode_seal(io::ConstBytes units, RegionKind area, std::uint64_t capacity_bytes);

/// Two U-Boot environments of 512 bytes, for `env import -c ADDR 0x200 slotkeeper_confirmed`: the first for a U-Boot
/// whose environment has no flags byte, the second for one with a redundant environment. The rest of the block is zero.
[[nodiscard]] Block encode_uboot_confirmed(SlotId slot);
[[nodiscard]] std::optional<SlotId> decode_uboot_confirmed(io::ConstBytes block);

/// GRUB environment block of 1024 bytes; its second sector is the same for every slot, so that a torn write of a
/// changed one cannot be seen. Without a slot: the empty environment that `format` leaves.
[[nodiscard]] Block encode_grub_confirmed(std::optional<SlotId> slot);
[[nodiscard]] std::optional<SlotId> decode_grub_confirmed(io::ConstBytes block);

}  // namespace slotkeeper::store
