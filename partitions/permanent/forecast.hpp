// Will the update fit? A pure function of figures: every term in bytes and inodes, and the gates that follow from them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "partitions/io/result.hpp"
#include "partitions/io/types.hpp"
#include "partitions/permanent/inventory.hpp"

namespace slotkeeper::permanent {

/// A gate's verdict, as printed. `measured` and `limit` are integers of `unit`; what "pass" means is in `message`.
struct Gate {
  Errc code = Errc::no_space;
  bool pass = false;
  std::uint64_t measured = 0;
  std::uint64_t limit = 0;
  std::string unit;  ///< bytes | inodes | bytes/s | count
  std::string message;
};

struct Amount {
  std::uint64_t bytes = 0;
  std::uint64_t inodes = 0;
};

struct ForecastInput {
  io::SpaceFacts space;
  std::optional<std::uint64_t> reserved_bytes;  ///< kept from everybody; nothing: as `space` shows
  Amount reclaimable;                           ///< what compaction frees
  Amount rollback_reserve;                      ///< pre-made replacements of every snapshot entry
  Amount event_reserve;                         ///< what services write about the update itself
  Amount migration_headroom;                    ///< a second copy of the configuration for a migration
  std::uint64_t log_reserve_bytes = 0;          ///< `[permanent] reserve`
  std::uint64_t write_rate_bytes_per_s = 0;     ///< of the live system
  bool write_rate_is_measured = true;           ///< false where the probe is switched off
  std::uint64_t expected_duration_s = 0;        ///< from the beginning to the switch
  std::uint32_t max_fill_percent = 54;
};

struct Forecast {
  ForecastInput input;
  std::uint64_t growth_bytes = 0;  ///< of the live system: write rate times duration
  Amount needed;                   ///< what the update itself needs: the sum of all terms but growth
  Amount peak;                     ///< with growth
  Amount available;                ///< after compaction: available to everybody, bytes and inodes
  std::uint64_t used_after_bytes = 0;
  std::vector<Gate> gates;  ///< no_space (bytes), no_space (inodes), fill_level, write_storm, in this order

  /// What must still be freed so that all these gates pass.
  [[nodiscard]] Amount shortfall() const;
};

/// Saturates instead of overflowing. no_space counts what the update itself needs; write_storm asks whether the room
/// that is left then bears the live system's writing: it passes when rate <= (available - needed) / duration, rounded
/// down. fill_level passes when used * 100 <= max_fill * capacity, exactly.
[[nodiscard]] Forecast make_forecast(const ForecastInput& input);

/// The rollback reserve and the migration headroom that an inventory asks for, rounded up to blocks.
[[nodiscard]] Amount rollback_reserve_of(const Inventory& inventory, std::uint64_t block_bytes);
[[nodiscard]] Amount migration_headroom_of(const Inventory& inventory, std::uint64_t block_bytes);

/// Bytes and inodes that the events of one update may add to logs.
inline constexpr Amount kEventReserve{.bytes = std::uint64_t{64} * 1024, .inodes = 4};

}  // namespace slotkeeper::permanent
