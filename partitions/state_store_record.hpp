// A record kept in two places that are written alternately, so that the one before is whole while one is written.
#pragma once

#include <array>
#include <optional>
#include <string_view>

#include "partitions/state_store_device.hpp"
#include "partitions/state_store_layout.hpp"

namespace slotkeeper::store {

class RecordPair {
 public:
  RecordPair(StoreDevice& device, const Region& region) : device_(device), region_(region) {}

  /// The newest whole record, nothing before the first write. Errors: state_store when neither place holds a whole
  /// record or when the two whole ones do not follow each other; io_error.
  [[nodiscard]] Result<std::optional<StoredRecord>> read();
  /// Durable. On crash: the record before it is found. Errors: internal (too long), as StoreDevice::write_checked.
  [[nodiscard]] Result<void> write(std::string_view payload);

  /// What `format` leaves in the first place: a record that says "none yet". It makes a torn first write harmless.
  [[nodiscard]] static std::vector<std::byte> initial_units(RegionKind kind);

 private:
  struct Newest {
    Record record;
    std::size_t place = 0;
  };
  [[nodiscard]] std::uint64_t place_bytes() const { return region_.length / 2; }
  [[nodiscard]] Result<std::optional<Record>> read_place(std::size_t place);
  [[nodiscard]] Result<Newest> find_newest();

  StoreDevice& device_;
  Region region_;
};

}  // namespace slotkeeper::store
