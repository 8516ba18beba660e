#include "partitions/state_store.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>

#include "partitions/state_store_area.hpp"
#include "partitions/state_store_device.hpp"
#include "partitions/state_store_layout.hpp"
#include "partitions/state_store_record.hpp"
#include "partitions/state_store_ring.hpp"

namespace slotkeeper {
namespace {

using store::RegionKind;
using store::StoreDevice;
using store::Superblock;

/// The first or the second half of a region, in whole units.
store::Region half_of(const store::Region& region, std::uint64_t number) {
  const std::uint64_t length = io::round_down_to_block(region.length / 2);
  return {region.kind, region.offset + number * length, length};
}

class DeviceStateStore final : public StateStore {
 public:
  DeviceStateStore(std::unique_ptr<StoreDevice> device, Superblock superblock)
      : device_(std::move(device)),
        superblock_(std::move(superblock)),
        transaction_(*device_, superblock_.region(RegionKind::transaction)),
        facts_(*device_, superblock_.region(RegionKind::facts)),
        acknowledgement_(*device_, superblock_.region(RegionKind::acknowledgement)),
        history_(*device_, superblock_.region(RegionKind::history)),
        outbox_(*device_, superblock_.region(RegionKind::outbox)),
        areas_{store::DeviceArea(*device_, superblock_.region(RegionKind::snapshot_first)),
               store::DeviceArea(*device_, superblock_.region(RegionKind::snapshot_second)),
               store::DeviceArea(*device_, half_of(superblock_.region(RegionKind::scratch), 0)),
               store::DeviceArea(*device_, half_of(superblock_.region(RegionKind::scratch), 1))} {}

  [[nodiscard]] const std::string& identifier() const override { return superblock_.identifier; }

  [[nodiscard]] Result<std::optional<StoredRecord>> read_record(RecordKind kind) override {
    return pair_of(kind).read();
  }
  [[nodiscard]] Result<void> write_record(RecordKind kind, std::string_view payload) override {
    SK_TRY(repair_superblocks());
    return pair_of(kind).write(payload);
  }

  [[nodiscard]] Result<void> append_history(std::string_view payload) override;
  [[nodiscard]] Result<std::vector<StoredEntry>> read_history() override;
  [[nodiscard]] Result<std::uint64_t> append_event(std::string_view payload) override;
  [[nodiscard]] Result<std::vector<StoredEntry>> pending_events() override;
  [[nodiscard]] Result<void> acknowledge_events(std::uint64_t up_to_sequence) override;
  [[nodiscard]] Result<void> write_last_confirmed(SlotId slot) override;
  [[nodiscard]] Result<std::optional<SlotId>> read_last_confirmed() override;
  [[nodiscard]] Result<bool> is_last_confirmed_everywhere(SlotId slot) override;

  [[nodiscard]] StoreArea& area(AreaKind kind) override { return areas_[static_cast<std::size_t>(kind)]; }
  [[nodiscard]] Result<void> close() override { return device_->close(); }

 private:
  [[nodiscard]] store::RecordPair& pair_of(RecordKind kind) {
    return kind == RecordKind::transaction ? transaction_ : facts_;
  }
  [[nodiscard]] Result<void> repair_superblocks();
  [[nodiscard]] Result<std::uint64_t> acknowledged_sequence();
  [[nodiscard]] Result<void> write_if_different(std::uint64_t offset, const store::Block& block);

  std::unique_ptr<StoreDevice> device_;
  Superblock superblock_;
  store::RecordPair transaction_;
  store::RecordPair facts_;
  store::RecordPair acknowledgement_;
  store::EntryRing history_;
  store::EntryRing outbox_;
  std::array<store::DeviceArea, 4> areas_;
  bool superblocks_are_whole_ = false;
};

Result<void> DeviceStateStore::write_if_different(std::uint64_t offset, const store::Block& block) {
  auto found = device_->read_blocks(offset, block.size());
  // One that cannot be read may become readable by being written.
  if (found.has_value() && std::equal(block.begin(), block.end(), found.value().bytes().begin())) return success();
  return device_->write_checked(offset, block);
}

Result<void> DeviceStateStore::repair_superblocks() {
  if (superblocks_are_whole_) return success();
  const store::Block block = store::encode_superblock(superblock_);
  SK_TRY(write_if_different(0, block));
  SK_TRY(write_if_different(superblock_.total_bytes - kStoreBlockBytes, block));
  superblocks_are_whole_ = true;
  return success();
}

Result<void> DeviceStateStore::append_history(std::string_view payload) {
  SK_TRY(repair_superblocks());
  SK_TRY(history_.append(payload, {.replaceable_up_to = std::numeric_limits<std::uint64_t>::max()}));
  return success();
}

Result<std::vector<StoredEntry>> DeviceStateStore::read_history() {
  SK_TRY_ASSIGN(auto entries, history_.read());
  std::reverse(entries.begin(), entries.end());
  return entries;
}

/// The acknowledgement is a record whose payload is the sequence in decimal digits.
Result<std::uint64_t> DeviceStateStore::acknowledged_sequence() {
  SK_TRY_ASSIGN(const auto record, acknowledgement_.read());
  std::uint64_t sequence = 0;
  if (!record) return sequence;
  const char* const end = record->payload.data() + record->payload.size();
  const auto parsed = std::from_chars(record->payload.data(), end, sequence);
  if (parsed.ec != std::errc() || parsed.ptr != end) {
    return make_error(Errc::state_store, "the outbox acknowledgement in " + device_->path() + " is not a number");
  }
  return sequence;
}

Result<std::uint64_t> DeviceStateStore::append_event(std::string_view payload) {
  SK_TRY(repair_superblocks());
  SK_TRY_ASSIGN(const std::uint64_t acknowledged, acknowledged_sequence());
  return outbox_.append(payload, {.replaceable_up_to = acknowledged, .taken_up_to = acknowledged});
}

Result<std::vector<StoredEntry>> DeviceStateStore::pending_events() {
  SK_TRY_ASSIGN(const std::uint64_t acknowledged, acknowledged_sequence());
  SK_TRY_ASSIGN(auto entries, outbox_.read());
  std::erase_if(entries, [&](const StoredEntry& entry) { return entry.sequence <= acknowledged; });
  return entries;
}

Result<void> DeviceStateStore::acknowledge_events(std::uint64_t up_to_sequence) {
  SK_TRY_ASSIGN(const std::uint64_t acknowledged, acknowledged_sequence());
  if (up_to_sequence <= acknowledged) return success();
  SK_TRY_ASSIGN(const auto entries, outbox_.read());
  // More than was ever given out would swallow events that are still to come.
  if (entries.empty() || up_to_sequence > entries.back().sequence) {
    return make_error(Errc::usage, "there is no event with the number " + std::to_string(up_to_sequence));
  }
  SK_TRY(repair_superblocks());
  return acknowledgement_.write(std::to_string(up_to_sequence));
}

Result<void> DeviceStateStore::write_last_confirmed(SlotId slot) {
  SK_TRY(repair_superblocks());
  const std::uint64_t offset = superblock_.region(RegionKind::last_confirmed).offset;
  SK_TRY(write_if_different(offset, store::encode_uboot_confirmed(slot)));
  return write_if_different(offset + kStoreBlockBytes, store::encode_grub_confirmed(slot));
}

Result<std::optional<SlotId>> DeviceStateStore::read_last_confirmed() {
  const std::uint64_t offset = superblock_.region(RegionKind::last_confirmed).offset;
  auto uboot = device_->read_blocks(offset, kStoreBlockBytes);
  auto grub = device_->read_blocks(offset + kStoreBlockBytes, kStoreBlockBytes);
  // U-Boot's form is written first: where the two differ, it is the newer one.
  if (uboot.has_value()) {
    if (const auto slot = store::decode_uboot_confirmed(uboot.value().bytes())) return slot;
  }
  if (!grub.has_value()) return std::move(grub).as_failure();
  if (const auto slot = store::decode_grub_confirmed(grub.value().bytes())) return slot;
  if (!uboot.has_value()) return std::move(uboot).as_failure();
  if (io::is_all_zero(uboot.value().bytes())) return std::optional<SlotId>();
  return make_error(Errc::state_store, "both forms of the last confirmed slot in " + device_->path() + " are damaged");
}

Result<bool> DeviceStateStore::is_last_confirmed_everywhere(SlotId slot) {
  const std::uint64_t offset = superblock_.region(RegionKind::last_confirmed).offset;
  const auto uboot = device_->read_blocks(offset, kStoreBlockBytes);
  const auto grub = device_->read_blocks(offset + kStoreBlockBytes, kStoreBlockBytes);
  // One that cannot be read may become readable by being written.
  if (!uboot.has_value() || !grub.has_value()) return false;
  return std::ranges::equal(uboot.value().bytes(), store::encode_uboot_confirmed(slot)) &&
         std::ranges::equal(grub.value().bytes(), store::encode_grub_confirmed(slot));
}

/// The superblock at one end; not_provisioned where the device ends before.
Result<Superblock> read_superblock(StoreDevice& device, std::uint64_t offset, std::uint64_t size_bytes) {
  SK_TRY_ASSIGN(const io::AlignedBuffer block, device.read_blocks(offset, kStoreBlockBytes));
  SK_TRY_ASSIGN(Superblock superblock, store::decode_superblock(block.bytes()));
  if (superblock.total_bytes > size_bytes) {
    return make_error(Errc::state_store, "the state store has " + std::to_string(superblock.total_bytes) +
                                             " bytes, but only " + std::to_string(size_bytes) + " are there");
  }
  return superblock;
}

/// Either superblock is enough. Otherwise the error that says most: foreign before damaged before none.
Result<Superblock> find_superblock(StoreDevice& device) {
  SK_TRY_ASSIGN(const std::uint64_t size_bytes, device.size_bytes());
  if (size_bytes < kStoreSizeMinBytes) {
    return make_error(Errc::not_provisioned,
                      "there is no state store: " + std::to_string(size_bytes) + " bytes are too few for one");
  }
  auto first = read_superblock(device, 0, size_bytes);
  if (first.has_value()) return first;
  auto last = read_superblock(device, io::round_down_to_block(size_bytes) - kStoreBlockBytes, size_bytes);
  if (last.has_value()) return last;
  for (const Errc code : {Errc::foreign_record, Errc::io_error, Errc::state_store}) {
    if (first.error().code == code) return first;
    if (last.error().code == code) return last;
  }
  return first;
}

}  // namespace

Result<std::unique_ptr<StateStore>> StateStore::open(io::Storage& storage, const std::string& path, Access access) {
  SK_TRY_ASSIGN(auto device, StoreDevice::open(storage, path, access));
  SK_TRY_ASSIGN(Superblock superblock, with_context(find_superblock(*device), path));
  return std::unique_ptr<StateStore>(new DeviceStateStore(std::move(device), std::move(superblock)));
}

}  // namespace slotkeeper
