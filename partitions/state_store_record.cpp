#include "partitions/state_store_record.hpp"

namespace slotkeeper::store {
namespace {

/// A reader has no lock: a writer may turn both places over between the reader's two looks at them.
constexpr int kLooksMax = 3;

bool follows(const Record& newer, const Record& older) {
  return newer.header.generation == older.header.generation + 1 && newer.header.previous == older.digest;
}

}  // namespace

std::vector<std::byte> RecordPair::initial_units(RegionKind kind) {
  return encode_record({.kind = kind, .payload_bytes = 0, .generation = 0, .previous = {}}, "");
}

Result<std::optional<Record>> RecordPair::read_place(std::size_t place) {
  const std::uint64_t offset = region_.offset + place * place_bytes();
  SK_TRY_ASSIGN(const io::AlignedBuffer front, device_.read_blocks(offset, kStoreBlockBytes));
  const std::optional<RecordHeader> header = decode_record_header(front.bytes(), region_.kind);
  if (!header) return std::optional<Record>();
  const std::uint64_t length = io::round_up_to_block(kRecordHeaderBytes + header->payload_bytes);
  if (length > place_bytes()) return std::optional<Record>();
  if (length == kStoreBlockBytes) return decode_record(front.bytes(), region_.kind);
  SK_TRY_ASSIGN(const io::AlignedBuffer whole, device_.read_blocks(offset, length));
  return decode_record(whole.bytes(), region_.kind);
}

Result<RecordPair::Newest> RecordPair::find_newest() {
  Error reason;
  for (int look = 0; look < kLooksMax; ++look) {
    std::array<std::optional<Record>, 2> places;
    reason = make_error(Errc::state_store, "both copies of the " + std::string(name_of(region_.kind)) + " in " +
                                               device_.path() + " are damaged");
    for (std::size_t place = 0; place < places.size(); ++place) {
      auto found = read_place(place);
      // A place that cannot be read is as good as a damaged one: the other place may be whole.
      if (found.has_value()) {
        places[place] = std::move(found).assume_value();
      } else {
        reason = std::move(found).assume_error();
      }
    }
    if (!places[0] && !places[1]) continue;
    if (!places[0] || !places[1]) {
      const std::size_t place = places[0] ? 0 : 1;
      return Newest{.record = std::move(*places[place]), .place = place};
    }
    const std::size_t place = places[0]->header.generation > places[1]->header.generation ? 0 : 1;
    if (follows(*places[place], *places[1 - place])) return Newest{.record = std::move(*places[place]), .place = place};
    reason = make_error(Errc::state_store, "the two copies of the " + std::string(name_of(region_.kind)) + " in " +
                                               device_.path() + " do not follow each other");
  }
  return reason;
}

Result<std::optional<StoredRecord>> RecordPair::read() {
  SK_TRY_ASSIGN(Newest newest, find_newest());
  if (newest.record.header.generation == 0) return std::optional<StoredRecord>();
  return std::optional<StoredRecord>(
      {.generation = newest.record.header.generation, .payload = std::move(newest.record.payload)});
}

Result<void> RecordPair::write(std::string_view payload) {
  if (payload.size() > kRecordPayloadMaxBytes || payload.size() + kRecordHeaderBytes > place_bytes()) {
    return make_error(Errc::internal, "a " + std::string(name_of(region_.kind)) + " of " +
                                          std::to_string(payload.size()) + " bytes does not fit the state store");
  }
  SK_TRY_ASSIGN(const Newest newest, find_newest());
  const RecordHeader header{.kind = region_.kind,
                            .payload_bytes = static_cast<std::uint32_t>(payload.size()),
                            .generation = newest.record.header.generation + 1,
                            .previous = newest.record.digest};
  return device_.write_checked(region_.offset + (1 - newest.place) * place_bytes(), encode_record(header, payload));
}

}  // namespace slotkeeper::store
