// The gates of the preflight that do not follow from the forecast.
#pragma once

#include <cstdint>
#include <optional>

#include "engine/transaction/device.hpp"
#include "partitions/permanent/forecast.hpp"

namespace slotkeeper {

struct FallbackFinding {
  permanent::Gate gate;
  std::uint64_t read_bytes = 0;  ///< of the booted slot
  std::optional<std::uint64_t> read_bytes_per_s;
  SlotReading reading;
};

/// Reads the booted slot and compares it with its baseline. measured: volumes that differ, or 1 where no checksums are
/// recorded; limit 0.
[[nodiscard]] Result<FallbackFinding> fallback_gate(Device& device, EngineSink& sink, const BlockLookOf& look_of = {});

/// measured: files that kept changing; limit 0.
[[nodiscard]] permanent::Gate config_busy_gate(const std::optional<Error>& busy);

/// eMMC reports a life that is used up from DEVICE_LIFE_TIME_EST 11 on, and hardly any spare blocks as PRE_EOL_INFO 3.
inline constexpr std::uint32_t kLifeTimeMax = 10;
inline constexpr std::uint32_t kPreEolMax = 2;

/// Looks at what carries the permanent partition, the target and the state store. measured: how many things are wrong
/// (a disk whose life or spare blocks are used up; filesystem errors counted on the permanent partition; a filesystem
/// or device that the kernel made read-only); limit 0.
[[nodiscard]] Result<permanent::Gate> storage_worn_gate(Device& device, SlotId target,
                                                        std::optional<std::uint64_t> filesystem_errors);

/// For `status`: facts that do not exist here, and wear that does not stop an update yet. Sentences without full stop.
[[nodiscard]] std::vector<std::string> wear_weaknesses(const Device& device);

}  // namespace slotkeeper
