#include "partitions/state_store_ring.hpp"

#include <algorithm>

namespace slotkeeper::store {

Result<std::vector<EntryRing::Place>> EntryRing::read_places() {
  std::vector<Place> places(static_cast<std::size_t>(region_.length / kStoreBlockBytes));
  for (std::size_t i = 0; i < places.size(); ++i) {
    auto block = device_.read_blocks(region_.offset + i * kStoreBlockBytes, kStoreBlockBytes);
    if (!block.has_value()) {  // the others still count
      places[i].state = PlaceState::unreadable;
      continue;
    }
    const io::ConstBytes bytes = block.value().bytes();
    if (std::optional<StoredEntry> entry = decode_entry(bytes, region_.kind)) {
      places[i] = {.state = PlaceState::whole, .entry = std::move(*entry)};
    } else if (io::is_all_zero(bytes)) {
      places[i].state = PlaceState::blank;
    }
  }
  return places;
}

Result<std::vector<StoredEntry>> EntryRing::read() {
  SK_TRY_ASSIGN(std::vector<Place> places, read_places());
  std::vector<StoredEntry> entries;
  for (Place& place : places) {
    if (place.state == PlaceState::whole) entries.push_back(std::move(place.entry));
  }
  std::sort(entries.begin(), entries.end(),
            [](const StoredEntry& left, const StoredEntry& right) { return left.sequence < right.sequence; });
  return entries;
}

Result<std::size_t> EntryRing::choose_place(const std::vector<Place>& places, const Room& room) const {
  std::optional<std::size_t> damaged;
  std::optional<std::size_t> oldest;
  for (std::size_t i = 0; i < places.size(); ++i) {
    if (places[i].state == PlaceState::blank) return i;
    if (places[i].state == PlaceState::damaged) {
      if (!damaged) damaged = i;
    } else if (places[i].state == PlaceState::whole &&
               (!oldest || places[i].entry.sequence < places[*oldest].entry.sequence)) {
      oldest = i;
    }
  }
  if (damaged) return *damaged;
  if (oldest && places[*oldest].entry.sequence <= room.replaceable_up_to) return *oldest;
  return make_error(Errc::storage_full, "the " + std::string(name_of(region_.kind)) + " in " + device_.path() +
                                            " is full: nobody has acknowledged its entries");
}

Result<std::uint64_t> EntryRing::append(std::string_view payload, const Room& room) {
  if (payload.size() > kEntryPayloadMaxBytes) {
    return make_error(Errc::internal, "an entry of " + std::to_string(payload.size()) + " bytes does not fit the " +
                                          std::string(name_of(region_.kind)));
  }
  SK_TRY_ASSIGN(const std::vector<Place> places, read_places());
  SK_TRY_ASSIGN(const std::size_t place, choose_place(places, room));
  std::uint64_t newest = room.taken_up_to;
  std::uint64_t damaged = 0;
  for (const Place& candidate : places) {
    if (candidate.state == PlaceState::whole) newest = std::max(newest, candidate.entry.sequence);
    if (candidate.state == PlaceState::damaged || candidate.state == PlaceState::unreadable) ++damaged;
  }
  // A damaged entry may have borne the newest number; numbers are left out rather than given twice.
  const StoredEntry entry{.sequence = newest + damaged + 1, .payload = std::string(payload)};
  SK_TRY(device_.write_checked(region_.offset + place * kStoreBlockBytes, encode_entry(region_.kind, entry)));
  return entry.sequence;
}

}  // namespace slotkeeper::store
