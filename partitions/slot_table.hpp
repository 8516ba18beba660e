// The two slots of a device and the volumes each is made of.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "partitions/digest.hpp"
#include "partitions/io/result.hpp"
#include "partitions/io/storage.hpp"

namespace slotkeeper {

enum class SlotId : std::uint8_t { a, b };

[[nodiscard]] constexpr SlotId other(SlotId slot) { return slot == SlotId::a ? SlotId::b : SlotId::a; }
[[nodiscard]] constexpr std::string_view name_of(SlotId slot) { return slot == SlotId::a ? "A" : "B"; }
[[nodiscard]] std::optional<SlotId> slot_from_name(std::string_view name);  ///< "A" or "B"

enum class VolumeCheck : std::uint8_t { image, none };  ///< `verify =` of the configuration

/// One partition of a slot.
struct Volume {
  std::string name;         ///< e.g. "rootfs"; the same in both slots
  std::string device_path;  ///< block device or image file
  VolumeCheck check = VolumeCheck::image;
};

struct Slot {
  SlotId id = SlotId::a;
  std::vector<Volume> volumes;  ///< sorted by name

  [[nodiscard]] const Volume* find(std::string_view volume) const;
};

/// Both slots name the same volumes.
struct SlotTable {
  Slot a{.id = SlotId::a, .volumes = {}};
  Slot b{.id = SlotId::b, .volumes = {}};

  [[nodiscard]] const Slot& operator[](SlotId id) const { return id == SlotId::a ? a : b; }
  /// Over names and paths; a transaction remembers it, so that another table is noticed.
  [[nodiscard]] Sha256 digest() const;
};

/// Which slot runs, from `slotkeeper.slot=` and from the root device. Errors: unknown_slot when they contradict each
/// other or when both are silent and `assumed` is empty.
[[nodiscard]] Result<SlotId> find_booted_slot(io::Storage& storage, const SlotTable& table,
                                              std::optional<SlotId> assumed);

/// Refuses a target that is mounted, held, or lies on the same device as a booted volume, as `permanent_path` or as
/// `store_path`. Returns what its volumes are, in their order: what is opened for writing later must be the same.
/// Errors: wrong_state, naming the volume and what holds it.
[[nodiscard]] Result<std::vector<io::DeviceIdentity>> check_target_is_free(io::Storage& storage, const SlotTable& table,
                                                                           SlotId target,
                                                                           const std::string& permanent_path,
                                                                           const std::string& store_path);

}  // namespace slotkeeper
