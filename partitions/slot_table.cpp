#include "partitions/slot_table.hpp"

#include <algorithm>
#include <cerrno>

namespace slotkeeper {
namespace {

constexpr std::string_view kParameter = "slotkeeper.slot=";

std::string named(const Slot& slot, const Volume& volume) {
  return "volume " + volume.name + " of slot " + std::string(name_of(slot.id)) + " (" + volume.device_path + ")";
}

Error unknown(const std::string& message) { return make_error(Errc::unknown_slot, message); }

/// The value of the kernel parameter; nothing when it is absent. Errors: unknown_slot.
Result<std::optional<SlotId>> slot_of_command_line(std::string_view command_line) {
  std::optional<SlotId> found;
  constexpr std::string_view kSpace = " \t\n";
  while (true) {
    const std::size_t start = command_line.find_first_not_of(kSpace);
    if (start == std::string_view::npos) return found;
    command_line.remove_prefix(start);
    std::string_view word = command_line.substr(0, command_line.find_first_of(kSpace));
    command_line.remove_prefix(word.size());
    if (!word.starts_with(kParameter)) continue;
    const std::optional<SlotId> slot = slot_from_name(word.substr(kParameter.size()));
    if (!slot) return unknown("the kernel command line says " + std::string(word) + ", which is neither A nor B");
    if (found && *found != *slot) {
      return unknown("the kernel command line says slotkeeper.slot=A and slotkeeper.slot=B");
    }
    found = slot;
  }
}

/// What a path of the configuration stands for; nothing when there is no such path.
Result<std::optional<io::DeviceIdentity>> identify_if_there(io::Storage& storage, const std::string& path) {
  auto identity = storage.identify(path);
  if (identity.has_value()) return std::optional(std::move(identity).assume_value());
  const int reason = identity.error().os_errno;
  if (reason == ENOENT || reason == ENXIO || reason == ENOTDIR) return std::optional<io::DeviceIdentity>();
  return std::move(identity).as_failure();
}

struct RootAnswer {
  std::optional<SlotId> slot;
  std::string volume;   ///< whose device is the root device
  std::string silence;  ///< why there is no answer
};

/// The slot of which a volume lies on the same device as the root filesystem. Errors: unknown_slot when both do.
Result<RootAnswer> slot_of_root_device(io::Storage& storage, const SlotTable& table) {
  RootAnswer answer;
  auto root = storage.root_device();
  // A root filesystem without a device (initramfs, network) is no answer; the command line can still be one.
  if (!root.has_value()) {
    answer.silence = "the root device is not known (" + root.error().message + ")";
    return answer;
  }
  for (const Slot* slot : {&table.a, &table.b}) {
    for (const Volume& volume : slot->volumes) {
      SK_TRY_ASSIGN(const auto identity, identify_if_there(storage, volume.device_path));
      if (!identity || !identity->overlaps(root.value())) continue;
      if (answer.slot && *answer.slot != slot->id) {
        return unknown("the root device belongs to both slots: it is " + answer.volume + " and " +
                       named(*slot, volume));
      }
      answer.slot = slot->id;
      answer.volume = named(*slot, volume);
    }
  }
  if (!answer.slot) answer.silence = "the root device is a volume of neither slot";
  return answer;
}

/// What the target must not share a device with.
struct Neighbour {
  std::string what;
  io::DeviceIdentity identity;
  std::uint64_t filesystem_device = 0;  ///< device number of a mounted filesystem, where that is all that is known
};

Result<std::vector<Neighbour>> neighbours_of(io::Storage& storage, const Slot& booted,
                                             const std::string& permanent_path, const std::string& store_path) {
  std::vector<Neighbour> neighbours;
  for (const Volume& volume : booted.volumes) {
    SK_TRY_ASSIGN(auto identity, identify_if_there(storage, volume.device_path));
    if (identity) neighbours.push_back({named(booted, volume), std::move(*identity), 0});
  }
  SK_TRY_ASSIGN(auto store, identify_if_there(storage, store_path));
  if (store) neighbours.push_back({"the state store " + store_path, std::move(*store), 0});

  const std::string permanent = "the permanent partition " + permanent_path;
  SK_TRY_ASSIGN(const io::EntryStatus status, with_context(storage.status_of(permanent_path), permanent));
  neighbours.push_back({permanent, {}, status.device});
  SK_TRY_ASSIGN(const std::vector<io::Mount> mounts, storage.mounts());
  for (const io::Mount& mount : mounts) {
    // The number of the filesystem is not that of its device everywhere (btrfs, overlay); its source leads there.
    if (mount.device != status.device || !mount.source.starts_with('/')) continue;
    SK_TRY_ASSIGN(auto identity, identify_if_there(storage, mount.source));
    if (identity) neighbours.push_back({permanent, std::move(*identity), 0});
  }
  return neighbours;
}

bool is_same_device(const io::DeviceIdentity& target, const Neighbour& neighbour) {
  if (target.overlaps(neighbour.identity)) return true;
  return target.is_block_device && neighbour.filesystem_device != 0 && target.device == neighbour.filesystem_device;
}

}  // namespace

std::optional<SlotId> slot_from_name(std::string_view name) {
  if (name == "A") return SlotId::a;
  if (name == "B") return SlotId::b;
  return std::nullopt;
}

const Volume* Slot::find(std::string_view volume) const {
  const auto found =
      std::find_if(volumes.begin(), volumes.end(), [&](const Volume& candidate) { return candidate.name == volume; });
  return found == volumes.end() ? nullptr : &*found;
}

Sha256 SlotTable::digest() const {
  // Names and paths contain no NUL, so no two tables give the same text.
  std::string text;
  for (const Slot* slot : {&a, &b}) {
    text.append(name_of(slot->id)).push_back('\0');
    for (const Volume& volume : slot->volumes) {
      text.append(volume.name).push_back('\0');
      text.append(volume.device_path).push_back('\0');
    }
    text.push_back('\0');
  }
  return sha256(io::as_bytes(text));
}

Result<SlotId> find_booted_slot(io::Storage& storage, const SlotTable& table, std::optional<SlotId> assumed) {
  SK_TRY_ASSIGN(const std::string command_line, storage.kernel_command_line());
  SK_TRY_ASSIGN(const std::optional<SlotId> told, slot_of_command_line(command_line));
  SK_TRY_ASSIGN(const RootAnswer root, slot_of_root_device(storage, table));

  const std::string told_text = told ? "the kernel command line says slotkeeper.slot=" + std::string(name_of(*told))
                                     : "the kernel command line has no slotkeeper.slot=";
  const std::string root_text = root.slot ? "the root device is " + root.volume : root.silence;
  if (told && root.slot && *told != *root.slot) return unknown(told_text + ", but " + root_text);
  const std::optional<SlotId> found = told ? told : root.slot;
  if (!found && !assumed) return unknown("the booted slot is not known: " + told_text + ", and " + root_text);
  if (found && assumed && *found != *assumed) {
    return unknown("--booted-slot says " + std::string(name_of(*assumed)) + ", but " + told_text + " and " + root_text);
  }
  return found ? *found : *assumed;
}

Result<std::vector<io::DeviceIdentity>> check_target_is_free(io::Storage& storage, const SlotTable& table,
                                                             SlotId target, const std::string& permanent_path,
                                                             const std::string& store_path) {
  SK_TRY_ASSIGN(std::vector<Neighbour> neighbours,
                neighbours_of(storage, table[other(target)], permanent_path, store_path));
  const Slot& slot = table[target];
  std::vector<io::DeviceIdentity> checked;
  for (const Volume& volume : slot.volumes) {
    const std::string name = named(slot, volume);
    SK_TRY_ASSIGN(io::DeviceIdentity identity, with_context(storage.identify(volume.device_path), name));
    SK_TRY_ASSIGN(const std::string holder, with_context(storage.holder_of(volume.device_path), name));
    std::string refusal = name + " must not be written: it ";
    if (!holder.empty()) return make_error(Errc::wrong_state, refusal.append("is ").append(holder));
    for (const Neighbour& neighbour : neighbours) {
      if (!is_same_device(identity, neighbour)) continue;
      return make_error(Errc::wrong_state, refusal.append("lies on the same device as ").append(neighbour.what));
    }
    checked.push_back(identity);
    neighbours.push_back({name, std::move(identity), 0});  // nor may two volumes of the target share a device
  }
  return checked;
}

}  // namespace slotkeeper
