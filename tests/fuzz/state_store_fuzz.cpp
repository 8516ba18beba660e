// Decoders of the state store on bytes from a device that may hold anything.
//
// The first byte of an input names the decoder (lower bits) and whether the checksum is put right first (highest bit),
// so that what lies behind it is reached; the rest are the bytes on the device. The seeds are units of a store in use,
// each with such a byte in front. Whatever a decoder accepts must be found again after encoding it.
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "partitions/io/aligned_buffer.hpp"
#include "partitions/state_store_layout.hpp"

namespace {

using namespace slotkeeper;
using namespace slotkeeper::store;

enum class Decoder : std::uint8_t { superblock, record, entry, seal, last_confirmed };
constexpr std::uint8_t kDecoders = 5;
constexpr std::uint8_t kMendChecksum = 0x80;
constexpr std::uint64_t kAreaBytes = 1 << 20;

void require(bool condition) {
  if (!condition) std::abort();
}

void put_crc(std::vector<std::byte>& bytes, std::size_t offset, std::size_t covered) {
  if (covered > bytes.size() || offset + 4 > covered) return;
  for (std::size_t i = 0; i < 4; ++i) bytes[offset + i] = std::byte{0};
  const std::uint32_t crc = crc32(io::ConstBytes(bytes).first(covered));
  for (std::size_t i = 0; i < 4; ++i) bytes[offset + i] = static_cast<std::byte>(crc >> (8 * i));
}

std::size_t length_field(const std::vector<std::byte>& bytes) {
  if (bytes.size() < 16) return 0;
  std::size_t length = 0;
  for (std::size_t i = 0; i < 4; ++i) length |= std::to_integer<std::size_t>(bytes[12 + i]) << (8 * i);
  return length;
}

void try_superblock(std::vector<std::byte> bytes, bool mend) {
  bytes.resize(kStoreBlockBytes);
  if (mend) {
    const std::uint32_t crc = crc32(io::ConstBytes(bytes).first(508));
    for (std::size_t i = 0; i < 4; ++i) bytes[508 + i] = static_cast<std::byte>(crc >> (8 * i));
  }
  const auto superblock = decode_superblock(bytes);
  if (!superblock.has_value()) return;
  for (const Region& region : superblock.value().regions) {
    require(region.offset >= kStoreBlockBytes && region.length <= superblock.value().total_bytes &&
            region.offset + region.length <= superblock.value().total_bytes - kStoreBlockBytes);
  }
  const auto again = decode_superblock(encode_superblock(superblock.value()));
  require(again.has_value() && again.value() == superblock.value());
}

void try_record(std::vector<std::byte> bytes, bool mend) {
  if (mend) put_crc(bytes, 56, kRecordHeaderBytes + length_field(bytes));
  for (const RegionKind kind : {RegionKind::transaction, RegionKind::facts, RegionKind::acknowledgement}) {
    const auto record = decode_record(bytes, kind);
    if (!record) continue;
    require(record->payload.size() <= kRecordPayloadMaxBytes);
    const auto again = decode_record(encode_record(record->header, record->payload), kind);
    require(again && again->payload == record->payload && again->header.generation == record->header.generation);
  }
}

void try_entry(std::vector<std::byte> bytes, bool mend) {
  bytes.resize(kStoreBlockBytes);
  if (mend) put_crc(bytes, 24, kEntryHeaderBytes + length_field(bytes));
  for (const RegionKind ring : {RegionKind::history, RegionKind::outbox}) {
    const auto entry = decode_entry(bytes, ring);
    if (!entry) continue;
    const auto again = decode_entry(encode_entry(ring, *entry), ring);
    require(again && again->payload == entry->payload && again->sequence == entry->sequence);
  }
}

void try_seal(std::vector<std::byte> bytes, bool mend) {
  if (mend) put_crc(bytes, 56, kSealHeaderBytes + length_field(bytes));
  for (const RegionKind area : {RegionKind::snapshot_first, RegionKind::snapshot_second, RegionKind::scratch}) {
    const auto seal = decode_seal(bytes, area, kAreaBytes);
    if (!seal) continue;
    require(seal->length_bytes <= kAreaBytes);
    const auto again = decode_seal(encode_seal(area, *seal), area, kAreaBytes);
    require(again && again->description == seal->description && again->digest == seal->digest);
  }
}

void try_last_confirmed(const std::vector<std::byte>& bytes) {
  if (const auto slot = decode_uboot_confirmed(bytes))
    require(decode_uboot_confirmed(encode_uboot_confirmed(*slot)) == slot);
  if (const auto slot = decode_grub_confirmed(bytes))
    require(decode_grub_confirmed(encode_grub_confirmed(*slot)) == slot);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const bool mend = (data[0] & kMendChecksum) != 0;
  const auto decoder = static_cast<Decoder>((data[0] & ~kMendChecksum) % kDecoders);
  const auto* const first = reinterpret_cast<const std::byte*>(data);
  std::vector<std::byte> bytes(first + 1, first + size);
  switch (decoder) {
    case Decoder::superblock:
      try_superblock(std::move(bytes), mend);
      break;
    case Decoder::record:
      try_record(std::move(bytes), mend);
      break;
    case Decoder::entry:
      try_entry(std::move(bytes), mend);
      break;
    case Decoder::seal:
      try_seal(std::move(bytes), mend);
      break;
    case Decoder::last_confirmed:
      try_last_confirmed(bytes);
      break;
  }
  return 0;
}
