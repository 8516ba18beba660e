// A ring of entries, one per block: history and outbox.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "partitions/state_store_device.hpp"
#include "partitions/state_store_layout.hpp"

namespace slotkeeper::store {

class EntryRing {
 public:
  EntryRing(StoreDevice& device, const Region& region) : device_(device), region_(region) {}

  /// What may be overwritten, and the number that the new entry must exceed.
  struct Room {
    std::uint64_t replaceable_up_to = 0;  ///< entries with a sequence up to this one
    std::uint64_t taken_up_to = 0;        ///< sequences known to be taken although no entry shows them any more
  };

  /// Oldest first; damaged ones left out.
  [[nodiscard]] Result<std::vector<StoredEntry>> read();
  /// Returns the sequence. Durable. On crash: the entry is not there, and of the others at most the one that it
  /// replaces is gone. Errors: storage_full when nothing may be replaced, internal (too long), as write_checked.
  [[nodiscard]] Result<std::uint64_t> append(std::string_view payload, const Room& room);

 private:
  /// What cannot be read this time may be whole the next time: it is passed over, never overwritten.
  enum class PlaceState : std::uint8_t { blank, damaged, whole, unreadable };
  struct Place {
    PlaceState state = PlaceState::damaged;
    StoredEntry entry;
  };
  [[nodiscard]] Result<std::vector<Place>> read_places();
  [[nodiscard]] Result<std::size_t> choose_place(const std::vector<Place>& places, const Room& room) const;

  StoreDevice& device_;
  Region region_;
};

}  // namespace slotkeeper::store
