#include "partitions/state_store_layout.hpp"

#include <algorithm>
#include <bit>

#include "partitions/io/aligned_buffer.hpp"

namespace slotkeeper::store {
namespace {

constexpr std::string_view kSuperblockMagic = "SKSTORE1";
constexpr std::string_view kRecordMagic = "SKRECORD";
constexpr std::string_view kEntryMagic = "SKENTRY1";
constexpr std::string_view kSealMagic = "SKSEAL01";
constexpr std::size_t kRegionBytes = 24;
constexpr std::size_t kSuperblockFixedBytes = 96;
constexpr std::size_t kSuperblockCrcOffset = kSectorBytes - 4;
// All that matters of a superblock lies in one sector, so that it is always the old or the new one.
static_assert(kSuperblockFixedBytes + kRegionsMax * kRegionBytes <= kSuperblockCrcOffset);

constexpr std::uint64_t kAreasOffset = std::uint64_t{832} * 1024;
constexpr std::string_view kConfirmedVariable = "slotkeeper_confirmed=";
constexpr std::string_view kGrubSignature = "# GRUB Environment Block\n";

/// Reads and writes integers of a unit; offsets are the format's, so one out of range is a bug.
class Fields {
 public:
  explicit Fields(io::Bytes bytes) : bytes_(bytes) {}
  void put_text(std::size_t offset, std::string_view text) { put_bytes(offset, io::as_bytes(text)); }
  void put_bytes(std::size_t offset, io::ConstBytes bytes) {
    SK_INVARIANT(offset <= bytes_.size() && bytes.size() <= bytes_.size() - offset);
    std::copy(bytes.begin(), bytes.end(), bytes_.begin() + static_cast<std::ptrdiff_t>(offset));
  }
  template <class Integer>
  void put(std::size_t offset, Integer value) {
    for (std::size_t i = 0; i < sizeof(Integer); ++i) bytes_[offset + i] = static_cast<std::byte>(value >> (8 * i));
  }

 private:
  io::Bytes bytes_;
};

template <class Integer>
Integer integer_at(io::ConstBytes bytes, std::size_t offset) {
  SK_INVARIANT(offset <= bytes.size() && sizeof(Integer) <= bytes.size() - offset);
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < sizeof(Integer); ++i) {
    value |= std::to_integer<std::uint64_t>(bytes[offset + i]) << (8 * i);
  }
  return static_cast<Integer>(value);
}

bool starts_with(io::ConstBytes bytes, std::string_view text) {
  return bytes.size() >= text.size() && io::as_text(bytes.first(text.size())) == text;
}

Sha256 digest_at(io::ConstBytes bytes, std::size_t offset) {
  Sha256 digest;
  std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(offset), digest.bytes.size(), digest.bytes.begin());
  return digest;
}

/// CRC over header and payload with the CRC's own field taken as zero.
std::uint32_t crc_without_field(io::ConstBytes covered, std::size_t crc_offset) {
  std::vector<std::byte> copy(covered.begin(), covered.end());
  Fields(copy).put<std::uint32_t>(crc_offset, 0);
  return crc32(copy);
}

std::vector<std::byte> units_for(std::size_t bytes) {
  return std::vector<std::byte>(static_cast<std::size_t>(io::round_up_to_block(bytes)));
}

constexpr std::uint64_t kFixedLengths[] = {
    0,                                  // kinds start with 1
    2 * kStoreBlockBytes,               // last_confirmed
    2 * kStoreBlockBytes,               // acknowledgement
    2 * kRecordPlaceBytes,              // transaction
    2 * kRecordPlaceBytes,              // facts
    kHistoryEntries* kStoreBlockBytes,  // history
    kOutboxEntries* kStoreBlockBytes,   // outbox
};

bool is_printable(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < '\x7f'; });
}

Error damaged_superblock(std::string_view why) {
  return make_error(Errc::state_store, "the superblock " + std::string(why));
}

/// Every region once, in order, whole blocks, inside the store, apart from each other and as long as its kind needs.
bool is_sound(const Superblock& superblock) {
  if (superblock.regions.size() != kRegionKinds) return false;
  const std::uint64_t end = superblock.total_bytes - kStoreBlockBytes;  // the last block is the second superblock
  for (std::size_t i = 0; i < kRegionKinds; ++i) {
    const Region& region = superblock.regions[i];
    if (static_cast<std::size_t>(region.kind) != i + 1) return false;
    if (region.offset % kStoreBlockBytes != 0 || region.length % kStoreBlockBytes != 0) return false;
    if (region.offset < kStoreBlockBytes || region.offset > end || region.length > end - region.offset) return false;
    const std::size_t kind = i + 1;
    if (kind < std::size(kFixedLengths) ? region.length != kFixedLengths[kind] : region.length <= kSealBytes) {
      return false;
    }
  }
  std::vector<Region> by_offset = superblock.regions;
  std::sort(by_offset.begin(), by_offset.end(),
            [](const Region& left, const Region& right) { return left.offset < right.offset; });
  for (std::size_t i = 1; i < by_offset.size(); ++i) {
    if (by_offset[i - 1].offset + by_offset[i - 1].length > by_offset[i].offset) return false;
  }
  return true;
}

}  // namespace

std::string_view name_of(RegionKind kind) {
  constexpr std::string_view kNames[] = {
      "?",       "last-confirmed", "outbox acknowledgement", "transaction record", "facts record",
      "history", "outbox",         "first snapshot",         "second snapshot",    "scratch area"};
  const auto index = static_cast<std::size_t>(kind);
  return index < std::size(kNames) ? kNames[index] : kNames[0];
}

RegionKind region_of(RecordKind kind) {
  return kind == RecordKind::transaction ? RegionKind::transaction : RegionKind::facts;
}

RegionKind region_of(AreaKind kind) {
  switch (kind) {
    case AreaKind::snapshot_first:
      return RegionKind::snapshot_first;
    case AreaKind::snapshot_second:
      return RegionKind::snapshot_second;
    case AreaKind::scratch:
    case AreaKind::scratch_second:
      break;
  }
  return RegionKind::scratch;
}

const Region& Superblock::region(RegionKind kind) const {
  const auto index = static_cast<std::size_t>(kind) - 1;
  SK_INVARIANT(index < regions.size() && regions[index].kind == kind);
  return regions[index];
}

Result<Superblock> plan_layout(std::uint64_t total_bytes, std::string_view identifier) {
  if (total_bytes < kStoreSizeMinBytes || total_bytes % kStoreBlockBytes != 0) {
    return make_error(Errc::config, "a state store needs at least " + std::to_string(kStoreSizeMinBytes) +
                                        " bytes in whole blocks of " + std::to_string(kStoreBlockBytes) + ", not " +
                                        std::to_string(total_bytes));
  }
  if (identifier.empty() || identifier.size() > kIdentifierMaxBytes || !is_printable(identifier)) {
    return make_error(Errc::config, "the identifier of a state store has 1 to " + std::to_string(kIdentifierMaxBytes) +
                                        " printable characters");
  }
  const std::uint64_t areas_bytes = total_bytes - kStoreBlockBytes - kAreasOffset;
  const std::uint64_t scratch_bytes = std::max(kScratchMinBytes, io::round_up_to_block(total_bytes / 8));
  const std::uint64_t snapshot_bytes = io::round_down_to_block((areas_bytes - scratch_bytes) / 2);

  constexpr std::uint64_t kKiB = 1024;
  Superblock superblock{.identifier = std::string(identifier), .total_bytes = total_bytes, .regions = {}};
  constexpr std::uint64_t kOffsets[] = {0, 4 * kKiB, 12 * kKiB, 64 * kKiB, 192 * kKiB, 320 * kKiB, 576 * kKiB};
  for (std::size_t kind = 1; kind < std::size(kOffsets); ++kind) {
    superblock.regions.push_back({static_cast<RegionKind>(kind), kOffsets[kind], kFixedLengths[kind]});
  }
  superblock.regions.push_back({RegionKind::snapshot_first, kAreasOffset, snapshot_bytes});
  superblock.regions.push_back({RegionKind::snapshot_second, kAreasOffset + snapshot_bytes, snapshot_bytes});
  superblock.regions.push_back({RegionKind::scratch, kAreasOffset + 2 * snapshot_bytes, scratch_bytes});
  SK_INVARIANT(is_sound(superblock));
  return superblock;
}

Block encode_superblock(const Superblock& superblock) {
  SK_INVARIANT(is_sound(superblock) && superblock.identifier.size() <= kIdentifierMaxBytes);
  Block block{};
  Fields fields(block);
  fields.put_text(0, kSuperblockMagic);
  fields.put(8, kStoreFormat);
  fields.put(12, static_cast<std::uint32_t>(kStoreBlockBytes));
  fields.put(16, superblock.total_bytes);
  fields.put(24, static_cast<std::uint32_t>(superblock.regions.size()));
  fields.put(28, static_cast<std::uint32_t>(superblock.identifier.size()));
  fields.put_text(32, superblock.identifier);
  std::size_t offset = kSuperblockFixedBytes;
  for (const Region& region : superblock.regions) {
    fields.put(offset, static_cast<std::uint32_t>(region.kind));
    fields.put(offset + 8, region.offset);
    fields.put(offset + 16, region.length);
    offset += kRegionBytes;
  }
  fields.put(kSuperblockCrcOffset, crc32(io::ConstBytes(block).first(kSuperblockCrcOffset)));
  return block;
}

Result<Superblock> decode_superblock(io::ConstBytes block) {
  if (io::is_all_zero(block)) return make_error(Errc::not_provisioned, "there is no state store");
  if (block.size() < kStoreBlockBytes || !starts_with(block, kSuperblockMagic)) {
    return damaged_superblock("is not one of a state store");
  }
  // Magic, format number and checksum lie where they lie in every format, so that a newer one is told from damage.
  if (integer_at<std::uint32_t>(block, kSuperblockCrcOffset) != crc32(block.first(kSuperblockCrcOffset))) {
    return damaged_superblock("is damaged: its checksum is wrong");
  }
  const auto format = integer_at<std::uint32_t>(block, 8);
  if (format != kStoreFormat) {
    return make_error(Errc::foreign_record,
                      "the state store has format " + std::to_string(format) + ", which this version does not know");
  }
  Superblock superblock;
  superblock.total_bytes = integer_at<std::uint64_t>(block, 16);
  const auto region_count = integer_at<std::uint32_t>(block, 24);
  const auto identifier_bytes = integer_at<std::uint32_t>(block, 28);
  if (integer_at<std::uint32_t>(block, 12) != kStoreBlockBytes || superblock.total_bytes < kStoreSizeMinBytes ||
      superblock.total_bytes % kStoreBlockBytes != 0 || region_count > kRegionsMax || identifier_bytes == 0 ||
      identifier_bytes > kIdentifierMaxBytes) {
    return damaged_superblock("holds impossible figures");
  }
  superblock.identifier = io::as_text(block.subspan(32, identifier_bytes));
  if (!is_printable(superblock.identifier)) return damaged_superblock("holds an impossible identifier");
  for (std::size_t i = 0; i < region_count; ++i) {
    const io::ConstBytes row = block.subspan(kSuperblockFixedBytes + i * kRegionBytes, kRegionBytes);
    superblock.regions.push_back({static_cast<RegionKind>(integer_at<std::uint32_t>(row, 0)),
                                  integer_at<std::uint64_t>(row, 8), integer_at<std::uint64_t>(row, 16)});
  }
  if (!is_sound(superblock)) return damaged_superblock("holds an impossible table of regions");
  return superblock;
}

// Record: magic 8, kind 4, payload length 4, generation 8, previous 32, CRC 4, zero 4, payload.
std::vector<std::byte> encode_record(const RecordHeader& header, std::string_view payload) {
  SK_INVARIANT(payload.size() == header.payload_bytes && payload.size() <= kRecordPayloadMaxBytes);
  std::vector<std::byte> units = units_for(kRecordHeaderBytes + payload.size());
  Fields fields(units);
  fields.put_text(0, kRecordMagic);
  fields.put(8, static_cast<std::uint32_t>(header.kind));
  fields.put(12, header.payload_bytes);
  fields.put(16, header.generation);
  fields.put_bytes(24, header.previous.bytes);
  fields.put_text(kRecordHeaderBytes, payload);
  fields.put(56, crc32(io::ConstBytes(units).first(kRecordHeaderBytes + payload.size())));
  return units;
}

std::optional<RecordHeader> decode_record_header(io::ConstBytes unit, RegionKind kind) {
  if (unit.size() < kRecordHeaderBytes || !starts_with(unit, kRecordMagic)) return std::nullopt;
  RecordHeader header{.kind = static_cast<RegionKind>(integer_at<std::uint32_t>(unit, 8)),
                      .payload_bytes = integer_at<std::uint32_t>(unit, 12),
                      .generation = integer_at<std::uint64_t>(unit, 16),
                      .previous = digest_at(unit, 24)};
  if (header.kind != kind || header.payload_bytes > kRecordPayloadMaxBytes || header.generation > kCounterMax) {
    return std::nullopt;
  }
  return header;
}

std::optional<Record> decode_record(io::ConstBytes units, RegionKind kind) {
  const std::optional<RecordHeader> header = decode_record_header(units, kind);
  if (!header || units.size() - kRecordHeaderBytes < header->payload_bytes) return std::nullopt;
  const io::ConstBytes covered = units.first(kRecordHeaderBytes + header->payload_bytes);
  if (integer_at<std::uint32_t>(covered, 56) != crc_without_field(covered, 56)) return std::nullopt;
  return Record{.header = *header,
                .payload = std::string(io::as_text(covered.subspan(kRecordHeaderBytes))),
                .digest = sha256(covered)};
}

// Entry: magic 8, ring 4, payload length 4, sequence 8, CRC 4, zero 36, payload.
Block encode_entry(RegionKind ring, const StoredEntry& entry) {
  SK_INVARIANT(entry.payload.size() <= kEntryPayloadMaxBytes);
  Block unit{};
  Fields fields(unit);
  fields.put_text(0, kEntryMagic);
  fields.put(8, static_cast<std::uint32_t>(ring));
  fields.put(12, static_cast<std::uint32_t>(entry.payload.size()));
  fields.put(16, entry.sequence);
  fields.put_text(kEntryHeaderBytes, entry.payload);
  fields.put(24, crc32(io::ConstBytes(unit).first(kEntryHeaderBytes + entry.payload.size())));
  return unit;
}

std::optional<StoredEntry> decode_entry(io::ConstBytes unit, RegionKind ring) {
  if (unit.size() < kStoreBlockBytes || !starts_with(unit, kEntryMagic)) return std::nullopt;
  const auto payload_bytes = integer_at<std::uint32_t>(unit, 12);
  if (integer_at<std::uint32_t>(unit, 8) != static_cast<std::uint32_t>(ring) || payload_bytes > kEntryPayloadMaxBytes) {
    return std::nullopt;
  }
  const io::ConstBytes covered = unit.first(kEntryHeaderBytes + payload_bytes);
  const auto sequence = integer_at<std::uint64_t>(unit, 16);
  if (sequence == 0 || sequence > kCounterMax) return std::nullopt;
  if (integer_at<std::uint32_t>(covered, 24) != crc_without_field(covered, 24)) return std::nullopt;
  return StoredEntry{.sequence = sequence, .payload = std::string(io::as_text(covered.subspan(kEntryHeaderBytes)))};
}

// Seal: magic 8, area 4, description length 4, contents length 8, digest 32, CRC 4, zero 4, description.
std::vector<std::byte> encode_seal(RegionKind area, const AreaSeal& seal) {
  SK_INVARIANT(seal.description.size() <= kAreaDescriptionMaxBytes);
  std::vector<std::byte> units = units_for(kSealHeaderBytes + seal.description.size());
  Fields fields(units);
  fields.put_text(0, kSealMagic);
  fields.put(8, static_cast<std::uint32_t>(area));
  fields.put(12, static_cast<std::uint32_t>(seal.description.size()));
  fields.put(16, seal.length_bytes);
  fields.put_bytes(24, seal.digest.bytes);
  fields.put_text(kSealHeaderBytes, seal.description);
  fields.put(56, crc32(io::ConstBytes(units).first(kSealHeaderBytes + seal.description.size())));
  return units;
}

std::optional<AreaSeal> decode_seal(io::ConstBytes units, RegionKind area, std::uint64_t capacity_bytes) {
  if (units.size() < kSealHeaderBytes || !starts_with(units, kSealMagic)) return std::nullopt;
  const auto description_bytes = integer_at<std::uint32_t>(units, 12);
  const auto length_bytes = integer_at<std::uint64_t>(units, 16);
  if (integer_at<std::uint32_t>(units, 8) != static_cast<std::uint32_t>(area) ||
      description_bytes > kAreaDescriptionMaxBytes || description_bytes > units.size() - kSealHeaderBytes ||
      length_bytes > capacity_bytes) {
    return std::nullopt;
  }
  const io::ConstBytes covered = units.first(kSealHeaderBytes + description_bytes);
  if (integer_at<std::uint32_t>(covered, 56) != crc_without_field(covered, 56)) return std::nullopt;
  return AreaSeal{.length_bytes = length_bytes,
                  .digest = digest_at(covered, 24),
                  .description = std::string(io::as_text(covered.subspan(kSealHeaderBytes)))};
}

Block encode_uboot_confirmed(SlotId slot) {
  Block block{};
  Fields fields(block);
  fields.put_text(4, std::string(kConfirmedVariable) + std::string(name_of(slot)));
  fields.put(0, crc32(io::ConstBytes(block).subspan(4, kUbootImageBytes - 4)));
  // A U-Boot with a redundant environment expects a flags byte in front of the data in every environment it imports.
  fields.put_text(kUbootImageBytes + 5, std::string(kConfirmedVariable) + std::string(name_of(slot)));
  fields.put(kUbootImageBytes, crc32(io::ConstBytes(block).subspan(kUbootImageBytes + 5, kUbootImageBytes - 5)));
  return block;
}

std::optional<SlotId> decode_uboot_confirmed(io::ConstBytes block) {
  for (const SlotId slot : {SlotId::a, SlotId::b}) {
    const Block expected = encode_uboot_confirmed(slot);
    if (block.size() >= kUbootImageBytes &&
        std::equal(expected.begin(), expected.begin() + kUbootImageBytes, block.begin())) {
      return slot;
    }
  }
  return std::nullopt;
}

Block encode_grub_confirmed(std::optional<SlotId> slot) {
  Block block{};
  std::string text(kGrubSignature);
  if (slot) text += std::string(kConfirmedVariable) + std::string(name_of(*slot)) + "\n";
  text.resize(kGrubImageBytes, '#');
  Fields(block).put_text(0, text);
  return block;
}

std::optional<SlotId> decode_grub_confirmed(io::ConstBytes block) {
  // GRUB's block has no checksum: only one that is equal to the last byte counts.
  for (const SlotId slot : {SlotId::a, SlotId::b}) {
    const Block expected = encode_grub_confirmed(slot);
    if (block.size() >= kGrubImageBytes &&
        std::equal(expected.begin(), expected.begin() + kGrubImageBytes, block.begin())) {
      return slot;
    }
  }
  return std::nullopt;
}

}  // namespace slotkeeper::store
