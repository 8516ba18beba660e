// The version floor of the device: the signed manifest of a confirmed firmware, kept in the state store, and where
// there is one a hardware counter (hook `counter`) that never falls. It rises when a firmware is confirmed, and only
// then; a rollback neither asks for it nor lowers it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "engine/bundle/bundle.hpp"
#include "engine/transaction/device.hpp"
#include "engine/transaction/version_rules.hpp"

namespace slotkeeper {

/// So that it fits into the records beside everything else, with 999 versions in a group.
inline constexpr std::size_t kFloorMaxBytes = std::size_t{24} * 1024;

struct Floor {
  VersionRules rules;
  bool is_authentic = true;  ///< the signature of the manifest is good by the anchors of today, expired or not
  std::string doubt;         ///< why it is not
  std::optional<std::int64_t> counter;  ///< of the hardware
};

/// Errors: state_store (what is kept is no manifest), config (anchors unusable; the hook's rights), io_error, and
/// wrong_state where the hook does not answer with a number: a floor that cannot be asked must not be taken for none.
[[nodiscard]] Result<Floor> read_floor(Device& device);

/// Errors: downgrade, and those of read_floor. A floor that is not authentic, or a counter above it, tells that the
/// state store was changed by somebody: then only a higher group is accepted.
[[nodiscard]] Result<void> check_floor(Device& device, const bundle::Manifest& candidate);

/// What the floor is once this firmware is confirmed; nothing where it stays. Errors: unsupported (too long to be
/// kept).
[[nodiscard]] Result<std::optional<VersionFloor>> floor_raised_by(const std::optional<VersionFloor>& present,
                                                                  const bundle::VerifiedManifest& candidate);

/// Raises the hardware counter to the group of the floor, where there is one and it is lower. What goes wrong is told
/// as a notice: the next `recover` does it again.
void raise_counter(Device& device);

/// `floor` of `status`: {"group":7,"admits":["3.5.0"],"minimum_version":null,"authentic":true,"counter":7}, or null.
[[nodiscard]] Json to_json(const Floor& floor);

}  // namespace slotkeeper
