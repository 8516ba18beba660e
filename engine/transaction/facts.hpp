// What the state store remembers beyond transactions, as JSON: baselines of both slots, the confirmed one, packages
// that failed. The grammar stands in engine/DESIGN.md.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "partitions/digest.hpp"
#include "partitions/slot_table.hpp"

namespace slotkeeper {

/// Of all records.
inline constexpr std::int64_t kRecordVersion = 1;

/// What a volume must read as.
struct VolumeBaseline {
  std::string volume;
  std::uint64_t length_bytes = 0;
  Sha256 digest;  ///< by pieces, see partitions/digest.hpp
  bool operator==(const VolumeBaseline&) const = default;
};

/// Where a baseline comes from.
enum class BaselineOrigin : std::uint8_t { adopted, factory, bundle };
[[nodiscard]] std::string_view name_of(BaselineOrigin origin);

/// What is known of a slot that was good once.
struct SlotBaseline {
  BaselineOrigin origin = BaselineOrigin::adopted;
  std::string version;                    ///< empty where it was adopted
  std::optional<Sha256> manifest_digest;  ///< of the bundle it came from
  std::vector<VolumeBaseline> volumes;
  std::optional<std::int64_t> config_schema;       ///< schema its firmware writes
  std::optional<std::int64_t> config_readable_by;  ///< oldest schema whose firmware reads that
  bool operator==(const SlotBaseline&) const = default;
};

/// A package that was tried and did not become the firmware, for reasons of its own.
struct PackageFailures {
  Sha256 manifest;  ///< what identifies the package
  std::string version;
  std::uint32_t count = 0;
  std::string transaction;  ///< the last one that was counted, so that a cut does not make it count twice
  std::string code;         ///< of the last failure
  std::string last;         ///< RFC 3339
  bool operator==(const PackageFailures&) const = default;
};
inline constexpr std::size_t kFailingPackagesMax = 16;  ///< the one that failed longest ago is forgotten first

/// The signed manifest of a confirmed firmware that says which versions may follow.
struct VersionFloor {
  std::string manifest;   ///< its text
  std::string signature;  ///< CMS, DER
  bool operator==(const VersionFloor&) const = default;
};

struct DeviceFacts {
  SlotId confirmed = SlotId::a;
  std::optional<SlotBaseline> a;
  std::optional<SlotBaseline> b;
  std::optional<std::string> snapshot_of;  ///< transaction whose snapshot is kept as `previous`
  bool saved_aside = false;       ///< of a fall-back that is not finished: what the lost firmware wrote is kept already
  std::string activated_boot_id;  ///< boot in which an operator chose the confirmed slot; it runs after the next boot
  std::optional<VersionFloor> floor;
  std::vector<PackageFailures> failures;  ///< the latest last
  bool operator==(const DeviceFacts&) const = default;

  [[nodiscard]] const std::optional<SlotBaseline>& operator[](SlotId slot) const { return slot == SlotId::a ? a : b; }
  [[nodiscard]] std::optional<SlotBaseline>& operator[](SlotId slot) { return slot == SlotId::a ? a : b; }
};

[[nodiscard]] std::string print_facts(const DeviceFacts& facts);
/// Errors: foreign_record (a version or member unknown to this version), state_store (not a record).
[[nodiscard]] Result<DeviceFacts> parse_facts(const std::string& payload);

}  // namespace slotkeeper
