#include "partitions/permanent/forecast.hpp"

#include <algorithm>
#include <limits>

#include "partitions/permanent/reserve_need.hpp"

namespace slotkeeper::permanent {
namespace {

__extension__ using Wide = unsigned __int128;

constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();

std::uint64_t saturate(Wide value) { return value > kMost ? kMost : static_cast<std::uint64_t>(value); }
std::uint64_t plus(std::uint64_t a, std::uint64_t b) { return saturate(Wide(a) + b); }
std::uint64_t minus(std::uint64_t a, std::uint64_t b) { return a > b ? a - b : 0; }
Amount plus(Amount a, Amount b) { return {.bytes = plus(a.bytes, b.bytes), .inodes = plus(a.inodes, b.inodes)}; }

enum class Rounding : std::uint8_t { down, up };

/// Tenths of MiB in digits. What must still be freed is rounded up and what there is down, so that who follows the
/// figure is never short.
std::string mebibytes(std::uint64_t bytes, Rounding rounding) {
  constexpr Wide kMebibyte = Wide{1024} * 1024;
  const Wide tenths = (Wide(bytes) * 10 + (rounding == Rounding::up ? kMebibyte - 1 : 0)) / kMebibyte;
  return std::to_string(static_cast<std::uint64_t>(tenths / 10)) + "." +
         std::to_string(static_cast<std::uint64_t>(tenths % 10)) + " MiB";
}

/// `part` of `whole` in percent with one digit.
std::string percent(std::uint64_t part, std::uint64_t whole, Rounding rounding) {
  if (whole == 0) return "100.0 %";
  const Wide tenths = (Wide(part) * 1000 + (rounding == Rounding::up ? whole - 1 : 0)) / whole;
  return std::to_string(saturate(tenths / 10)) + "." + std::to_string(static_cast<std::uint64_t>(tenths % 10)) + " %";
}

/// Passes when `measured` is at most `limit`.
Gate gate_of(Errc code, std::uint64_t measured, std::uint64_t limit, std::string_view unit) {
  Gate gate;
  gate.code = code;
  gate.pass = measured <= limit;
  gate.measured = measured;
  gate.limit = limit;
  gate.unit = unit;
  return gate;
}

Gate bytes_gate(const Forecast& forecast) {
  Gate gate = gate_of(Errc::no_space, forecast.needed.bytes, forecast.available.bytes, "bytes");
  gate.message = "the update needs " + mebibytes(gate.measured, Rounding::up) + " on the permanent partition and " +
                 mebibytes(gate.limit, Rounding::down) + " are available after compaction";
  if (!gate.pass) {
    gate.message += "; " + mebibytes(gate.measured - gate.limit, Rounding::up) + " more must be freed";
  }
  return gate;
}

Gate inodes_gate(const Forecast& forecast) {
  Gate gate = gate_of(Errc::no_space, forecast.needed.inodes, forecast.available.inodes, "inodes");
  if (forecast.input.space.inodes == 0) {
    gate.limit = gate.measured;
    gate.pass = true;
    gate.message = "the filesystem of the permanent partition has no fixed number of files";
    return gate;
  }
  gate.message = "the update needs " + std::to_string(gate.measured) +
                 " files (inodes) on the permanent partition and " + std::to_string(gate.limit) +
                 " are available after compaction";
  if (!gate.pass) {
    gate.message +=
        "; " + std::to_string(gate.measured - gate.limit) + " more files must be deleted, whatever their size";
  }
  return gate;
}

Gate fill_gate(const Forecast& forecast) {
  const std::uint64_t capacity = forecast.input.space.capacity_bytes;
  const std::string allowed = std::to_string(forecast.input.max_fill_percent) + " %";
  // used * 100 <= max_fill * capacity holds exactly when used <= floor(max_fill * capacity / 100).
  const std::uint64_t limit = saturate(Wide(forecast.input.max_fill_percent) * capacity / 100);
  Gate gate = gate_of(Errc::fill_level, forecast.used_after_bytes, limit, "bytes");
  const Rounding rounding = gate.pass ? Rounding::down : Rounding::up;  // never "54.0 % of 54 %" for a refusal
  gate.message = "after compaction the permanent partition is filled to " + percent(gate.measured, capacity, rounding) +
                 " (" + mebibytes(gate.measured, rounding) + " of " + mebibytes(capacity, Rounding::down) + ") and " +
                 allowed + " are allowed";
  if (!gate.pass) {
    gate.message += "; " + mebibytes(gate.measured - gate.limit, Rounding::up) + " more must be freed";
  }
  return gate;
}

/// "0.4 KiB/s": tenths, like mebibytes().
std::string kibibytes_per_second(std::uint64_t bytes_per_s, Rounding rounding) {
  constexpr Wide kKibibyte = 1024;
  const Wide tenths = (Wide(bytes_per_s) * 10 + (rounding == Rounding::up ? kKibibyte - 1 : 0)) / kKibibyte;
  return std::to_string(saturate(tenths / 10)) + "." + std::to_string(static_cast<std::uint64_t>(tenths % 10)) +
         " KiB/s";
}

Gate storm_gate(const Forecast& forecast) {
  const std::uint64_t room = minus(forecast.available.bytes, forecast.needed.bytes);
  // The shortest duration is a second: without any the room itself is the limit.
  const std::uint64_t duration = std::max<std::uint64_t>(forecast.input.expected_duration_s, 1);
  Gate gate = gate_of(Errc::write_storm, forecast.input.write_rate_bytes_per_s, room / duration, "bytes/s");
  const std::string seconds = std::to_string(duration) + " s";
  if (!forecast.input.write_rate_is_measured) {
    gate.message = "how much the live system writes was not measured (storm-probe is 0s); " +
                   kibibytes_per_second(gate.limit, Rounding::down) + " could be borne for the " + seconds +
                   " that the update may take";
    return gate;
  }
  gate.message = "the live system writes " + kibibytes_per_second(gate.measured, Rounding::up) +
                 " to the permanent partition and " + kibibytes_per_second(gate.limit, Rounding::down) +
                 " can be borne for the " + seconds + " that the update may take";
  if (!gate.pass) {
    gate.message += "; wait until less is written, or free " +
                    mebibytes(minus(forecast.peak.bytes, forecast.available.bytes), Rounding::up) + " more";
  }
  return gate;
}

}  // namespace

Amount Forecast::shortfall() const {
  Amount missing;
  for (const Gate& gate : gates) {
    if (gate.pass) continue;
    const std::uint64_t above =
        gate.code == Errc::write_storm ? minus(peak.bytes, available.bytes) : minus(gate.measured, gate.limit);
    std::uint64_t& figure = gate.unit == "inodes" ? missing.inodes : missing.bytes;
    figure = std::max(figure, above);
  }
  return missing;
}

Forecast make_forecast(const ForecastInput& input) {
  Forecast forecast;
  forecast.input = input;
  forecast.growth_bytes = saturate(Wide(input.write_rate_bytes_per_s) * input.expected_duration_s);
  forecast.needed = plus(plus(input.rollback_reserve, input.event_reserve), input.migration_headroom);
  forecast.needed.bytes = plus(forecast.needed.bytes, input.log_reserve_bytes);
  forecast.peak = plus(forecast.needed, {.bytes = forecast.growth_bytes, .inodes = 0});
  forecast.available =
      plus({.bytes = input.space.available_bytes, .inodes = input.space.inodes_free}, input.reclaimable);
  if (input.reserved_bytes) {
    // Where root's blocks are in use already, what is freed first fills those up.
    const std::uint64_t after = minus(plus(input.space.free_bytes, input.reclaimable.bytes), *input.reserved_bytes);
    forecast.available.bytes = std::min(forecast.available.bytes, after);
  }
  forecast.used_after_bytes = minus(minus(input.space.capacity_bytes, input.space.free_bytes), input.reclaimable.bytes);
  forecast.gates = {bytes_gate(forecast), inodes_gate(forecast), fill_gate(forecast), storm_gate(forecast)};
  return forecast;
}

Amount rollback_reserve_of(const Inventory& inventory, std::uint64_t block_bytes) {
  ReserveNeed need(block_bytes);
  const std::vector<bool> members = snapshot_members(inventory.entries);
  for (std::size_t i = 0; i < members.size(); ++i) {
    if (members[i]) need.add(inventory.entries[i]);
  }
  return need.amount();
}

Amount migration_headroom_of(const Inventory& inventory, std::uint64_t block_bytes) {
  ReserveNeed need(block_bytes);
  for (const Entry& entry : inventory.entries) {
    if (entry.kind == ClassKind::config) need.add(entry);
  }
  return need.amount();
}

}  // namespace slotkeeper::permanent
